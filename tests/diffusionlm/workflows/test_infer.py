"""What ``infer`` and ``infill`` read from files and stdin: every byte as it is."""

import io
import json
import sys

import pytest

from diffusionlm.errors import DataError
from diffusionlm.workflows.infer import _prompts_of, read_text

TEXT = "a\r\nb\rc\u2028d\x85e\n\n"


@pytest.fixture
def stdin(monkeypatch):
    """Return a function that puts bytes on stdin."""

    def put(raw):
        # As a terminal of another encoding would open it: only the bytes may be read.
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(raw), encoding="latin-1", newline=None))

    return put


def test_a_text_is_read_to_the_byte(tmp_path, stdin):
    (tmp_path / "text.txt").write_bytes(TEXT.encode())
    assert read_text(str(tmp_path / "text.txt")) == TEXT
    stdin(TEXT.encode())
    assert read_text("-") == TEXT


def test_bytes_that_are_not_utf8(tmp_path, stdin):
    (tmp_path / "text.txt").write_bytes(b"ab\xff")
    with pytest.raises(DataError, match="is not UTF-8 at byte 2; convert it first"):
        read_text(str(tmp_path / "text.txt"))
    stdin(b"\xe9")
    with pytest.raises(DataError, match="is not UTF-8 at byte 0"):
        read_text("-")


def test_a_folder_is_no_text(tmp_path):
    with pytest.raises(DataError, match="Is a directory"):
        read_text(str(tmp_path))


def test_prompts_end_at_line_feeds_only(tmp_path):
    (tmp_path / "prompts.txt").write_bytes("one\u2028still one\r\ntwo\x85still two\n\nthree".encode())
    assert _prompts_of(str(tmp_path / "prompts.txt")) == ["one\u2028still one", "two\x85still two", "three"]


def test_json_lines_may_hold_any_character(tmp_path):
    prompts = ["a\u2028b", "c\x85d", "e\r\nf"]
    lines = [json.dumps({"prompt": prompt}, ensure_ascii=False) for prompt in prompts]
    (tmp_path / "prompts.jsonl").write_bytes("\r\n".join(lines).encode())
    assert _prompts_of(str(tmp_path / "prompts.jsonl")) == prompts
    (tmp_path / "broken.jsonl").write_bytes(b'{"prompt": "a"}\n{}\n')
    with pytest.raises(DataError, match=r"line 2: expected a JSON object with a .prompt., got '\{\}'"):
        _prompts_of(str(tmp_path / "broken.jsonl"))


@pytest.mark.parametrize(("name", "content"), [("prompts.txt", "one"), ("prompts.jsonl", '{"prompt": "one"}')])
def test_a_byte_order_mark_is_no_part_of_a_prompt(tmp_path, name, content):
    (tmp_path / name).write_text(content, encoding="utf-8-sig")
    assert _prompts_of(str(tmp_path / name)) == ["one"]


def test_a_file_without_prompts_is_refused(tmp_path):
    from diffusionlm.workflows.infer import infer
    from diffusionlm.workflows.params import InferParams

    empty = tmp_path / "empty.txt"
    empty.write_text("")
    with pytest.raises(DataError, match="holds no prompt"):
        next(iter(infer(InferParams(checkpoint="runs/none", prompts_file=str(empty)))))


@pytest.mark.parametrize(("line", "said"), [('{"prompt": null}', "NoneType"), ('{"prompt": 5}', "int")])
def test_a_prompt_is_text(tmp_path, line, said):
    (tmp_path / "prompts.jsonl").write_text(f'{{"prompt": "a"}}\n{line}\n')
    with pytest.raises(DataError, match=f'line 2: "prompt" holds {said}, not text'):
        _prompts_of(str(tmp_path / "prompts.jsonl"))


def test_json_nested_deeper_than_python_reads(tmp_path):
    (tmp_path / "prompts.jsonl").write_text("[" * 100_000)
    with pytest.raises(DataError, match="line 1: expected a JSON object"):
        _prompts_of(str(tmp_path / "prompts.jsonl"))
