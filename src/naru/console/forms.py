"""The workload form and the test request form: text to domain values and back, with nothing typed lost.

Each field of a Workload is read and checked on its own, so that every mistake is shown at once and beside its field.
"""

import math
import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from itertools import zip_longest
from typing import Any, TypeVar

from starlette.datastructures import FormData

from naru.domain.errors import Invalid
from naru.domain.kind import Affinity, Autoscale, WorkloadKind
from naru.domain.proof import ProbeRequest, ProofPolicy
from naru.domain.workload import (
    Address,
    BlueGreen,
    Canary,
    CanaryStep,
    Check,
    CommandCheck,
    Health,
    HttpCheck,
    Recreate,
    Resources,
    Restart,
    Rolling,
    SecretFile,
    Strategy,
    TcpCheck,
    Tls,
    Volume,
    Workload,
)

MIB = 1 << 20
ROWS: Mapping[str, tuple[str, ...]] = {
    "environment": ("env_name", "env_value"),
    "volumes": ("volume_name", "volume_path", "volume_mode"),
    "secrets": ("secret_name", "secret_path", "secret_version"),
    "canary": ("canary_percent", "canary_seconds"),
}
"""The inputs that repeat, row by row; a row whose first input is empty is left out."""
_Choice = TypeVar("_Choice", bound=StrEnum)
_WHOLE = re.compile(r"-?[0-9]{1,12}")
_ANY = Workload(app="any", image="any", port=1, replicas=1)
"""A sound workload, to check one field of another by itself."""
_TOGETHER = frozenset({"kind", "schedule", "autoscale", "private"})
"""The fields that are right or wrong only with others."""
_LISTENING = (WorkloadKind.SERVICE, WorkloadKind.EDGE)


@dataclass(frozen=True, slots=True)
class Draft:
    """A workload on its way through the form.

    `text` and `rows` are what the inputs show; `errors` are by the name of the Workload's field, `""` for what is
    wrong with the whole; `workload` is set once there are none. `version` is the app's when the form was made.
    """

    text: Mapping[str, str]
    rows: Mapping[str, Sequence[Sequence[str]]]
    errors: Mapping[str, Invalid] = field(default_factory=dict)
    workload: Workload | None = None
    version: int | None = None

    def changed(self, *names: str) -> bool:
        """Whether any of these inputs differs from a new form, so that its fold is to be open."""
        fresh = blank()
        return any(
            self.text.get(name, "") != fresh.text.get(name, "") or self.rows.get(name, ()) != fresh.rows.get(name, ())
            for name in names
        )


def blank(*, image: str = "") -> Draft:
    """Return an empty form with the defaults of the domain."""
    draft = filled(_ANY, None)
    text = {**draft.text, "app": "", "image": image, "port": "", "replicas": "1"}
    return Draft(text, draft.rows)


def filled(workload: Workload, version: int | None) -> Draft:
    """Return the form that says this workload."""
    return Draft(dict(_texts(workload)), _rows(workload), workload=workload, version=version)


def read(form: FormData, *, app: str = "") -> Draft:
    """Read a form; `app` is the app's name where the form does not ask for it."""
    text = typed(form, blank().text)
    text["app"] = app or text["app"].strip()
    rows = {name: _typed_rows(form, inputs) for name, inputs in ROWS.items()}
    fields = Fields(text, rows)
    errors: dict[str, Invalid] = {}
    values = dict(_values(fields, errors))
    version = number(text["version"]) if text.get("version") else None
    if errors:
        return Draft(text, rows, errors, version=version)
    try:
        return Draft(text, rows, {}, Workload(**values), version)
    except Invalid as error:
        return Draft(text, rows, {"": error}, version=version)


def typed(form: FormData, inputs: Iterable[str]) -> dict[str, str]:
    """Return the text of every input, empty where the form leaves one out."""
    return dict.fromkeys(inputs, "") | {key: value for key, value in form.items() if isinstance(value, str)}


def probe_request(text: Mapping[str, str], prefix: str = "") -> ProbeRequest:
    """Read a test request; what is left empty keeps its default."""
    given = Fields({key.removeprefix(prefix): value for key, value in text.items() if key.startswith(prefix)}, {})
    usual = ProbeRequest()
    return ProbeRequest(
        method=given.word("method", usual.method),
        path=given.word("path", usual.path),
        headers=dict(_pairs(given.word("headers"), ":", "a header", "Accept: text/html")),
        body=given.text.get("body", "").replace("\r\n", "\n"),
        expect_status=given.whole("status", usual.expect_status),
        expect_body=given.text.get("contains", "").replace("\r\n", "\n"),
        expect_json=dict(_pairs(given.word("json"), "=", "a JSON expectation", 'status.ready = "yes"')),
        expect_within=given.real("within", usual.expect_within),
        timeout=given.real("timeout", usual.timeout),
    )


def request_texts(request: ProbeRequest, prefix: str = "") -> dict[str, str]:
    """Return what the inputs of a test request show."""
    return {
        f"{prefix}method": request.method,
        f"{prefix}path": request.path,
        f"{prefix}headers": "\n".join(f"{key}: {value}" for key, value in request.headers.items()),
        f"{prefix}body": request.body,
        f"{prefix}status": str(request.expect_status or ""),
        f"{prefix}contains": request.expect_body,
        f"{prefix}json": "\n".join(f"{key} = {value}" for key, value in request.expect_json.items()),
        f"{prefix}within": _shown(request.expect_within) if request.expect_within else "",
        f"{prefix}timeout": _shown(request.timeout),
    }


def number(text: str) -> int:
    """Read a whole number, else raise Invalid."""
    if not _WHOLE.fullmatch(text.strip()):
        raise Invalid(f"{text[:40]!r} is no whole number", "write digits only")
    return int(text)


@dataclass(frozen=True, slots=True)
class Fields:
    """The inputs of a form, read as what they stand for; an empty one means `otherwise`."""

    text: Mapping[str, str]
    rows: Mapping[str, Sequence[Sequence[str]]]

    def word(self, name: str, otherwise: str = "") -> str:
        """Return the text without blanks around it."""
        return self.text.get(name, "").strip() or otherwise

    def words(self, name: str) -> tuple[str, ...]:
        """Split the text as a shell would."""
        try:
            return tuple(shlex.split(self.text.get(name, "").replace("\r\n", "\n")))
        except ValueError:
            raise Invalid("the command has a quote that is not closed", "close it, or remove it") from None

    def whole(self, name: str, otherwise: int) -> int:
        """Return a whole number."""
        return number(self.word(name)) if self.word(name) else otherwise

    def real(self, name: str, otherwise: float) -> float:
        """Return a finite number."""
        if not (text := self.word(name)):
            return otherwise
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise Invalid(f"{text[:40]!r} is no number", "write it as 0.5 or 12")
        return value


def _values(fields: Fields, errors: dict[str, Invalid]) -> Iterator[tuple[str, Any]]:
    for name, reader in _READERS.items():
        try:
            value: Any = reader(fields)
            _check_alone(name, value)
        except Invalid as error:
            errors[name] = error
        else:
            yield name, value


def _check_alone(name: str, value: Any) -> None:
    """Raise Invalid for a value that is wrong whatever the other fields say; the whole is checked at the end."""
    if name not in _TOGETHER and (name, value) != ("port", 0):
        replace(_ANY, **{name: value})


def _kind(fields: Fields) -> WorkloadKind:
    return _one_of(WorkloadKind, fields.word("kind", WorkloadKind.SERVICE))


def _port(fields: Fields) -> int:
    if not fields.word("port") and fields.word("kind", WorkloadKind.SERVICE) in _LISTENING:
        raise Invalid("the port is missing", "name the port that the program in the container listens on")
    return fields.whole("port", 0)


def _autoscale(fields: Fields) -> Autoscale | None:
    if not fields.word("autoscale_max"):
        return None
    return Autoscale(
        fields.whole("autoscale_min", 1), fields.whole("autoscale_max", 0), fields.whole("autoscale_percent", 80)
    )


def _affinity(fields: Fields) -> Affinity:
    return Affinity(fields.words("targets"), fields.words("engines"), fields.words("sites"), fields.word("near"))


def _environment(fields: Fields) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in fields.rows["environment"]:
        if name.strip() in found:
            raise Invalid(f"the variable {name.strip()!r} appears twice", "keep one of them")
        found[name.strip()] = value.replace("\r\n", "\n")
    return found


def _health(fields: Fields) -> Health:
    usual = Health()
    return Health(
        check=_check(fields),
        interval=fields.real("interval", usual.interval),
        timeout=fields.real("check_timeout", usual.timeout),
        retries=fields.whole("retries", usual.retries),
        start_period=fields.real("start_period", usual.start_period),
    )


def _check(fields: Fields) -> Check:
    match fields.word("check", "tcp"):
        case "http":
            return HttpCheck(fields.word("check_path", "/"))
        case "command":
            return CommandCheck(fields.words("check_command"))
        case _:
            return TcpCheck()


def _resources(fields: Fields) -> Resources:
    return Resources(
        cpus=fields.real("cpus", 0) if fields.word("cpus") else None,
        memory=round(fields.real("memory", 0) * MIB) if fields.word("memory") else None,
    )


def _restart(fields: Fields) -> Restart:
    return _one_of(Restart, fields.word("restart", Restart.ALWAYS))


def _volumes(fields: Fields) -> tuple[Volume, ...]:
    return tuple(Volume(name.strip(), path.strip(), mode == "ro") for name, path, mode in fields.rows["volumes"])


def _secrets(fields: Fields) -> tuple[SecretFile, ...]:
    return tuple(
        SecretFile(name.strip(), path.strip(), number(version) if version.strip() else 0)
        for name, path, version in fields.rows["secrets"]
    )


def _strategy(fields: Fields) -> Strategy:
    usual = Rolling()
    match fields.word("strategy", "rolling"):
        case "recreate":
            return Recreate()
        case "blue-green":
            return BlueGreen()
        case "canary":
            steps = (Fields({"percent": percent, "seconds": held}, {}) for percent, held in fields.rows["canary"])
            return Canary(tuple(CanaryStep(step.whole("percent", 0), step.real("seconds", 0)) for step in steps))
        case _:
            return Rolling(
                fields.whole("max_surge", usual.max_surge), fields.whole("max_unavailable", usual.max_unavailable)
            )


def _proof(fields: Fields) -> ProofPolicy:
    usual = ProofPolicy()
    return ProofPolicy(
        request=probe_request(fields.text, "proof_"),
        count=fields.whole("proof_count", usual.count),
        interval=fields.real("proof_interval", usual.interval),
        steady=fields.real("proof_steady", usual.steady),
    )


def _address(fields: Fields) -> Address:
    return Address(fields.word("host"), fields.whole("address_port", 0), _one_of(Tls, fields.word("tls", Tls.OFF)))


_READERS: Mapping[str, Callable[[Fields], object]] = {
    "app": lambda f: f.word("app"),
    "image": lambda f: f.word("image"),
    "port": _port,
    "replicas": lambda f: f.whole("replicas", 1),
    "command": lambda f: f.words("command"),
    "arguments": lambda f: f.words("arguments"),
    "environment": _environment,
    "health": _health,
    "resources": _resources,
    "restart": _restart,
    "volumes": _volumes,
    "secrets": _secrets,
    "stop_grace": lambda f: f.real("stop_grace", _ANY.stop_grace),
    "strategy": _strategy,
    "proof": _proof,
    "address": _address,
    "kind": _kind,
    "schedule": lambda f: f.word("schedule"),
    "autoscale": _autoscale,
    "project": lambda f: f.word("project"),
    "private": lambda f: f.word("private") == "yes",
    "affinity": _affinity,
}
"""How each field of a Workload is read."""


def _texts(w: Workload) -> Iterator[tuple[str, str]]:
    yield from {"app": w.app, "image": w.image, "port": str(w.port or ""), "replicas": str(w.replicas)}.items()
    yield from {"command": shlex.join(w.command), "arguments": shlex.join(w.arguments)}.items()
    yield from _check_texts(w.health.check).items()
    yield from {"interval": _shown(w.health.interval), "check_timeout": _shown(w.health.timeout)}.items()
    yield from {"retries": str(w.health.retries), "start_period": _shown(w.health.start_period)}.items()
    yield "cpus", "" if w.resources.cpus is None else _shown(w.resources.cpus)
    yield "memory", "" if w.resources.memory is None else _shown(w.resources.memory / MIB)
    yield from {"restart": str(w.restart), "stop_grace": _shown(w.stop_grace), "strategy": w.strategy.kind}.items()
    rolling = w.strategy if isinstance(w.strategy, Rolling) else Rolling()
    yield from {"max_surge": str(rolling.max_surge), "max_unavailable": str(rolling.max_unavailable)}.items()
    yield from {"host": w.address.host, "address_port": str(w.address.port or ""), "tls": str(w.address.tls)}.items()
    yield from {"proof_count": str(w.proof.count), "proof_interval": _shown(w.proof.interval)}.items()
    yield "proof_steady", _shown(w.proof.steady)
    yield from {"kind": str(w.kind), "schedule": w.schedule, "project": w.project}.items()
    yield "private", "yes" if w.private else "no"
    grow = w.autoscale
    yield from {"autoscale_min": str(grow.min) if grow else "", "autoscale_max": str(grow.max) if grow else ""}.items()
    yield "autoscale_percent", str(grow.cpu_percent) if grow else "80"
    yield from {"targets": shlex.join(w.affinity.targets), "engines": shlex.join(w.affinity.engines)}.items()
    yield from {"sites": shlex.join(w.affinity.sites), "near": w.affinity.near}.items()
    yield from request_texts(w.proof.request, "proof_").items()


def _check_texts(check: Check) -> dict[str, str]:
    path = check.path if isinstance(check, HttpCheck) else "/"
    command = shlex.join(check.command) if isinstance(check, CommandCheck) else ""
    return {"check": check.kind, "check_path": path, "check_command": command}


def _rows(w: Workload) -> dict[str, Sequence[Sequence[str]]]:
    canary = w.strategy if isinstance(w.strategy, Canary) else Canary()
    return {
        "environment": [*w.environment.items()],
        "volumes": [(v.name, v.path, "ro" if v.read_only else "rw") for v in w.volumes],
        "secrets": [(s.name, s.path, str(s.version or "")) for s in w.secrets],
        "canary": [(str(step.percent), _shown(step.seconds)) for step in canary.steps],
    }


def _typed_rows(form: FormData, inputs: Sequence[str]) -> list[tuple[str, ...]]:
    columns = [[str(value) for value in form.getlist(name)] for name in inputs]
    return [row for row in zip_longest(*columns, fillvalue="") if row[0].strip()]


def _pairs(text: str, separator: str, what: str, example: str) -> Iterator[tuple[str, str]]:
    for line in filter(str.strip, text.splitlines()):
        name, found, value = line.partition(separator)
        if not found or not name.strip():
            raise Invalid(f"{line[:60]!r} is not {what}", f"write one a line, such as {example}")
        yield name.strip(), value.strip()


def _one_of(kind: Callable[[str], _Choice], text: str) -> _Choice:
    try:
        return kind(text)
    except ValueError:
        raise Invalid(f"{text[:40]!r} is no choice of the form", "choose one that the form offers") from None


def _shown(value: float) -> str:
    """Write a number so that reading it again gives the same."""
    return repr(float(value)).removesuffix(".0")
