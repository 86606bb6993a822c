"""The frame of every command: how errors end, and what a user sees of them."""

import errno
import signal
import subprocess
import sys

import pytest
import typer
from typer.testing import CliRunner

from cli import app as frame
from diffusionlm.errors import CheckpointError, ConfigError
from diffusionlm.training.signals import Terminated


def result_of(error):
    def command() -> None:
        """Do one thing."""
        raise error

    return CliRunner().invoke(frame.make_app(command), [])


@pytest.mark.parametrize("error", [ConfigError("no such thing"), CheckpointError("no such thing")])
def test_a_user_error_is_one_line_and_exit_2(error):
    result = result_of(error)
    assert (result.exit_code, result.stdout, result.stderr) == (2, "", "error: no such thing\n")


def test_line_breaks_in_a_message_are_folded():
    assert result_of(ConfigError("first\nsecond")).stderr == "error: first second\n"


def test_a_fault_of_ours_keeps_its_exception():
    result = result_of(RuntimeError("broken"))
    assert result.exit_code == 1
    assert isinstance(result.exception, RuntimeError)


def test_an_interrupt_is_130():
    assert result_of(KeyboardInterrupt()).exit_code == 130


def test_a_signal_behind_an_error_is_what_ends():
    broken = RuntimeError("no compiled object yet")
    broken.__context__ = Terminated(signal.SIGTERM)
    outer = RuntimeError("could not compile")
    outer.__cause__ = broken
    result = result_of(outer)
    assert (result.exit_code, result.stderr) == (143, "SIGTERM: ended\n")


def full_with_cause():
    outer = RuntimeError("could not write")
    outer.__cause__ = OSError(errno.ENOSPC, "No space left on device", "/mnt/run/step-5/model.safetensors")
    return outer


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device", "/mnt/run/step-5/model.safetensors"),
        OSError(errno.EDQUOT, "Disk quota exceeded", "/mnt/run/step-5/model.safetensors"),
        full_with_cause(),
    ],
)
def test_a_full_device_is_named(error):
    result = result_of(error)
    assert result.exit_code == 2
    assert result.stderr == (
        "error: no space left on the device that holds /mnt/run/step-5; free some space and run again\n"
    )


def test_a_full_device_without_a_file_names_where_the_command_writes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = result_of(Exception('IoError(Os { code: 28, kind: StorageFull, message: "No space left on device" })'))
    assert result.exit_code == 2
    assert str(tmp_path) in result.stderr


def test_other_system_errors_are_faults():
    assert result_of(OSError(errno.EIO, "Input/output error")).exit_code == 1


def test_an_exit_passes_through():
    assert result_of(typer.Exit(3)).exit_code == 3


def test_a_traceback_reaches_the_terminal_for_our_faults():
    code = (
        "from cli import app as frame\n"
        "def broken() -> None:\n    '''Break.'''\n    raise RuntimeError('our fault')\n"
        "frame.run(frame.make_app(broken))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "our fault" in done.stderr


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (PermissionError(errno.EACCES, "Permission denied", "/nowhere/run"), "Permission denied"),
        (NotADirectoryError(errno.ENOTDIR, "Not a directory", "/nowhere/run"), "Not a directory"),
        (IsADirectoryError(errno.EISDIR, "Is a directory", "/nowhere/run"), "Is a directory"),
        (OSError(errno.EROFS, "Read-only file system", "/nowhere/run"), "Read-only file system"),
        (OSError(errno.ENAMETOOLONG, "File name too long", "/nowhere/run"), "File name too long"),
    ],
)
def test_a_path_that_cannot_be_used_is_named(error, reason):
    result = result_of(error)
    assert result.exit_code == 2
    assert result.stderr == f"error: cannot use '/nowhere/run': {reason}; check the path and its permissions\n"


def test_a_refusal_without_a_path_is_a_fault():
    assert result_of(PermissionError(errno.EPERM, "Operation not permitted")).exit_code == 1


def test_an_output_folder_below_a_file(tmp_path):
    from cli import train_tokenizer

    text, file = tmp_path / "text.txt", tmp_path / "file"
    text.write_text("some text\n")
    file.write_text("")
    source = f'source={{name="text",path="{text}"}}'
    options = ["--set", source, "--set", "tokenizer.name=byte", "--output", str(file / "tokenizer")]
    result = CliRunner().invoke(train_tokenizer.app, options)
    assert result.exit_code == 2, result.output
    assert result.stderr.count("\n") == 1
    assert str(file) in result.stderr
