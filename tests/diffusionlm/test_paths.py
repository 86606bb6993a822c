"""Paths as users write them, in a field and in an argument."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from diffusionlm.errors import ConfigError
from diffusionlm.params import Strict
from diffusionlm.paths import UserPath, user_path


class Params(Strict):
    folder: UserPath | None = None


def test_a_tilde_is_the_home_folder(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert user_path("~/runs/a b") == Path("/home/me/runs/a b")
    assert user_path("runs/~") == Path("runs/~")
    assert Params(folder=Path("~/runs")).folder == Path("/home/me/runs")
    assert Params().folder is None


@pytest.mark.parametrize(
    ("written", "said"),
    [("~no-such-user/x", "no home folder is known for the ~"), ("a\0b", r"'a\\x00b' is no path: it holds a NUL")],
)
def test_what_is_no_path(written, said):
    with pytest.raises(ConfigError, match=said):
        user_path(written)
    with pytest.raises(ValidationError, match=f"(?s)folder.*{said}"):
        Params(folder=Path(written))
