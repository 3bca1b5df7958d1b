"""How a command ends: one clear message, no traceback, and the exit code that says which kind of end it was."""

from __future__ import annotations

import errno
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import typer

from concertina.cli.launch import is_said_elsewhere
from concertina.cli.streams import hush, let_go_of_stdout, let_go_of_what_is_stuck, say
from concertina.errors import ConcertinaError, RankError, StorageError

OK, FAILED, REFUSED, INTERNAL, INTERRUPTED = 0, 1, 2, 3, 130
GRACE_S = 2.0
"""How long a process leaves another one to speak: launchers end all soon after the first is gone."""

DISK = {
    errno.ENOSPC: ("no space left on the device", "Free some space or write elsewhere, then run the command again."),
    errno.EDQUOT: ("the disk quota is used up", "Free some space or write elsewhere, then run the command again."),
    errno.EFBIG: ("the file would be larger than is allowed here", "Raise the limit or write elsewhere."),
    errno.EROFS: ("the file system is read-only", "Write elsewhere."),
    errno.EACCES: ("permission denied", "Check who owns the file and its folder."),
    errno.EPERM: ("operation not permitted", "Check who owns the file and its folder."),
    errno.ENOENT: ("no such file or folder", "Check the path."),
    errno.EISDIR: ("is a folder, a file is needed", "Give the path of a file."),
    errno.ENOTDIR: ("a part of the path is no folder", "Check the path."),
    errno.EEXIST: ("is there already", "Give another path, or --yes to replace it."),
    errno.ENAMETOOLONG: ("the file name is too long", "Give a shorter one."),
}


def reported(work: Callable[[], int], *, debug: bool = False) -> int:
    """Run a command and return its exit code; whatever it raises becomes a message on stderr.

    Args:
        work: The command; returns 0, or 1 when a check or bound failed.
        debug: Whether the traceback is shown too.
    """
    try:
        return work()
    except BaseException as error:
        if is_said_elsewhere(error):
            time.sleep(GRACE_S)
            hush()
        if debug and not isinstance(error, SystemExit | typer.Exit):
            traceback.print_exc()
        code = _said(error)
        let_go_of_what_is_stuck()
        return code


@contextmanager
def resumable(how: Callable[[], str]) -> Iterator[None]:
    """Tell how to go on when the work inside is interrupted, the disk refuses or another process is gone.

    Args:
        how: Gives the text, empty where there is nothing to go on from.
    """
    try:
        yield
    except (KeyboardInterrupt, RankError, StorageError, OSError) as stop:
        if text := how():
            stop.add_note(text)
        raise


def _said(error: BaseException) -> int:
    """Say what ended the command and return the exit code."""
    match error:
        case BrokenPipeError():
            let_go_of_stdout()
            return OK
        case typer.Exit():
            return error.exit_code
        case SystemExit():
            return error.code if isinstance(error.code, int) else OK
        case KeyboardInterrupt() | typer.Abort():
            return _interrupted(error)
        case typer.TyperException():
            return _refused(error.format_message() + _where_help_is(error))
        case ConcertinaError():
            _refused(str(error), error)
            return error.exit_code
        case OSError() if error.errno in DISK:
            return _refused(str(_as_storage_error(error)), error)
    if _is_lack_of_memory(error):
        return _refused("not enough memory. Close other programs, or ask for less (a smaller --batch or --batch-size).")
    return _internal(error)


def _refused(message: str, error: BaseException | None = None) -> int:
    """Say what is wrong, and what was noted on the error; what a terminal would take for a command is replaced."""
    lines = [f"error: {message}", *getattr(error, "__notes__", ())]
    say("\n".join("".join(c if c.isprintable() else "\ufffd" for c in x) for line in lines for x in line.split("\n")))
    return REFUSED


def _where_help_is(error: BaseException) -> str:
    context = getattr(error, "ctx", None)
    return f"\nSee '{context.command_path} --help'." if context is not None else ""


def _interrupted(error: BaseException) -> int:
    stop = error.__cause__ if isinstance(error.__cause__, KeyboardInterrupt) else error
    say("\n".join(["interrupted", *getattr(stop, "__notes__", ())]))
    return INTERRUPTED


def _as_storage_error(error: OSError) -> StorageError:
    what, do = DISK[error.errno or 0]
    paths = [str(path) for path in (error.filename, error.filename2) if path is not None]
    return StorageError(f"{' -> '.join(paths)}: {what}" if paths else what, do=do)


def _is_lack_of_memory(error: BaseException) -> bool:
    """Return whether memory ran out: torch says so in words only."""
    words = ("can't allocate memory", "out of memory")
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(word in str(error).lower() for word in words)
    )


def _internal(error: BaseException) -> int:
    """Keep the traceback in a file of its own and name it."""
    line = f"internal error: {type(error).__name__}: {str(error).strip() or 'no message'}".split("\n")[0]
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="concertina-", suffix=".log", delete=False, encoding="utf-8", errors="backslashreplace"
        ) as log:
            log.write("".join(traceback.format_exception(error)))
        line += f" (whole story in {log.name}; please report it)"
    except OSError:
        line += " (run again with --debug for the whole story)"
    say(line)
    return INTERNAL
