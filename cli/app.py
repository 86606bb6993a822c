"""What every command shares: its options, how a configuration is loaded, and how errors end.

stdout is the product (text or JSON lines), stderr the talk. Exit codes: 0 done; 2 a mistake in the user's hands, told
in one line; 128 + N ended by signal N (130 Ctrl-C, 143 SIGTERM, 141 nobody reads stdout any more); 1 a fault of ours,
with its traceback. Nothing heavy is imported here: ``--help`` must answer at once, so a command imports its parameters
when it runs and the library after they are valid.
"""

from __future__ import annotations

import errno
import functools
import signal
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, NoReturn, TypeVar

import typer

from cli import streams
from cli.usage import Command, fail
from diffusionlm.errors import FlowLMError
from diffusionlm.training.signals import Terminated, raise_on_termination

if TYPE_CHECKING:
    from diffusionlm.workflows.params import CommandParams

P = TypeVar("P", bound="CommandParams")

UNUSABLE_PATH = (
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.ENAMETOOLONG,
    errno.ELOOP,
)
"""What the system says of a path that a user gave wrongly, wherever the path is first used."""

Config = Annotated[
    str | None,
    typer.Option("--config", metavar="FILE.toml", help="Configuration: a file, or the bare name of a packaged recipe."),
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="One value, as section.key=value. Repeatable; wins over the file."),
]
PrintConfig = Annotated[
    bool, typer.Option("--print-config", help="Print the resolved configuration as TOML and do nothing else.")
]
Checkpoint = Annotated[
    str | None,
    typer.Option("--checkpoint", metavar="PATH", help="A checkpoint, a run folder (its newest good one), or run@best."),
]

# Whether this process is one command and nothing else; then its signals are the command's.
_is_process = False

# Where the command writes, for the message about a full device: the system's error often names no file.
_output: ContextVar[Path | None] = ContextVar("output", default=None)


class Flag(NamedTuple):
    """An option of a command that is a short form of ``--set``."""

    option: str
    """The option as the user types it, for messages."""
    key: str
    """The dotted key that it sets."""
    value: Any
    """Its value; None if it was not given."""


def configure(
    params: type[P],
    config: str | None,
    settings: list[str] | None,
    print_config: bool,
    flags: Sequence[Flag] = (),
    first: Sequence[Flag] = (),
) -> P:
    """Return the validated configuration of a command, or print it and end if ``--print-config`` asks for that.

    Args:
        params: The class of the command's configuration.
        config: The value of ``--config``.
        settings: The values of ``--set``.
        print_config: Whether to print the result and exit with code 0.
        flags: The command's own options; a value of None means that the option was not given.
        first: Those of them that stand for a whole table, whose keys ``--set`` may then change.

    Raises:
        ConfigError: The result is not valid.
    """
    from config import overrides
    from config.load import load

    def given(some: Sequence[Flag]) -> list[overrides.Override]:
        return [
            overrides.Override(tuple(flag.key.split(".")), flag.value, flag.option)
            for flag in some
            if flag.value is not None
        ]

    options = [*given(first), *(overrides.parse(text) for text in settings or []), *given(flags)]
    loaded = load(params, config, options, {flag.key: flag.option for flag in flags})
    if print_config:
        from config.print import printed

        put(printed(loaded, params.command), end="")
        raise typer.Exit
    _output.set(loaded.output_folder())
    return loaded


def guarded(function: Callable[..., None]) -> Callable[..., None]:
    """Wrap a command so that its errors end as this module's docstring says."""

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> None:
        _output.set(None)
        if _is_process:  # until here a signal ends the process as it would any other, with the same code
            raise_on_termination()
            if signal.getsignal(signal.SIGINT) == signal.SIG_DFL:
                signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            function(*args, **kwargs)
        except FlowLMError as error:
            fail(" ".join(str(error).split("\n")))
        except KeyboardInterrupt as stop:
            _stopped(stop)
        except Exception as error:
            if (stop := _stop_behind(error)) is not None:
                _stopped(stop)
            if device_full(error):
                fail(f"no space left on the device that holds {_full_folder(error)}; free some space and run again")
            if not isinstance(error, OSError) or error.errno not in UNUSABLE_PATH or error.filename is None:
                raise
            fail(f"cannot use {str(error.filename)!r}: {error.strerror}; check the path and its permissions")

    return run


def _stopped(stop: KeyboardInterrupt) -> NoReturn:
    """End as the signal says that has come."""
    name = stop.signal_name if isinstance(stop, Terminated) else "SIGINT"
    typer.echo("interrupted" if name == "SIGINT" else f"{name}: ended", err=True)
    raise typer.Exit(128 + signal.Signals[name]) from None


def _stop_behind(error: BaseException | None) -> KeyboardInterrupt | None:
    """Return the signal that an error came from, if it did: a compiler that is torn out of its work fails elsewhere."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error


def device_full(error: BaseException | None) -> bool:
    """Return whether an error, or one that it came from, says that a device is full or a quota used up.

    Compiled writers (safetensors) report it as an error of their own whose text holds the system's words.
    """
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        if "No space left on device" in str(error) or "StorageFull" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


def _full_folder(error: BaseException | None) -> str:
    """Return the folder to name in the message about a full device."""
    while error is not None:
        if isinstance(error, OSError) and error.filename is not None:
            return str(Path(str(error.filename)).parent)
        error = error.__cause__ or error.__context__
    return str(_output.get() or Path.cwd())


def show(result: Any, *, as_json: bool = False) -> None:
    """Print what a workflow returned: its ``report()`` for people, or its ``record()`` as one line of JSON."""
    if as_json:
        import json

        line = json.dumps(result.record(), ensure_ascii=False, allow_nan=False)
        # A lone surrogate becomes \\udXXX, which is JSON's own escape for it; as a raw byte it would not be JSON.
        put(line.encode("utf-8", errors="backslashreplace").decode("utf-8"))
    else:
        put(result.report())


def put(text: str, end: str = "\n") -> None:
    """Print a part of the product on stdout."""
    typer.echo(f"{text}{end}", nl=False)


def make_app(function: Callable[..., None]) -> typer.Typer:
    """Return the application of one command; the command's docstring is its help."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command(cls=Command)(guarded(function))
    return app


def run(app: Callable[[], object]) -> None:
    """Run an application as a process: the entry point of a console script."""
    global _is_process
    streams.prepare()
    _is_process = True
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # Python's own answer is a traceback, until a command begins
    app()
