"""Which file ``--config`` means, and what a file that cannot be read says."""

import os
import threading

import pytest

from config import files
from diffusionlm.errors import ConfigError


def test_a_path(tmp_path):
    path = tmp_path / "a.toml"
    path.write_text("[a]\nb = 1\n")
    assert files.read(files.find(str(path))) == {"a": {"b": 1}}


@pytest.mark.parametrize("name", ["quickstart", "quickstart.toml", "config/recipes/quickstart.toml"])
def test_a_recipe_from_any_folder(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert files.find(name) == files.RECIPES / "quickstart.toml"


def test_a_file_in_the_folder_wins_over_a_recipe(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "quickstart").write_text("")
    assert files.find("quickstart").resolve() == tmp_path / "quickstart"


def test_a_folder_of_the_name_of_a_recipe_is_none(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tinystories").mkdir()
    assert files.find("tinystories") == files.RECIPES / "tinystories.toml"


def test_a_missing_file_lists_the_recipes():
    with pytest.raises(ConfigError) as caught:
        files.find("quikstart")
    assert str(caught.value).startswith(
        "--config quikstart: no such file; did you mean 'quickstart'?; packaged recipes:"
    )
    assert ", ".join(files.recipe_names()) in str(caught.value)
    with pytest.raises(ConfigError, match="no such file"):
        files.find("elsewhere/quickstart.toml")


def test_a_folder(tmp_path):
    with pytest.raises(ConfigError, match="is a folder"):
        files.find(str(tmp_path))


def test_what_is_not_toml_is_named_with_its_line(tmp_path):
    path = tmp_path / "a.toml"
    path.write_text("[a]\nb = = 1\n")
    with pytest.raises(ConfigError, match=r"a\.toml: not valid TOML: .*line 2, column 5"):
        files.read(path)
    path.write_bytes(b"a = '\xff'")
    with pytest.raises(ConfigError, match=r"not UTF-8 text: byte 5"):
        files.read(path)


def test_a_number_of_more_digits_than_python_reads(tmp_path):
    path = tmp_path / "a.toml"
    path.write_text(f"a = {'9' * 5000}")
    with pytest.raises(ConfigError, match=r"a\.toml: holds a number of thousands of digits"):
        files.read(path)


def test_a_byte_order_mark_is_no_mistake(tmp_path):
    path = tmp_path / "a.toml"
    path.write_bytes(b"\xef\xbb\xbf[a]\nb = 1\n")
    assert files.read(path) == {"a": {"b": 1}}


def test_nesting_deeper_than_python_reads(tmp_path):
    path = tmp_path / "a.toml"
    path.write_text(f"a = {'[' * 5000}{']' * 5000}")
    with pytest.raises(ConfigError, match=r"a\.toml: lists or tables are nested too deep"):
        files.read(path)


def test_a_pipe_is_a_file_as_well(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_text("a = 1\n"))
    writer.start()
    assert files.read(files.find(str(pipe))) == {"a": 1}
    writer.join()


def test_a_home_folder_that_is_not_known():
    with pytest.raises(ConfigError, match=r"^--config '~no-such-user/a.toml': no home folder is known"):
        files.find("~no-such-user/a.toml")
