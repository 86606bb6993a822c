"""The line about long work: in place where there is a terminal, now and then where there is none."""

from __future__ import annotations

import pytest

from diffusionlm.workflows import changing_line
from diffusionlm.workflows.changing_line import LOG_SECONDS, ChangingLine, clock, counted


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    at = [0.0]
    monkeypatch.setattr(changing_line.time, "perf_counter", lambda: at[0])
    return at


def test_short_work_says_nothing(now: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    with ChangingLine() as line:
        for second in range(int(LOG_SECONDS)):
            now[0] = float(second)
            line.show(lambda: "never asked for")
    assert capsys.readouterr().err == ""


def test_what_began_earlier_counts(now: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    now[0] = 100.0
    with ChangingLine(since=100.0 - LOG_SECONDS) as line:
        line.show(lambda: "one")
        line.show(lambda: "not yet")
    assert capsys.readouterr().err == "one\n"


def test_a_terminal_shows_the_words_as_they_are(
    now: list[float], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(changing_line.sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("FORCE_COLOR", "1")
    with ChangingLine() as line:
        now[0] = 1.0
        line.show(lambda: "[3] of [bold]4")
    assert "[3] of [bold]4" in capsys.readouterr().err


def test_counted_parts_tell_the_time_that_is_left(now: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    with counted("scoring", 1000, "row") as scored:
        for second in range(0, 100, 10):
            now[0] = float(second)
            scored(100)
    assert capsys.readouterr().err.splitlines() == [
        "scoring: 400 of 1,000 rows, 0:00:45 left",
        "scoring: 700 of 1,000 rows, 0:00:26 left",
        "scoring: 1,000 of 1,000 rows, 0:00:00 left",
    ]


@pytest.mark.parametrize(("seconds", "shown"), [(0.4, "0:00:00"), (59.6, "0:01:00"), (3_661, "1:01:01")])
def test_a_duration(seconds: float, shown: str) -> None:
    assert clock(seconds) == shown
