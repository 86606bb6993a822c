"""What a shell does to a command's streams: closed, cut off, or holding bytes that are not UTF-8."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
COMMAND = "from cli import app as frame\nimport sys, typer\n{before}\ndef command() -> None:\n    '''Do one thing.'''\n"


def run(body, *, before="", shell='"$@"', words=(), **environment):
    """Run a command with this body below a line of shell, and return what came out as bytes."""
    code = COMMAND.format(before=before) + "".join(f"    {line}\n" for line in body.splitlines())
    code += "frame.run(frame.make_app(command))\n"
    return subprocess.run(
        ["bash", "-c", shell, "bash", sys.executable, "-c", code, *words],
        capture_output=True,
        check=False,
        cwd=ROOT,
        env={**os.environ, "PYTHONIOENCODING": "utf-8", **environment},
    )


ESCAPED = "frame.put('a\\udcff\\udcfe\\ud800b')"


def test_bytes_that_are_not_utf8_go_out_as_they_came_in():
    assert run(ESCAPED).stdout == b"a\xff\xfe?b\n"


def test_a_narrow_encoding_stops_nothing():
    done = run("frame.put('caf\\u00e9 \\U0001f600\\udcff')", PYTHONIOENCODING="latin-1")
    assert (done.returncode, done.stdout) == (0, b"caf\xe9 ?\xff\n")


def test_json_stays_json():
    before = "class Result:\n    def record(self):\n        return {'text': 'a\\udcff\\u00e9\\n'}"
    done = run("frame.show(Result(), as_json=True)", before=before)
    assert done.stdout == '{"text": "a\\udcffé\\n"}\n'.encode()


@pytest.mark.parametrize("body", ["frame.put('product')", "typer.echo('talk', err=True)", "sys.stdin.buffer.read()"])
def test_closed_streams(body):
    done = run(body, shell='"$@" <&- >&- 2>&-; echo $?')
    assert done.stdout == b"0\n"


def test_a_file_does_not_take_the_place_of_a_closed_stream(tmp_path):
    path = tmp_path / "data"
    body = f"with open({str(path)!r}, 'w') as file:\n    frame.put('product')\n    file.write('data')"
    assert run(body, shell='"$@" >&-').returncode == 0
    assert path.read_text() == "data"


def test_a_reader_that_leaves_ends_the_command_without_a_word():
    body = "for number in range(100000):\n    frame.put(str(number))"
    done = run(body, shell='"$@" | head -1; echo ${PIPESTATUS[0]}')
    assert done.stdout == b"0\n141\n"
    assert done.stderr == b""


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_leaves_in_the_middle_of_one_long_text_is_seen(unbuffered):
    body = "frame.put('one line\\n' * 100000)"
    done = run(body, shell='"$@" | head -1; echo ${PIPESTATUS[0]}', PYTHONUNBUFFERED=unbuffered)
    assert done.stdout == b"one line\n141\n"
    assert done.stderr == b""


@pytest.mark.parametrize("words", [(), ("--help",)])
def test_a_full_stdout_is_one_line_and_exit_code_2(words):
    done = run("frame.put('product')", shell='"$@" >/dev/full', words=words)
    assert done.returncode == 2
    assert done.stderr.startswith(b"error: cannot write to stdout: No space left on device; ")
    assert done.stderr.count(b"\n") == 1


def test_a_reader_that_leaves_the_help_ends_it_without_a_word():
    done = run("frame.put('product')", shell='"$@" | true; echo ${PIPESTATUS[0]}', words=["--help"])
    assert (done.stdout, done.stderr) == (b"141\n", b"")


def test_talk_that_nobody_reads_stops_nothing():
    body = "for number in range(100000):\n    print(number, file=sys.stderr)\nframe.put('saved')"
    done = run(body, shell='{ "$@" 2>&1 >&3 | true; echo ${PIPESTATUS[0]}; } 3>&1')
    assert done.stdout == b"saved\n0\n"


@pytest.mark.parametrize(
    ("name", "code", "words"),
    [("TERM", 143, b"SIGTERM: ended\n"), ("HUP", 129, b"SIGHUP: ended\n"), ("INT", 130, b"interrupted\n")],
)
def test_termination_cleans_up(tmp_path, name, code, words):
    path = tmp_path / "half"
    before = "import os, pathlib, signal, time\n"
    body = (
        f"half = pathlib.Path({str(path)!r})\nhalf.touch()\n"
        f"try:\n    os.kill(os.getpid(), signal.SIG{name})\n    time.sleep(60)\nfinally:\n    half.unlink()"
    )
    done = run(body, before=before)
    assert (done.returncode, done.stderr) == (code, words)
    assert not path.exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_before_the_command_has_begun_has_its_own_code(number):
    before = (
        "import os, signal, time, typer.main\n"
        "made = typer.main.get_command\n"
        f"def slow(app):\n    os.kill(os.getpid(), {int(number)})\n    time.sleep(60)\n    return made(app)\n"
        "typer.main.get_command = slow\n"
    )
    done = run("frame.put('begun')", before=before)
    assert (done.returncode, done.stdout, done.stderr) == (-number, b"", b"")


@pytest.mark.parametrize("name", ["HUP", "INT"])
def test_a_signal_that_is_ignored_stays_so(name):
    """As under nohup, and in what a shell starts with ``&``."""
    body = f"os.kill(os.getpid(), signal.SIG{name})\nframe.put('alive')"
    done = run(body, before="import os, signal\n", shell=f"trap '' {name}; \"$@\"")
    assert (done.returncode, done.stdout) == (0, b"alive\n")
