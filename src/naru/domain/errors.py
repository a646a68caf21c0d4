"""What can go wrong, one kind per reaction of the caller.

Every error says its cause and, where there is one, the mend: what the reader can do about it. `override` names the
field of the request that has it done all the same; how the reader sets it depends on where it was asked for.
"""


class NaruError(Exception):
    """The root of the family; raise one of the kinds below."""

    def __init__(self, cause: str, mend: str = "", *, override: str = "") -> None:
        super().__init__(f"{cause}; {mend}" if mend else cause)
        self.cause = cause
        self.mend = mend
        self.override = override


class Invalid(NaruError):
    """The request itself is wrong: change it."""


class NotFound(NaruError):
    """What was named does not exist: name something else."""


class Conflict(NaruError):
    """The state does not allow it now: look again, then decide."""


class Stale(Conflict):
    """The caller's copy is older than ours: fetch it again and repeat the change."""


class SignInRequired(NaruError):
    """Nobody is signed in: sign in."""


class Forbidden(NaruError):
    """This subject or this image may not: ask for the right, or change the policy."""


class Unavailable(NaruError):
    """Something that we depend on does not answer: try again after `retry_after` seconds."""

    def __init__(self, cause: str, mend: str = "", *, override: str = "", retry_after: float = 5.0) -> None:
        super().__init__(cause, mend, override=override)
        self.retry_after = retry_after


HTTP_STATUS: dict[type[NaruError], int] = {
    Invalid: 422,
    NotFound: 404,
    Stale: 412,
    Conflict: 409,
    SignInRequired: 401,
    Forbidden: 403,
    Unavailable: 503,
}
"""How each kind is told over HTTP, by whoever serves and whoever asks."""


def http_status(error: NaruError) -> int:
    """Return the status of the error's kind, the most particular one that the table has."""
    return next(HTTP_STATUS[kind] for kind in type(error).__mro__ if kind in HTTP_STATUS)
