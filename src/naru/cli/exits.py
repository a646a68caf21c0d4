"""What the shell learns of how it ended: one table of exit codes, and how an error looks."""

from dataclasses import dataclass

from naru.domain.errors import Conflict, Forbidden, Invalid, NaruError, NotFound, SignInRequired, Unavailable

FAILED = 1
"""A rollout, a test request or a check of the machine came to a bad end."""
USAGE = 2
INTERRUPTED = 130


@dataclass(frozen=True, slots=True)
class ExitCode:
    """One exit code, what it means, and the kinds of error that lead to it."""

    code: int
    meaning: str
    kinds: tuple[type[NaruError], ...] = ()


EXIT_CODES = (
    ExitCode(0, "done"),
    ExitCode(FAILED, "the rollout, the test request or a check of the machine failed"),
    ExitCode(USAGE, "the command line is not understood"),
    ExitCode(3, "what was named does not exist", (NotFound,)),
    ExitCode(4, "the state does not allow it now", (Conflict,)),
    ExitCode(5, "not signed in, or not allowed", (SignInRequired, Forbidden)),
    ExitCode(6, "the server, or something that it needs, does not answer", (Unavailable,)),
    ExitCode(7, "a value is refused", (Invalid,)),
    ExitCode(INTERRUPTED, "interrupted by Ctrl-C"),
)


def exit_code(error: NaruError) -> int:
    """Return the exit code of an error's kind."""
    return next((row.code for row in EXIT_CODES if isinstance(error, row.kinds)), FAILED)


def told(error: NaruError) -> str:
    """Return the error as it is printed: the cause, then the mend and the option that overrides, if any."""
    option = f"to do it all the same, add --{error.override.replace('_', '-')}" if error.override else ""
    mend = "; ".join(filter(None, (error.mend, option)))
    return f"error: {error.cause}" + (f"\n  mend: {mend}" if mend else "")
