"""What the engine's refusals mean: one table from its messages and HTTP statuses to the errors of Naru.

The messages are those of Docker 20.10 and later, of runc and crun below it, of Podman, and of the registries that
they ask; the statuses are those of the Docker Engine API.
"""

import errno
import os
import re
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from aiodocker.exceptions import DockerError
from aiohttp import ClientConnectorError

from naru.domain.errors import Conflict, Forbidden, Invalid, NaruError, NotFound, Unavailable

NOT_CONNECTED = 900
"""The status that aiodocker gives to an engine that it cannot reach."""


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a message with this pattern means, and how that is mended."""

    pattern: str
    kind: type[NaruError]
    mend: str


_MACHINE = (
    Meaning("no space left on device", Unavailable, "free disk space on the engine's machine"),
    Meaning(
        r"containerd\.sock|shutting down|shutdown in progress|transport is closing|context canceled",
        Unavailable,
        "wait until the engine is up again; it is stopping",
    ),
)
OF_A_CONTAINER: Sequence[Meaning] = (
    *_MACHINE,
    Meaning("exec format error", Invalid, "deploy an image made for this machine's platform"),
    Meaning(
        "executable file not found|no such file or directory|not a directory: unknown",
        Invalid,
        "name a program that is in the image, and put nothing where a file already is",
    ),
    Meaning("permission denied", Invalid, "name a program that may be executed"),
    Meaning("port is already allocated|address already in use", Conflict, "free the port, or choose another"),
    Meaning("is already in use", Conflict, "remove what has the name"),
)
OF_A_NETWORK: Sequence[Meaning] = (
    *_MACHINE,
    Meaning("active endpoints|is being used|in use", Conflict, "disconnect what others connected to it"),
)
OF_A_PULL: Sequence[Meaning] = (
    *_MACHINE,
    Meaning(
        "unauthorized|denied: |authentication required|basic auth|authorization failed",
        Forbidden,
        "store the registry's credentials",
    ),
    Meaning("manifest unknown|not found", NotFound, "check the name, and that the registry still has it"),
    Meaning(
        "no such host|connection refused|i/o timeout|TLS handshake",
        Unavailable,
        "see whether the engine's machine reaches the registry, and try again",
    ),
)
_KINDS: Mapping[int, type[NaruError]] = {
    400: Invalid,
    401: Forbidden,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
}


def refusal(engine: str, status: int, message: str, meanings: Sequence[Meaning] = ()) -> NaruError:
    """Name what the engine answered; a meaning of the message goes before the one of the status."""
    for meaning in meanings:
        if re.search(meaning.pattern, message, re.IGNORECASE):
            return meaning.kind(f"{engine}: {message}", meaning.mend)
    return _KINDS.get(status, Unavailable)(f"{engine}: {message}")


def absence(engine: str, url: str, error: BaseException) -> Unavailable:
    """Name an engine that does not answer, and what the connection failed of."""
    reason = _root(error)
    mend = "start it, or name another engine"
    if isinstance(reason, PermissionError):
        mend = "run Naru as a user who may open the socket, such as a member of the group docker"
    return Unavailable(f"{engine} does not answer at {url}: {_said(reason)}", mend)


def _root(error: BaseException) -> BaseException:
    """Return what aiodocker and aiohttp wrapped, each in a sentence of its own."""
    if isinstance(error, DockerError):
        error = error.__context__ or error
    return error.os_error if isinstance(error, ClientConnectorError) else error


def _said(reason: BaseException) -> str:
    """Say the reason as the operating system does; asyncio words a refused connection in its own way."""
    told = ""
    if isinstance(reason, OSError) and not isinstance(reason, ssl.SSLError):
        code = reason.errno or 0
        told = os.strerror(code) if code in errno.errorcode else reason.strerror or ""
    return told.lower() or str(reason) or type(reason).__name__
