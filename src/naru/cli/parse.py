"""What operators type into options, parsed into domain values; everything raises Invalid with an example."""

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta

from naru.domain.errors import Invalid
from naru.domain.kind import Autoscale
from naru.domain.names import APP_NAME_LENGTH
from naru.domain.workload import (
    Canary,
    CanaryStep,
    Check,
    CommandCheck,
    HttpCheck,
    SecretFile,
    TcpCheck,
    Volume,
)

_SIZE = re.compile(r"(\d{1,18}(?:\.\d+)?)\s*(?:([kmgt])i?b?|b)?", re.IGNORECASE)
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}
_DURATION = re.compile(r"(?:\d{1,12}(?:\.\d+)?(?:ms|s|m|h|d))+")
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_NUMBER = re.compile(r"\d{1,12}(?:\.\d+)?")


def size(text: str) -> int:
    """Return bytes: 256M, 1.5G, 512Ki or 1048576; the letters are powers of 1024."""
    found = _SIZE.fullmatch(text.strip())
    if not found:
        raise Invalid(f"{text!r} is no size", "write it as 256M or 1.5G")
    return round(float(found[1]) * float(1024 ** _POWERS[(found[2] or "").lower()]))


def duration(text: str) -> float:
    """Return seconds: 500ms, 30s, 10m, 1h30m, 2d, or a bare number of seconds."""
    text = text.strip()
    if _NUMBER.fullmatch(text):
        return float(text)
    if not _DURATION.fullmatch(text):
        raise Invalid(f"{text!r} is no duration", "write it as 30s, 10m or 1h30m")
    return sum(float(number) * _SECONDS[unit] for number, unit in _DURATION_PART.findall(text))


def since(text: str, now: datetime) -> datetime:
    """Return the moment that is so long before `now`, or the moment itself where ISO 8601 is given (UTC by default)."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    try:
        if moment is None or _NUMBER.fullmatch(text):
            return now - timedelta(seconds=duration(text))
    except (Invalid, OverflowError):
        raise Invalid(f"{text!r} is no moment", "write it as 10m (ago) or 2026-01-31T12:00:00Z") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def autoscale(text: str) -> Autoscale:
    """Return the bounds: 1:4, or 1:4:70 with the percentage of its cores that an instance is to use."""
    numbers = text.split(":")
    if len(numbers) not in (2, 3) or not all(number.isascii() and number.isdecimal() for number in numbers):
        raise Invalid(f"{text!r} says not from how many to how many", "write it as 1:4, or 1:4:70 for 70 percent CPU")
    return Autoscale(*(int(number[:9]) for number in numbers))


def environment(texts: Iterable[str], ours: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of NAME=VALUE texts; a NAME alone takes its value from our own environment."""
    found: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals and name not in ours:
            raise Invalid(f"the variable {name!r} has no value and is not set here", "write it as NAME=VALUE")
        found[name] = value if equals else ours[name]
    return found


def environment_file(text: str) -> dict[str, str]:
    """Return the variables of a file of NAME=VALUE lines; blank lines and lines starting with # are left out.

    Values are taken as they are, quotes included, as `docker run --env-file` does.
    """
    found: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, equals, value = line.partition("=")
        if not equals:
            raise Invalid(f"line {number} of the environment file is no NAME=VALUE", "write one variable a line")
        found[name.strip()] = value
    return found


def volume(text: str) -> Volume:
    """Return the volume of NAME:PATH or NAME:PATH:ro."""
    match text.split(":"):
        case [name, path] if name and path:
            return Volume(name, path)
        case [name, path, "ro" | "rw" as mode] if name and path:
            return Volume(name, path, read_only=mode == "ro")
        case _:
            raise Invalid(f"{text!r} is no volume", "write it as NAME:PATH or NAME:PATH:ro")


def secret(text: str) -> SecretFile:
    """Return the secret file of NAME:PATH, or of NAME@VERSION:PATH for one version of it."""
    name, _, path = text.partition(":")
    name, at, version = name.partition("@")
    if not name or not path or (at and not (version.isascii() and version.isdecimal())):
        raise Invalid(f"{text!r} is no secret file", "write it as NAME:PATH, such as db-password:/run/secrets/db")
    return SecretFile(name, path, int(version or 0))


def health(text: str) -> Check:
    """Return the check of http:/path, tcp, or cmd:PROGRAM ARGUMENTS (as a shell splits them)."""
    kind, _, rest = text.partition(":")
    match kind:
        case "http":
            return HttpCheck(rest or "/")
        case "tcp" if not rest:
            return TcpCheck()
        case "cmd":
            return CommandCheck(words(rest))
        case _:
            raise Invalid(f"{text!r} is no health check", "write it as http:/path, tcp or cmd:PROGRAM")


def words(text: str) -> tuple[str, ...]:
    """Return the words of a command as a shell splits them; nothing is expanded."""
    from shlex import split  # the only use, and 4 ms of every start otherwise

    try:
        return tuple(split(text))
    except ValueError as error:
        raise Invalid(f"the command {text!r} cannot be split: {error}", "close its quotes") from error


def canary(text: str) -> Canary:
    """Return the steps of PERCENT:DURATION, separated by commas: 10:30s,50:30s."""
    steps = []
    for part in text.split(","):
        percent, _, hold = part.strip().partition(":")
        percent = percent.removesuffix("%")
        if not (percent.isascii() and percent.isdecimal() and len(percent) <= 3):
            raise Invalid(f"{part!r} is no canary step", "write the steps as 10:30s,50:30s")
        steps.append(CanaryStep(int(percent), duration(hold or "10s")))
    return Canary(tuple(steps))


def headers(texts: Iterable[str]) -> dict[str, str]:
    """Return the headers of `Name: value` texts."""
    found: dict[str, str] = {}
    for text in texts:
        name, colon, value = text.partition(":")
        if not colon:
            raise Invalid(f"{text!r} is no header", "write it as 'Accept: application/json'")
        found[name.strip()] = value.strip()
    return found


def expected_json(texts: Iterable[str]) -> dict[str, str]:
    """Return the dotted paths of PATH=JSON texts with the JSON of their values."""
    found: dict[str, str] = {}
    for text in texts:
        path, equals, value = text.partition("=")
        if not path or not equals:
            raise Invalid(f"{text!r} is no JSON expectation", "write it as status.ready=true")
        found[path] = value
    return found


def app_name(image: str) -> str:
    """Return a name for an app made from an image: the last part of its repository, as a DNS label."""
    repository = image.partition("@")[0].rpartition("/")[2].partition(":")[0]
    label = re.sub(r"[^a-z0-9]+", "-", repository.lower()).strip("-")
    label = label if label[:1].isalpha() else f"app-{label}".rstrip("-")
    return label[:APP_NAME_LENGTH].rstrip("-")
