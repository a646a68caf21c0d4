"""What the API server's refusals mean: one table from its words and HTTP statuses to the errors of Naru.

The statuses and reasons are those of the Kubernetes API conventions; the messages are those of its quota admission, of
RBAC, of server-side apply's field managers, and of the container runtimes below the kubelet.
"""

import re
import ssl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import httpx2
import msgspec
from httpx2.websockets import HTTPXWSException, WebSocketUpgradeError
from lightkube.core.exceptions import ApiError, ConfigError
from pydantic import ValidationError

from naru.domain.errors import Conflict, Forbidden, Invalid, NaruError, NotFound, Unavailable
from naru.engines.kubernetes.answers import Status


class Expired(Unavailable):
    """What was asked for is older than what the API server remembers: list anew."""


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a message with this pattern means, and how that is mended."""

    pattern: str
    kind: type[NaruError]
    mend: str


@dataclass(frozen=True, slots=True)
class Claim:
    """A field that somebody else manages; one who applies it, or a controller, would set it again, an editor not."""

    field: str
    manager: str
    edited: bool


MEANINGS: Sequence[Meaning] = (
    Meaning("exceeded quota|limited: ", Conflict, "raise the namespace's quota, or ask for less"),
    Meaning("is being terminated", Conflict, "wait until it is gone"),
    Meaning("violates PodSecurity", Forbidden, "allow it in the namespace's Pod Security level, or change the image"),
    Meaning(
        "cannot .* (resource|path|subresource)", Forbidden, "grant the account what deploy/kubernetes/rbac.yaml lists"
    ),
    Meaning("Unauthorized", Forbidden, "renew the kubeconfig's certificate or token"),
    Meaning("executable file not found|no such file or directory", Invalid, "name a program that is in the image"),
    Meaning("only subprotocol v5", Conflict, "use a cluster of Kubernetes 1.30 or later"),
)
_KINDS: Mapping[int, type[NaruError]] = {
    400: Invalid,
    401: Forbidden,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    410: Expired,
    422: Invalid,
}
_CONTROLLERS = frozenset({"kube-controller-manager"})
_MANAGER = re.compile(r'conflict with "(?P<manager>[^"]*)"(?P<update>.* using )?')


def refusal(cluster: str, status: Status, *, retry_after: float = 1.0) -> NaruError:
    """Name what the API server answered; a meaning of the message goes before the one of the status."""
    message = f"{cluster}: {status.message or status.reason or status.code}"
    for meaning in MEANINGS:
        if status.code < 500 and status.code != 429 and re.search(meaning.pattern, message, re.IGNORECASE):
            return meaning.kind(message, meaning.mend)
    if kind := _KINDS.get(status.code):
        return kind(message)
    patience = float(status.details.retry_after_seconds or retry_after)
    return Unavailable(message, "see whether the cluster's API server is overloaded", retry_after=patience)


def claims(status: Status) -> Sequence[Claim]:
    """Say who manages the fields that could not be applied, as server-side apply words it."""
    found = []
    for cause in status.details.causes:
        if cause.reason == "FieldManagerConflict" and (said := _MANAGER.search(cause.message)):
            manager = said["manager"]
            found.append(Claim(cause.field, manager, bool(said["update"]) and manager not in _CONTROLLERS))
    return found


def status_of(response: httpx2.Response) -> Status:
    """Read a refusal, whoever wrote it: the API server, or a proxy before it."""
    try:
        status = Status.model_validate_json(response.content)
    except ValidationError:
        status = Status(message=response.text[:300] or response.reason_phrase)
    return status.model_copy(update={"code": response.status_code})


@contextmanager
def kubernetes_errors(cluster: str, server: str) -> Iterator[None]:
    """Turn what lightkube and its HTTP client raise into errors of Naru."""
    try:
        yield
    except ApiError as error:
        raise refusal(cluster, _told(error), retry_after=_retry_after(error)) from error
    except httpx2.HTTPStatusError as error:
        raise refusal(cluster, status_of(error.response), retry_after=_retry_after(error)) from error
    except httpx2.TimeoutException as error:
        raise Unavailable(f"{cluster} did not answer in time at {server}", "see whether it is overloaded") from error
    except WebSocketUpgradeError as error:
        raise refusal(cluster, status_of(error.response)) from error
    except (httpx2.HTTPError, HTTPXWSException, OSError) as error:
        raise absence(cluster, server, error) from error
    except (ValidationError, msgspec.MsgspecError) as error:
        cause = f"{cluster} at {server} does not answer as Kubernetes does"
        raise Unavailable(cause, "see whether a Kubernetes API server is there") from error
    except ConfigError as error:
        raise Forbidden(f"{cluster}: {error}", "mend the kubeconfig") from error


def absence(cluster: str, server: str, error: Exception) -> Unavailable:
    """Name a cluster that cannot be reached."""
    mend = "start it, or name another cluster"
    if isinstance(error.__cause__, ssl.SSLError) or "certificate" in str(error).lower():
        mend = "renew the API server's certificate, or trust its authority in the kubeconfig"
    return Unavailable(f"{cluster} does not answer at {server} ({str(error) or type(error).__name__})", mend)


def _told(error: ApiError) -> Status:
    """The status of a refusal; one without a response came through a stream, and is about a command."""
    if error.response is not None:
        return status_of(error.response)
    return Status.model_validate(error.status.to_dict()).model_copy(update={"code": 0})


def _retry_after(error: httpx2.HTTPStatusError) -> float:
    said = error.response.headers.get("Retry-After", "") if error.response is not None else ""
    return float(said) if said.isdecimal() else 1.0
