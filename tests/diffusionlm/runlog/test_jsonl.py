"""JSON lines stay valid whatever is logged, survive a killed writer, and are cut back exactly on resume."""

from __future__ import annotations

import errno
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffusionlm.errors import CheckpointError, DataError
from diffusionlm.runlog.jsonl import JsonlWriter, encode, plain, read_jsonl, truncate_jsonl

names = st.text(st.characters(codec="utf-8"), min_size=1).filter(lambda name: name != "nonfinite")
values = st.one_of(st.floats(), st.integers(), st.text(), st.booleans(), st.none())


@given(st.dictionaries(names, values))
def test_every_record_is_one_line_of_strict_json(record):
    line = encode(record)
    assert "\n" not in line

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    read = json.loads(line, parse_constant=refuse)
    flags = read.pop("nonfinite", {})
    assert set(flags) == {
        name for name, value in record.items() if isinstance(value, float) and not math.isfinite(value)
    }
    for name, value in record.items():
        if name in flags:
            assert read[name] is None
            assert str(float(flags[name])) == str(value)
        else:
            assert read[name] == value


def test_nonfinite_numbers_can_be_restored(tmp_path):
    writer = JsonlWriter(tmp_path / "m.jsonl")
    writer.write([{"step": 1, "a": math.nan, "b": math.inf, "values": {"c.d": -math.inf, "e": 1.5}}])
    writer.close()
    (raw,) = read_jsonl(tmp_path / "m.jsonl")
    assert raw["a"] is None
    assert raw["nonfinite"] == {"a": "nan", "b": "inf", "values.c.d": "-inf"}
    (restored,) = read_jsonl(tmp_path / "m.jsonl", restore_nonfinite=True)
    assert math.isnan(restored["a"])
    assert (restored["b"], restored["values"]) == (math.inf, {"c.d": -math.inf, "e": 1.5})
    assert "nonfinite" not in restored


def test_floats_come_back_bit_for_bit(tmp_path):
    loss = float(np.float32(1) / np.float32(3))
    writer = JsonlWriter(tmp_path / "m.jsonl")
    writer.write([{"step": 1, "loss": loss}])
    assert read_jsonl(tmp_path / "m.jsonl")[0]["loss"] == loss


def test_lone_surrogates_do_not_stop_a_run(tmp_path):
    writer = JsonlWriter(tmp_path / "m.jsonl")
    writer.write([{"step": 1, "text": "a\ud800é\u2028"}])
    assert read_jsonl(tmp_path / "m.jsonl")[0]["text"] == "a\ud800é\u2028"


def test_plain_numbers():
    assert type(plain(np.float32(0.5))) is float
    assert type(plain(np.int64(3))) is int
    assert plain(True) is True
    assert plain(None) is None
    with pytest.raises(TypeError, match="got list"):
        plain([1])


def test_lines_are_on_disk_before_the_file_is_closed(tmp_path):
    writer = JsonlWriter(tmp_path / "deep" / "m.jsonl")
    for step in range(3):
        writer.write([{"step": step}])
        assert [record["step"] for record in read_jsonl(tmp_path / "deep" / "m.jsonl")] == list(range(step + 1))


@pytest.mark.parametrize("torn", [b'{"step": 2, "lo', b'{"step": 2, "text": "\xc3', b"\x00\x00"])
def test_a_torn_last_line_is_left_out_and_then_cut_off(tmp_path, torn):
    path = tmp_path / "m.jsonl"
    path.write_bytes(b'{"step": 1}\n' + torn)
    assert read_jsonl(path) == [{"step": 1}]
    writer = JsonlWriter(path)
    writer.write([{"step": 2}])
    writer.close()
    assert path.read_bytes() == b'{"step": 1}\n{"step": 2}\n'


def test_damage_elsewhere_is_named(tmp_path):
    path = tmp_path / "m.jsonl"
    path.write_bytes(b'{"step": 1}\n{"st\n{"step": 3}\n')
    with pytest.raises(DataError, match=r"m\.jsonl line 2 is no JSON object"):
        read_jsonl(path)
    with pytest.raises(DataError, match="there is no log at"):
        read_jsonl(tmp_path / "none.jsonl")


def test_truncate_keeps_exactly_the_steps_up_to_the_checkpoint(tmp_path):
    path = tmp_path / "m.jsonl"
    writer = JsonlWriter(path)
    writer.write([{"step": step, "loss": step / 7} for step in (1, 2, 2, 3, 4)])
    before = path.read_bytes().split(b"\n")
    assert writer.truncate(2) == 2
    assert path.read_bytes() == b"\n".join(before[:3]) + b"\n"
    writer.write([{"step": 3}])
    writer.close()
    assert [record["step"] for record in read_jsonl(path)] == [1, 2, 2, 3]
    assert truncate_jsonl(path, 100) == 0
    assert truncate_jsonl(path, 0) == 4
    assert path.read_bytes() == b""
    assert truncate_jsonl(tmp_path / "none.jsonl", 1) == 0
    assert [p.name for p in tmp_path.iterdir()] == ["m.jsonl"]


def test_truncate_repairs_a_damaged_log(tmp_path):
    path = tmp_path / "m.jsonl"
    path.write_bytes(b'{"step": 1}\n{"st\n\x00\x00\n{"step": 3}\n{"step": 4')
    assert truncate_jsonl(path, 3) == 3
    assert [record["step"] for record in read_jsonl(path)] == [1, 3]


def test_a_full_device_is_one_line(tmp_path, monkeypatch):
    writer = JsonlWriter(tmp_path / "m.jsonl")
    writer.write([{"step": 1}])
    assert writer._file is not None

    def full(text: str) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(writer._file, "flush", lambda: full(""))
    with pytest.raises(CheckpointError, match=r"cannot write .*m\.jsonl: No space left on device; make room"):
        writer.write([{"step": 2}])
