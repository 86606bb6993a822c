from __future__ import annotations

import subprocess
import sys

import pytest
from pydantic import ValidationError

from diffusionlm.data.params import DataParams
from diffusionlm.data.sources import SOURCES


def test_defaults_are_the_built_in_corpus_with_a_held_out_part() -> None:
    params = DataParams()
    assert params.source.name == "python-stdlib"
    assert params.validation_fraction == 0.05
    assert params.packing == "packed"


def test_a_source_is_chosen_by_name() -> None:
    params = DataParams.model_validate({"source": {"name": "jsonl", "path": "a.jsonl"}})
    assert params.source == SOURCES["jsonl"].Params.model_validate({"path": "a.jsonl"})
    with pytest.raises(ValidationError, match="colour"):
        DataParams.model_validate({"source": {"name": "text", "path": "a", "colour": "red"}})
    with pytest.raises(ValidationError, match="python-stdlib"):
        DataParams.model_validate({"source": {"name": "nothing"}})


@pytest.mark.parametrize("bad", [{"validation_fraction": 1.0}, {"workers": -1}, {"packing": "tight"}, {"prefetch": -1}])
def test_values_outside_their_range(bad: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        DataParams.model_validate(bad)


def test_parameters_import_nothing_heavy() -> None:
    code = (
        "import sys; import diffusionlm.data.params; "
        "heavy = {'torch', 'numpy', 'datasets', 'pyarrow', 'tokenizers'} & set(sys.modules); assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
