"""tokenizer.json in and out, against the package whose format it is."""

from __future__ import annotations

import json
import pickle
import re
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st

from diffusionlm.errors import TokenizerError
from diffusionlm.tokenizer import EOS, BPETokenizer, FilesParams, build_tokenizer, load_tokenizer, train_bpe
from diffusionlm.tokenizer.pretokenize import PATTERNS
from tests.diffusionlm.tokenizer.conftest import TEXT, small_bpe
from tests.diffusionlm.tokenizer.families import FAMILIES, LLAMA3, QWEN, UNMERGED, added, change, family, split, write
from tests.diffusionlm.tokenizer.test_bpe import PIECES

NAMES = ["<|endoftext|>", "<|im_start|>", "<|eot_id|>", "<|end_of_text|>", "<think>", "</think>", "<think"]
COMPOSING = ["e\u0301", "a\u0323\u0302", "\u1112\u1161\u11ab", "\u212b", "\u0344", "o\u0302\u0301"]
"""Characters that NFC changes."""
TEXTS = st.lists(st.one_of(PIECES, st.sampled_from([*UNMERGED, *NAMES, *COMPOSING])), max_size=12).map("".join)


class Pair:
    """A file in our hands, by the reference and compiled, and in the package's."""

    def __init__(self, content: dict) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = write(Path(folder) / "some.json", content)
            self.package = tokenizers.Tokenizer.from_file(str(path))
            self.ours, self.compiled = load_tokenizer(path), load_tokenizer(path)
            assert isinstance(self.ours, BPETokenizer)
            assert isinstance(self.compiled, BPETokenizer)
            self.ours.compiled, self.compiled.compiled = False, True

    def theirs(self, text: str, allow_special: bool) -> list[int]:
        self.package.encode_special_tokens = not allow_special
        return self.package.encode(text, add_special_tokens=False).ids

    def check(self, text: str) -> None:
        for allow in (False, True):
            expected = self.theirs(text, allow)
            for ours in (self.ours, self.compiled):
                assert ours.encode(text, allow_special=allow) == expected, (text, allow)
                halves = (text[: len(text) // 2], text[len(text) // 2 :])
                assert list(ours.encode_iterable(halves, allow_special=allow)) == expected, (text, allow)
            assert self.ours.encode_batch([text, "x"], allow_special=allow)[0] == expected
            for skip in (False, True):
                decoded = self.package.decode(expected, skip_special_tokens=skip)
                assert self.ours.decode(expected, skip_special=skip) == decoded
        ids, sizes = self.compiled.encode_documents([text.encode(), b"", text.encode()])
        assert ids.tolist() == 2 * self.theirs(text, False)
        assert sizes.tolist() == [len(ids) // 2, 0, len(ids) // 2]


@cache
def pair(name: str, normalized: bool, ignoring: bool) -> Pair:
    content = family(name)
    content["normalizer"] = {"type": "NFC"} if normalized else None
    content["model"]["ignore_merges"] = ignoring
    for token in content["added_tokens"]:
        token["normalized"] = token["normalized"] and not normalized
    return Pair(content)


VARIANTS = [(name, normalized, ignoring) for name in FAMILIES for normalized in (0, 1) for ignoring in (0, 1)]


@pytest.mark.parametrize(("name", "normalized", "ignoring"), VARIANTS)
@given(text=TEXTS)
@settings(max_examples=80, deadline=None)
def test_every_family_on_fuzzed_text(name: str, normalized: bool, ignoring: bool, text: str) -> None:
    pair(name, bool(normalized), bool(ignoring)).check(text)


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_as_it_is_on_a_real_text(name: str, shared_data) -> None:
    text = shared_data("tinyshakespeare.txt").read_text(encoding="utf-8")
    both = Pair(family(name))
    expected = both.theirs(text, False)
    assert both.compiled.encode_array(text).tolist() == expected
    assert both.ours.encode(text[:50_000]) == both.theirs(text[:50_000], False)
    assert both.compiled.decode(expected) == text


def test_what_the_variants_change_is_used() -> None:
    """Without these the fuzzing above would compare nothing."""
    plain, other = pair("llama3", False, False).ours, pair("llama3", False, True).ours
    word = UNMERGED[1]
    assert len(other.encode(word)) == 1 < len(plain.encode(word))
    assert len(other.encode("q" * 300)) == 1
    assert pair("qwen3", True, False).ours.encode("e\u0301") != pair("qwen3", False, False).ours.encode("e\u0301")
    think = pair("qwen3", True, False).ours
    assert think.encode("<think>") == [think.whole["<think>"]]
    assert think.eos_id not in think.encode(EOS)
    assert think.byte_lengths()[think.whole["<think>"]] == len("<think>")
    assert plain.eos_id == plain.specials["<|end_of_text|>"]


def test_bytes_that_are_not_text_stay_even_where_text_is_composed() -> None:
    for ours in (pair("qwen3", True, False).ours, pair("qwen3", True, False).compiled):
        data = b"e\xcc\x81\xff\xcc x"
        assert ours.decode_bytes(ours.encode(data)) == b"\xc3\xa9\xff\xcc x"


@pytest.mark.parametrize("name", FAMILIES)
def test_saved_and_loaded_it_is_the_same(name: str, tmp_path: Path) -> None:
    tokenizer = load_tokenizer(write(tmp_path / "some.json", family(name)))
    tokenizer.save(tmp_path / "saved")
    again = load_tokenizer(tmp_path / "saved")
    assert again.fingerprint() == tokenizer.fingerprint()
    assert (again.specials, again.whole) == (tokenizer.specials, tokenizer.whole)
    for other in (again, pickle.loads(pickle.dumps(tokenizer))):
        for text in (TEXT, "<think>a\u0301" + UNMERGED[1]):
            assert other.encode(text, allow_special=True) == tokenizer.encode(text, allow_special=True)
    package = tokenizers.Tokenizer.from_file(str(tmp_path / "saved" / "tokenizer.json"))
    assert package.encode(TEXT, add_special_tokens=False).ids == tokenizer.encode(TEXT)
    assert (tmp_path / "saved" / "vocab.json").exists() == (name == "gpt2")


def test_a_folder_of_another_program_is_read_by_its_tokenizer_json(tmp_path: Path) -> None:
    """vocab.json and merges.txt lie beside it in many folders, and say neither the pattern nor the normalizer."""
    small_bpe().save(tmp_path)
    (tmp_path / "tokenizer_type.json").unlink()
    write(tmp_path / "tokenizer.json", family("qwen3"))
    loaded = build_tokenizer(FilesParams(path=tmp_path))
    assert isinstance(loaded, BPETokenizer)
    assert (loaded.pattern, loaded.normalizer) == ("qwen", "nfc")


@pytest.mark.parametrize("pattern", PATTERNS)
def test_what_we_train_is_the_same_in_the_package(pattern, tmp_path: Path) -> None:
    names = [EOS, "<|end", "<|im start|>"]
    tokenizer = train_bpe([TEXT, "été 你好 " * 9], 365, names, pattern=pattern, compiled=False)
    tokenizer.save(tmp_path)
    package = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert package.get_vocab_size() == tokenizer.vocab_size

    @given(text=st.lists(st.one_of(PIECES, st.sampled_from(names)), max_size=12).map("".join))
    @settings(max_examples=150, deadline=None)
    def same(text: str) -> None:
        for allow in (False, True):
            package.encode_special_tokens = not allow
            ids = package.encode(text, add_special_tokens=False).ids
            assert tokenizer.encode(text, allow_special=allow) == ids
            for skip in (False, True):
                assert tokenizer.decode(ids, skip_special=skip) == package.decode(ids, skip_special_tokens=skip)

    same()
    assert load_tokenizer(tmp_path / "tokenizer.json").fingerprint() == tokenizer.fingerprint()


def test_gpt2s_own_vocabulary_goes_out_and_comes_in(gpt2: BPETokenizer, shared_data, tmp_path: Path) -> None:
    gpt2.save(tmp_path)
    package = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    text = shared_data("tinyshakespeare.txt").read_text(encoding="utf-8")[:200_000] + EOS
    assert package.encode(text).ids == gpt2.encode(text, allow_special=True)
    assert load_tokenizer(tmp_path / "tokenizer.json").fingerprint() == gpt2.fingerprint()


SPELLINGS = {
    "gpt2": r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    "gpt4": LLAMA3.replace("(?i:'s|'t|'re|'ve|'m|'ll|'d)", "'(?i:[sdmt]|ll|ve|re)"),
    "qwen": QWEN,
}


@pytest.mark.parametrize("pattern", SPELLINGS)
def test_other_spellings_of_a_pattern(pattern: str) -> None:
    content = family("gpt2")
    content["pre_tokenizer"] = split(SPELLINGS[pattern])
    content["pre_tokenizer"]["pretokenizers"][0] |= {"behavior": "Removed", "invert": True}
    both = Pair(content)
    assert both.ours.pattern == pattern
    for text in (TEXT, "we'll 'Tis it'ſ 12345\r\n\n x", *COMPOSING):
        both.check(text)


def test_ids_with_a_gap() -> None:
    content = family("gpt2")
    content["model"]["vocab"]["<|endoftext|>"] += 3
    content["added_tokens"][0]["id"] += 3
    both = Pair(content)
    both.check(TEXT + EOS)
    assert both.ours.token_bytes(both.ours.vocab_size - 2) == b""


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        ("model.type", "Unigram", "holds a Unigram model; only byte-level BPE can be read"),
        ("model.dropout", 0.1, "sets dropout 0.1, which makes ids random"),
        ("model.end_of_word_suffix", "</w>", "marks tokens with '</w>', so they are not bytes"),
        ("model.continuing_subword_prefix", "##", "marks tokens with '##'"),
        ("model.vocab", [["a", 0.5]], "vocab: Input should be a valid dictionary"),
        ("model.vocab", {"a": 0}, "its vocabulary lacks the single byte '!'"),
        ("model.merges", ["a b c"], "a merge is two tokens, not 'a b c'"),
        ("model.merges", [["a", "☃"]], "the merge 'a ☃' needs '☃', which the vocabulary lacks"),
        ("model.merges", 3, "merges: Input should be a valid list"),
        ("truncation", {"max_length": 4}, "sets truncation, which would change texts in silence"),
        ("padding", {"length": 4}, "sets padding"),
        ("pre_tokenizer", {"type": "Whitespace"}, "is not byte-level: its pre_tokenizer is Whitespace"),
        ("pre_tokenizer", None, "its pre_tokenizer is null"),
        ("decoder", {"type": "Metaspace"}, "its decoder is Metaspace"),
        ("added_tokens", [{"id": 3, "content": EOS}], "the id 3 of '<|endoftext|>' is not its own"),
        ("added_tokens", [{"id": 3, "content": "<|x|>"}], "the id 3 of '<|x|>' is not its own"),
        ("added_tokens", [{"id": -3, "content": "<|x|>"}], "the id -3 of"),
        ("added_tokens", [{"id": 10**9, "content": "<|x|>"}], "ids go up to 1000000000"),
        ("added_tokens", [{"content": "<|x|>"}], "added_tokens.0.id: Field required"),
        ("added_tokens", 2 * [{"id": 900, "content": "<|x|>"}], "lists an added token twice"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_told_in_one_line(place, value, message, tmp_path: Path) -> None:
    path = write(tmp_path / "some.json", change(family("gpt2"), place, value))
    with pytest.raises(TokenizerError, match=re.escape(message)) as caught:
        load_tokenizer(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"{", "damaged: not JSON at line 1"), (b"[]", "is not a tokenizer.json"), (b'{"model": {}}', "an unknown model")],
)
def test_a_file_that_is_something_else(content, message, tmp_path: Path) -> None:
    path = tmp_path / "some.json"
    path.write_bytes(content)
    with pytest.raises(TokenizerError, match=message.replace("an unknown", "holds a unknown")):
        load_tokenizer(path)


def test_added_tokens_keep_their_ids_when_they_are_not_last(tmp_path: Path) -> None:
    content = family("llama3")
    vocab = content["model"]["vocab"]
    content["model"]["vocab"] = {token: id + 1 for token, id in vocab.items()}
    content["added_tokens"] = [added(0, "<|end_of_text|>")]
    content["model"]["vocab"]["<|end_of_text|>"] = 0
    Pair(content).check(TEXT + "<|end_of_text|>")
    load_tokenizer(write(tmp_path / "some.json", content)).save(tmp_path / "saved")
    Pair(json.loads((tmp_path / "saved" / "tokenizer.json").read_text(encoding="utf-8"))).check(TEXT)


def test_an_array_of_a_text_with_a_whole_token() -> None:
    both = pair("qwen3", True, False)
    text = "<think>" + TEXT + "</think>"
    assert isinstance(both.compiled.encode_array(text), np.ndarray)
    assert both.compiled.encode_array(text).tolist() == both.theirs(text, False)
