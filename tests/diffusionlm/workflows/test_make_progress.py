from __future__ import annotations

import pytest

from diffusionlm.runlog.resident import PeakMemory
from diffusionlm.workflows import changing_line
from diffusionlm.workflows.make_progress import MakeProgress, progress_words


def test_where_the_source_knows_its_size_there_is_an_end() -> None:
    words = progress_words("train", 1200, 3_000_000, 10_000_000, 2.0, 4_000_000, 32_000_000)
    assert words == "train: 1,200 documents, 3,000,000 tokens, 10.0 of about 32.0 MB, 3.0 MB/s, 0:00:07 left"


def test_where_it_does_not_there_is_none() -> None:
    words = progress_words("train", 1200, 3_000_000, 10_000_000, 2.0, 0, None)
    assert words == "train: 1,200 documents, 3,000,000 tokens, 10.0 MB, 5.0 MB/s"


def test_where_no_tokens_are_made_none_are_told() -> None:
    assert progress_words("words", 12, None, 10_000_000, 2.0, 0, None) == "words: 12 documents, 10.0 MB, 5.0 MB/s"


@pytest.mark.parametrize(("size", "begun_with"), [(0, 0), (5, 5), (200, 0)])
def test_nothing_done_yet_and_more_than_expected(size: int, begun_with: int) -> None:
    words = progress_words("train", 1, 1, size, 0.0, begun_with, 100)
    assert words.endswith("0:00:00 left" if size == 200 else "MB/s")


def test_a_job_without_a_terminal_says_a_line_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [0.0]
    monkeypatch.setattr(changing_line.time, "perf_counter", lambda: now[0])
    with MakeProgress("train", 0, None, PeakMemory()) as progress:
        for second in range(0, 100, 10):
            now[0] = float(second)
            progress(second, second, second * 1_000_000)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(" documents")[0] for line in lines] == ["train: 30", "train: 60", "train: 90"]
