"""``flowlm data inspect`` as a user meets it: what it prints, and one line for what he gets wrong."""

from __future__ import annotations

import gzip
import json
import re
import shutil

import pytest
from typer.testing import CliRunner

from cli import main, make_data
from tests.cli.test_bad_input import refused

DOCUMENTS = [f"def add_{i}(a, b):\n    return a + b + {i}\n" for i in range(60)]


def inspect(*arguments):
    return CliRunner().invoke(main.app, ["data", "inspect", *(str(word) for word in arguments)])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder with one corpus in every form."""
    folder = tmp_path_factory.mktemp("corpus")
    (folder / "text.txt").write_text("<|endoftext|>".join(DOCUMENTS))
    (folder / "text.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in DOCUMENTS))
    (folder / "text.jsonl.gz").write_bytes(gzip.compress((folder / "text.jsonl").read_bytes()))
    (folder / "files").mkdir()
    for number, text in enumerate(DOCUMENTS):
        (folder / "files" / f"{number:02}.txt").write_text(text)
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(pyarrow.table({"text": DOCUMENTS}), folder / "text.parquet")
    settings = [
        "tokenizer.vocab_size=280",
        "data.validation_fraction=0.2",
        f'data.source={{name="text",path="{folder}/text.txt"}}',
    ]
    words = [word for setting in settings for word in ("--set", setting)]
    assert CliRunner().invoke(make_data.app, [*words, "--output", str(folder / "shards")]).exit_code == 0
    return folder


def printed(*arguments):
    result = inspect(*arguments)
    assert result.exit_code == 0, result.stderr
    return result.stdout


@pytest.mark.parametrize("name", ["text.txt", "text.jsonl", "text.jsonl.gz", "text.parquet", "files", "*.jsonl"])
def test_every_form_of_a_text_shows_the_same_rows_and_statistics(name, folder):
    def without_name(text):
        return text.split("\n", 1)[1]

    shown = printed("--data", folder / name, "--rows", 2)
    assert without_name(shown) == without_name(printed("--data", folder / "text.txt", "--rows", 2))
    assert re.search(rf"^bytes +{sum(map(len, DOCUMENTS)):,}$", shown, re.MULTILINE)
    assert "60 (copies of earlier ones: 0; not UTF-8: 0)" in shown
    assert "    return a + b" in shown


def test_shards_show_their_text_by_the_tokenizer_beside_them(folder, tmp_path):
    shown = printed("--data", folder / "shards", "--row", 3)
    assert "vocabulary of 280" in shown
    assert "def add" in shown
    bare = shutil.copytree(folder / "shards", tmp_path / "bare")
    shutil.rmtree(bare / "train" / "tokenizer")
    result = inspect("--data", bare, "--row", 3)
    assert result.exit_code == 0
    assert result.stderr.startswith("no tokenizer beside the shards")
    assert "def add" not in result.stdout
    assert "unknown without a tokenizer" in result.stdout
    assert "noise needs the size of the vocabulary" in refused(inspect("--data", bare, "--time", 0.5))
    other = ["--side", "validation", "--set", f'data.validation_source={{name="text",path="{folder}/text.txt"}}']
    assert "needs a tokenizer, and the shards have none" in refused(inspect("--data", bare, *other))
    given = printed("--data", bare, "--row", 3, "--tokenizer", folder / "shards" / "train" / "tokenizer")
    assert given.split("\n", 1)[1] == shown.split("\n", 1)[1]


def test_json_holds_the_rows_and_the_numbers(folder):
    found = json.loads(printed("--data", folder / "text.txt", "--json", "--time", "0.5", "--top", 2))
    (row,) = found["rows"]
    assert bytes(id for piece in row["pieces"] for id in piece["ids"] if id < 256).decode() == "".join(
        piece["text"].replace("<|endoftext|>", "") for piece in row["pieces"]
    )
    assert row["pieces"][0]["times"] == [0.5, 0.5]
    assert found["statistics"]["documents"] == 60
    assert len(found["statistics"]["most_frequent"]) == 2


def test_rows_or_statistics_alone(folder):
    assert "row 0" not in printed("--data", folder / "text.txt", "--rows", 0)
    assert "documents " not in printed("--data", folder / "text.txt", "--no-statistics").split("legend")[1]
    assert "60 (" not in printed("--data", folder / "text.txt", "--rows", 0, "--documents", 7)


def test_set_says_more_about_the_data_that_an_option_names(folder):
    shown = printed("--data", folder / "files", "--set", 'data.source.suffixes=["1.txt"]', "--rows", 0)
    assert re.search(r"^documents +6 \(", shown, re.MULTILINE)


def test_a_training_configuration_shows_its_own_rows(folder):
    settings = [
        "--data",
        folder / "text.txt",
        "--set",
        "tokenizer.vocab_size=270",
        "--set",
        "data.validation_fraction=0.2",
    ]
    shown = printed("--config", "quickstart", *settings, "--no-statistics", "--row", 70)
    assert "vocabulary of 270 · packed rows of 64" in shown
    assert "step 1, row 6 of 64" in shown


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--data", "{folder}/absent.txt"], "absent.txt' does not exist"),
        (["--data", "{folder}/*.absent"], "no file matches the pattern"),
        (["--data", "{folder}/empty"], "has no file that ends in .txt; set suffixes to what it holds"),
        (["--data", "{folder}/empty.txt"], "is empty"),
        (["--data", "{folder}/flipped"], "damaged: its SHA-256 is not the recorded one"),
        (["--data", "{folder}/shards", "--tokenizer", "byte"], "was made by another tokenizer"),
        (["--data", "{folder}/shards", "--tokenizer", "{folder}/absent"], "no tokenizer at"),
        (["--data", "{folder}/text.txt", "--row", "-1"], "--row: row: -1 is not allowed; it must be greater"),
        (["--data", "{folder}/text.txt", "--row", "9" * 30], "--row: row: "),
        (["--data", "{folder}/shards", "--side", "validation", "--row", "9999"], "row 9999 is not there: "),
        (["--data", "{folder}/text.txt", "--side", "validation"], "has nothing held out"),
        (["--data", "{folder}/text.txt", "--side", "test"], "--side: side: 'test' is not allowed; allowed: train, "),
        (["--data", "{folder}/text.txt", "--time", "1"], "--time: time: 1.0 is not allowed; it must be less than 1"),
        (["--data", "{folder}/text.txt", "--time", "dawn"], "--time: time: 'dawn' is not allowed; it must be a number"),
        (["--data", "{folder}/text.txt", "--plot", "{folder}/no/a.png"], "there is no folder"),
        (["--data", "{folder}/text.txt", "--plot", "{folder}/text.txt/a.png"], "there is no folder"),
        (["--data", "{folder}/text.txt", "--plot", "a.gif"], "plot = 'a.gif' is no kind of picture"),
        (["--checkpoint", "{folder}/absent"], "does not exist"),
        (["--checkpoint", "{folder}/files"], "{folder}/files"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line(arguments, said, folder):
    (folder / "empty").mkdir(exist_ok=True)
    (folder / "empty.txt").touch()
    if not (folder / "flipped").exists():
        flipped = shutil.copytree(folder / "shards", folder / "flipped")
        shard = flipped / "train" / "shard-00000.bin"
        shard.write_bytes(shard.read_bytes()[:-1] + bytes([shard.read_bytes()[-1] ^ 1]))
    line = refused(inspect(*(word.format(folder=folder) for word in arguments)))
    assert said.format(folder=folder) in line


def test_a_folder_where_no_picture_can_be_written(folder, monkeypatch):
    monkeypatch.setattr("os.access", lambda path, mode: False)
    line = refused(inspect("--data", folder / "text.txt", "--plot", folder / "a.png"))
    assert "cannot be written" in line


def test_data_alone_shows_help_and_a_wrong_word_is_one_line():
    result = CliRunner().invoke(main.app, ["data"])
    assert (result.exit_code, result.stderr) == (0, "")
    assert "inspect" in result.stdout
    assert "did you mean 'inspect'" in refused(CliRunner().invoke(main.app, ["data", "inspct"]))
    assert "flowlm" not in refused(inspect("--dta", "x")).split("no such option")[1]
