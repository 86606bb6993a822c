"""The console shows progress on stderr: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import io
import re

import pytest

from diffusionlm.runlog import Console, ConsoleParams, RunContext, RunLogParams, open_run_log
from diffusionlm.runlog.outputs.console import clock, describe

TRAINING = {"loss": 3.14159, "bits_per_byte": 2.5, "tokens_per_second": 12345.6, "norm/layers.0": 7.0}


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def run(params: ConsoleParams, tmp_path, stream: io.StringIO, steps: int = 20) -> str:
    console = Console(params, RunContext(tmp_path, total_steps=steps), stream)
    for step in range(1, steps + 1):
        console.advance(step)
        if step % 5 == 0:
            console.log({**TRAINING, "loss": 3.14159 / step}, step)
    console.log({"validation/bits_per_byte": 2.25, "validation/loss": 1.5}, steps)
    console.table("samples", ["prompt", "text"], [["a", "b\nc [bold]d[/bold]"], ["e", "x" * 1000]], steps)
    console.say("saved [red]step-20[/red]")
    console.close()
    console.say("after the end")
    return stream.getvalue()


def test_plain_lines(tmp_path):
    text = run(ConsoleParams(seconds_between_lines=0), tmp_path, io.StringIO())
    assert "\x1b" not in text
    assert "\r" not in text
    lines = text.splitlines()
    pattern = r"step 5/20  loss 0\.6283  bits/byte 2\.500  tokens/s 12,346  elapsed 0:00  ETA 0:00"
    assert re.fullmatch(pattern, lines[0]), lines[0]
    assert [line.split()[1] for line in lines[:4]] == ["5/20", "10/20", "15/20", "20/20"]
    assert lines[4] == "step 20  validation bits/byte 2.250  validation loss 1.500"
    assert lines[5:8] == ["step 20  samples 1 of 2", "    prompt: a", "    text: b c [bold]d[/bold]"]
    assert lines[10] == f"    text: {'x' * 200}…"
    assert lines[11:] == ["saved [red]step-20[/red]", "after the end"]
    assert "norm" not in text


def test_plain_lines_are_rare_but_the_first_the_last_and_validation_come(tmp_path):
    text = run(ConsoleParams(seconds_between_lines=3600), tmp_path, io.StringIO())
    assert [line.split()[1] for line in text.splitlines()[:3]] == ["5/20", "20/20", "20"]


@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
def test_a_loss_that_is_no_bound_has_the_last_validation_beside_it(tmp_path, monkeypatch, stream):
    monkeypatch.setenv("COLUMNS", "80")
    out = stream()
    console = Console(ConsoleParams(seconds_between_lines=0), RunContext(tmp_path, total_steps=1700), out)
    loss = {"loss": 4.8171, "tokens_per_second": 21407.0}
    console.log(loss, 1480)
    console.log({"validation/bits_per_byte": 2.1219}, 1480)
    console.log(loss, 1490)
    console.close()
    seen = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", out.getvalue()).replace("\r", "\n").splitlines()
    assert "val bits/byte" not in seen[0]
    (last,) = {line for line in seen if "1490/1700" in line}
    assert "loss 4.817  val bits/byte 2.122  tokens/s 21,407" in last


def test_bar_on_a_terminal(tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    text = run(ConsoleParams(), tmp_path, Terminal())
    assert "\x1b[" in text
    seen = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text).replace("\r", "\n")
    last = [line for line in seen.splitlines() if "20/20" in line][-1]
    assert "ETA 0:00:00" in last
    assert "loss 0.1571  bits/byte 2.500  tokens/s 12,346" in last
    assert "…" not in last
    assert len(last.rstrip()) <= 80
    assert "step 20  validation bits/byte 2.250" in seen
    assert "saved [red]step-20[/red]" in seen
    assert seen.rstrip().endswith("after the end")


@pytest.mark.parametrize(("progress", "stream", "bar"), [("lines", Terminal, False), ("bar", io.StringIO, True)])
def test_the_choice_can_be_forced(tmp_path, progress, stream, bar):
    text = run(ConsoleParams(progress=progress), tmp_path, stream())
    assert ("\x1b[" in text) == bar


def test_forced_colours_do_not_make_a_file_a_terminal(tmp_path, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "\x1b" not in run(ConsoleParams(), tmp_path, io.StringIO())


def test_everything_goes_to_stderr(tmp_path, capfd):
    with open_run_log(RunLogParams(), tmp_path, total_steps=2) as log:
        log.advance(1)
        log.log({"loss": 1.0}, 1)
        log.say("hello")
    out, err = capfd.readouterr()
    assert out == ""
    assert err.splitlines()[0].startswith("step 1/2  loss 1.000")
    assert err.splitlines()[1] == "hello"


def test_the_time_left_after_a_resume_counts_only_new_steps(tmp_path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr("diffusionlm.runlog.outputs.console.time.monotonic", lambda: now[0])
    stream = io.StringIO()
    console = Console(ConsoleParams(seconds_between_lines=0), RunContext(tmp_path, total_steps=1000), stream)
    console.advance(900)  # resumed from step 900
    now[0] += 10
    console.log({"loss": 1.0}, 910)
    assert stream.getvalue() == "step 910/1,000  loss 1.000  elapsed 0:10  ETA 1:30\n".replace("1,000", "1000")


def test_numbers_and_times_are_short():
    assert describe({"a": 0.000012345, "b": 1e12, "c": 4567.8, "d": 12345, "e": "x", "f": True, "g": None}) == (
        "a 1.234e-05  b 1e+12  c 4,568  d 12,345  e x  f True  g None"
    )
    assert [clock(seconds) for seconds in (0, 59.9, 61, 3600, 36061)] == ["0:00", "0:59", "1:01", "1:00:00", "10:01:01"]


@pytest.mark.parametrize("bar", [False, True])
def test_the_length_may_be_learnt_on_the_way(tmp_path, monkeypatch, bar):
    """A budget in minutes or tokens: no length at the start, then estimates; the time left follows the last one."""
    monkeypatch.setenv("COLUMNS", "100")
    now = [100.0]
    monkeypatch.setattr("diffusionlm.runlog.outputs.console.time.monotonic", lambda: now[0])
    stream = Terminal() if bar else io.StringIO()
    console = Console(ConsoleParams(seconds_between_lines=0), RunContext(tmp_path), stream)
    if bar:
        monkeypatch.setattr("diffusionlm.runlog.outputs.console._make_progress", with_clock(now))
    console.advance(0, 1000)
    for step in range(1, 11):
        now[0] += 1.0
        console.advance(step, 400 + step % 2)
        console.log({"loss": 1.0}, step)
    console.close()
    if bar:
        seen = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", stream.getvalue()).replace("\r", "\n")
        last = [line for line in seen.splitlines() if "10/400" in line][-1]
        assert "ETA 0:06:30" in last, last
    else:
        assert stream.getvalue().splitlines()[-1] == "step 10/400  loss 1.000  elapsed 0:10  ETA 6:30"


def with_clock(now: list[float]):
    """Return the maker of the bar with a clock that the test moves."""
    from diffusionlm.runlog.outputs import console

    make = console._make_progress

    def made(stream):
        progress = make(stream)
        progress.get_time = lambda: now[0]
        return progress

    return made
