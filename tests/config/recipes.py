"""Which command a packaged recipe is for: the one in its opening comment."""

import re

from config.files import RECIPES


def command_of(name: str) -> str:
    text = (RECIPES / f"{name}.toml").read_text(encoding="utf-8")
    found = re.search(r"^# +flowlm[- ]([a-z-]+) --config " + re.escape(name) + r"\b", text, re.MULTILINE)
    assert found, f"{name}.toml does not open with the command that runs it"
    return found.group(1)
