"""Folders: what is saved comes back, and what is damaged is named in one line."""

import json
import re

import pytest

from diffusionlm.errors import TokenizerError
from diffusionlm.tokenizer import EOS, BPETokenizer, FilesParams, build_tokenizer, load_tokenizer, train_bpe
from tests.diffusionlm.tokenizer.conftest import TEXT, small_bpe


def edit_json(path, change):
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(json.dumps(content), encoding="utf-8")


@pytest.fixture
def folder(tmp_path):
    small_bpe().save(tmp_path / "deep" / "tokenizer")
    return tmp_path / "deep" / "tokenizer"


def test_saved_is_loaded(tokenizer, tmp_path):
    tokenizer.save(tmp_path)
    loaded = build_tokenizer(FilesParams(path=tmp_path))
    assert type(loaded) is type(tokenizer)
    assert loaded.fingerprint() == tokenizer.fingerprint()
    assert loaded.specials == tokenizer.specials
    assert loaded.vocab_size == tokenizer.vocab_size
    for data in (TEXT, bytes(range(256)), f"a{EOS}<|im start|>b"):
        assert loaded.encode(data, allow_special=True) == tokenizer.encode(data, allow_special=True)
    again = tmp_path / "again"
    loaded.save(again)
    assert all((again / path.name).read_bytes() == path.read_bytes() for path in tmp_path.glob("*.*"))


def test_files_are_gpt2s_format(folder):
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["merges.txt", "special_tokens.json", "tokenizer.json", "tokenizer_type.json", "vocab.json"]
    assert (folder / "merges.txt").read_text(encoding="utf-8").startswith("#version: 0.2\n")
    vocab = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
    assert sorted(vocab.values()) == list(range(340))
    assert vocab["Ġ"] == small_bpe().encode(" ")[0]
    assert json.loads((folder / "special_tokens.json").read_text(encoding="utf-8")) == small_bpe().specials


def test_the_tokenizers_package_reads_the_files(folder):
    from tokenizers import ByteLevelBPETokenizer

    theirs = ByteLevelBPETokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), add_prefix_space=False)
    assert theirs.encode(TEXT).ids == small_bpe().encode(TEXT)


def test_without_the_specials_file_what_no_merge_makes_is_special(folder):
    for name in ("special_tokens", "tokenizer_type", "tokenizer"):
        (folder / f"{name}.json").unlink()
    assert load_tokenizer(folder).fingerprint() == small_bpe().fingerprint()


def test_specials_may_be_in_their_own_file_only(folder):
    edit_json(folder / "vocab.json", lambda vocab: [vocab.pop(name) for name in small_bpe().specials])
    assert load_tokenizer(folder).fingerprint() == small_bpe().fingerprint()


def test_windows_line_ends_and_hash_signs(tmp_path):
    tokenizer = BPETokenizer.from_merges([(b"#", b"#"), (b"##", b"version")][:1], [EOS])
    tokenizer.save(tmp_path)
    path = tmp_path / "merges.txt"
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert load_tokenizer(tmp_path).merges == [(b"#", b"#")]


def test_merges_without_a_header(folder):
    path = folder / "merges.txt"
    path.write_text(path.read_text(encoding="utf-8").split("\n", 1)[1], encoding="utf-8")
    assert load_tokenizer(folder).fingerprint() == small_bpe().fingerprint()


def test_missing_folder(tmp_path):
    with pytest.raises(TokenizerError, match=r"no tokenizer at .*nowhere; give a folder with vocab\.json and merges"):
        load_tokenizer(tmp_path / "nowhere")
    with pytest.raises(
        TokenizerError, match=r"no tokenizer in .*: neither tokenizer_type.json nor tokenizer.json nor vocab"
    ):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize("name", ["vocab.json", "merges.txt"])
def test_missing_file(folder, name):
    (folder / name).unlink()
    with pytest.raises(TokenizerError, match=f"{name} is missing; a tokenizer folder holds"):
        load_tokenizer(folder)


def test_missing_special_tokens_of_bytes(tmp_path):
    (tmp_path / "tokenizer_type.json").write_text('{"format": 1, "name": "byte"}')
    with pytest.raises(TokenizerError, match=r"special_tokens\.json is missing"):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("vocab.json", b"{", "vocab.json is damaged: not JSON at line 1"),
        ("vocab.json", b"\xff\xfe", "vocab.json is damaged: byte 0 is not UTF-8"),
        ("vocab.json", b"[1]", "vocab.json must hold a JSON object of token: id, not a list"),
        ("vocab.json", b'{"a": true}', "the id of 'a' must be an integer, not True"),
        ("vocab.json", b'{"a": 1.5}', "the id of 'a' must be an integer, not 1.5"),
        ("merges.txt", b"#version: 0.2\na b c\n", "line 2: a merge is two tokens with one space between, not 'a b c'"),
        ("merges.txt", b"t h\nt h\n", "merges.txt line 2: the merge 't h' is listed twice"),
        ("merges.txt", b"t hx\n", "'hx' in the merge 't hx' is neither a byte nor made by a merge"),
        ("merges.txt", b"z q\n", "vocab.json lacks the merged token 'zq'; it and merges.txt do not belong together"),
        ("merges.txt", b"", "no merge makes .*; if it is special, list it in special_tokens.json"),
        ("special_tokens.json", b'{"<|endoftext|>": 3}', "the id 3, vocab.json gives it 337; they must agree"),
        ("special_tokens.json", b'{"<|new|>": 999}', "ids must be 0..340, each once; '<|new|>' has 999, not 340"),
        ("special_tokens.json", b"[]", "special_tokens.json must hold a JSON object"),
        ("tokenizer_type.json", b'{"format": 2, "name": "bpe"}', "has format 2, this version reads 1"),
        ("tokenizer_type.json", b'{"format": 1, "name": "wordpiece"}', "unknown tokenizer 'wordpiece'; known"),
        ("tokenizer_type.json", b"[]", "tokenizer_type.json must be"),
    ],
)  # fmt: skip
def test_damaged_file_is_named_in_one_line(folder, name, content, message):
    (folder / name).write_bytes(content)
    with pytest.raises(TokenizerError, match=message.replace("|", r"\|")) as caught:
        load_tokenizer(folder)
    assert "\n" not in str(caught.value)


def test_gap_in_the_ids(folder):
    edit_json(folder / "vocab.json", lambda vocab: vocab.update({"a": 900}))
    with pytest.raises(TokenizerError, match=re.escape("ids must be 0..339, each once;")):
        load_tokenizer(folder)


def test_two_tokens_with_one_id(folder):
    edit_json(folder / "vocab.json", lambda vocab: vocab.update({"a": vocab["b"]}))
    with pytest.raises(TokenizerError, match="each once"):
        load_tokenizer(folder)


def test_missing_byte(tmp_path):
    BPETokenizer.from_merges([], [EOS]).save(tmp_path)

    def replace(vocab):
        vocab["<|x|>"] = vocab.pop("Ġ")

    edit_json(tmp_path / "vocab.json", replace)
    with pytest.raises(TokenizerError, match=r"vocab\.json lacks the single byte 'Ġ'"):
        load_tokenizer(tmp_path)


def test_ordinary_token_named_as_special(folder):
    id = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))["a"]
    edit_json(folder / "special_tokens.json", lambda specials: specials.update({"a": id}))
    with pytest.raises(TokenizerError, match="'a' is an ordinary token, it cannot be special"):
        load_tokenizer(folder)


def test_byte_specials_must_follow_the_bytes(tmp_path):
    (tmp_path / "tokenizer_type.json").write_text('{"format": 1, "name": "byte"}')
    (tmp_path / "special_tokens.json").write_text('{"<|endoftext|>": 257}')
    with pytest.raises(
        TokenizerError, match=re.escape("ids must be 256..256, each once; '<|endoftext|>' has 257, not 256")
    ):
        load_tokenizer(tmp_path)


def test_saving_where_nothing_can_be_written(tokenizer, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(TokenizerError, match=r"cannot write the tokenizer to .*file"):
        tokenizer.save(tmp_path / "file")


def test_full_vocabulary_of_a_run_survives(tmp_path):
    tokenizer = train_bpe([bytes(range(256)) * 3, TEXT], 400)
    tokenizer.save(tmp_path)
    assert load_tokenizer(tmp_path).merges == tokenizer.merges
