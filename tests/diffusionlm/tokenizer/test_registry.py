"""The package's front door: parameters by name, built without heavy imports."""

import subprocess
import sys

import pytest
from pydantic import TypeAdapter, ValidationError

from diffusionlm.tokenizer import EOS, TOKENIZERS, BPEParams, ByteParams, FilesParams


def test_names():
    assert list(TOKENIZERS) == ["bpe", "byte", "files"]


def test_union_tells_tables_apart():
    adapter = TypeAdapter(TOKENIZERS.union("bpe"))
    assert adapter.validate_python({"vocab_size": 999}) == BPEParams(vocab_size=999)
    assert adapter.validate_python({"name": "byte"}) == ByteParams()
    assert isinstance(adapter.validate_python({"name": "files", "path": "somewhere"}), FilesParams)
    with pytest.raises(ValidationError):
        adapter.validate_python({"name": "byte", "vocab_size": 999})


@pytest.mark.parametrize("params", [BPEParams, ByteParams])
def test_special_tokens_are_checked_with_the_configuration(params):
    assert params().special_tokens == [EOS]
    with pytest.raises(ValidationError, match=r"special_tokens must contain '<\|endoftext\|>'"):
        params(special_tokens=["<|x|>"])
    with pytest.raises(ValidationError, match="twice"):
        params(special_tokens=[EOS, EOS])


def test_importing_the_parameters_is_cheap():
    heavy = ("torch", "numpy", "regex", "tokenizers")
    code = f"import sys, diffusionlm.tokenizer; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
