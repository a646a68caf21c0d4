"""Domain values as JSON: strict, total, and tolerant of fields that are added later."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, get_args, get_origin, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from naru.domain.errors import Unavailable
from naru.domain.image import Image, Origin, Platform
from naru.domain.kind import Affinity, Autoscale, WorkloadKind
from naru.domain.proof import METHODS, ProbeRequest, Proof, ProofPolicy
from naru.domain.rollout import LayerProgress, Step, StepName, StepState
from naru.domain.verdict import Evidence, Passed, Refused, Verdict
from naru.domain.workload import (
    Address,
    BlueGreen,
    Canary,
    CanaryStep,
    CommandCheck,
    Health,
    HttpCheck,
    Recreate,
    Resources,
    Restart,
    Rolling,
    SecretFile,
    TcpCheck,
    Tls,
    Volume,
    Workload,
)
from naru.store.codec import decode, encode

any_text = st.text(st.characters())  # with NUL and lone surrogates, as logs and arguments may hold them
words = st.text(st.characters(exclude_characters="\0"), max_size=20)
labels = st.from_regex(r"[a-z][a-z0-9]{0,10}", fullmatch=True)
variables = st.from_regex(r"[A-Z_][A-Z0-9_]{0,10}", fullmatch=True)
times = st.datetimes(timezones=st.just(UTC))
counts = st.integers(0, 2**53)


def seconds(least: float, most: float) -> st.SearchStrategy[float]:
    return st.floats(least, most) | st.integers(int(least) + 1, int(most))


paths = st.lists(labels, min_size=1, max_size=3).map(lambda parts: "/" + "/".join(parts))
checks = st.one_of(
    st.builds(HttpCheck, path=paths),
    st.builds(TcpCheck),
    st.builds(CommandCheck, command=st.lists(words, min_size=1).map(tuple)),
)
strategies = st.one_of(
    st.builds(Rolling, max_surge=st.integers(1, 9), max_unavailable=st.integers(0, 9)),
    st.builds(Recreate),
    st.builds(BlueGreen),
    st.builds(Canary, steps=st.tuples(st.builds(CanaryStep, percent=st.integers(1, 99), seconds=seconds(0, 100)))),
)
requests = st.builds(
    ProbeRequest,
    method=st.sampled_from(METHODS),
    path=paths,
    headers=st.dictionaries(variables, labels, max_size=3),
    body=any_text,
    expect_status=st.sampled_from([0, 100, 200, 599]),
    expect_body=any_text,
    expect_json=st.dictionaries(labels, st.sampled_from(["1", '"ok"', "null"]), max_size=3),
    expect_within=seconds(0, 5),
    timeout=seconds(0.05, 120),
)
files = st.lists(paths, max_size=4, unique=True).flatmap(
    lambda places: st.tuples(
        st.tuples(*(st.builds(Volume, name=labels, path=st.just(p), read_only=st.booleans()) for p in places[:2])),
        st.tuples(*(st.builds(SecretFile, name=labels, path=st.just(p), version=counts) for p in places[2:])),
    )
)


@st.composite
def workloads(draw: st.DrawFn) -> Workload:
    volumes, secrets = draw(files)
    return draw(
        st.builds(
            Workload,
            app=labels,
            image=st.text(st.characters(), min_size=1, max_size=512),
            port=st.integers(1, 65535),
            replicas=st.integers(0, 1000),
            command=st.lists(words, max_size=3).map(tuple),
            arguments=st.lists(words, max_size=3).map(tuple),
            environment=st.dictionaries(variables, words, max_size=3),
            health=st.builds(
                Health,
                check=checks,
                interval=seconds(0.1, 3600),
                timeout=seconds(0.1, 3600),
                retries=st.integers(1, 100),
                start_period=seconds(0, 3600),
            ),
            resources=st.builds(
                Resources, cpus=st.none() | seconds(0.01, 1024), memory=st.none() | st.integers(6 << 20, 1 << 50)
            ),
            restart=st.sampled_from(Restart),
            volumes=st.just(volumes),
            secrets=st.just(secrets),
            stop_grace=seconds(0, 3600),
            strategy=strategies,
            proof=st.builds(
                ProofPolicy,
                request=requests,
                count=st.integers(0, 10_000),
                interval=seconds(0.005, 60),
                steady=seconds(0, 86400),
            ),
            affinity=st.builds(Affinity, targets=st.lists(labels, max_size=2, unique=True).map(tuple)),
            address=st.one_of(
                st.builds(Address),
                st.builds(Address, host=labels, tls=st.sampled_from(Tls)),
                st.builds(Address, port=st.integers(1, 65535)),
            ),
        )
    )


kinds = st.one_of(
    st.builds(
        Workload,
        app=labels,
        image=labels,
        port=st.integers(0, 65535),
        replicas=st.integers(0, 1000),
        health=st.just(Health()),
        kind=st.sampled_from([WorkloadKind.WORKER, WorkloadKind.BATCH, WorkloadKind.TRAINING, WorkloadKind.STATEFUL]),
        project=labels,
        private=st.booleans(),
    ),
    st.builds(
        Workload,
        app=labels,
        image=labels,
        port=st.just(0),
        replicas=st.integers(0, 9),
        kind=st.just(WorkloadKind.SCHEDULED),
        schedule=st.just("*/5 * * * *"),
    ),
    st.builds(
        Workload,
        app=labels,
        image=labels,
        port=st.just(80),
        replicas=st.just(2),
        resources=st.just(Resources(cpus=1.0)),
        autoscale=st.builds(Autoscale, min=st.just(2), max=st.integers(2, 9), cpu_percent=st.integers(1, 100)),
    ),
)
images = st.builds(
    Image,
    reference=any_text,
    digest=any_text,
    config_digest=any_text,
    platform=st.builds(Platform, os=any_text, architecture=any_text, variant=any_text),
    origin=st.sampled_from(Origin),
    size=counts,
)
steps = st.builds(
    Step,
    name=st.sampled_from(StepName),
    state=st.sampled_from(StepState),
    started_at=times,
    ended_at=st.none() | times,
    outcome=any_text,
    reason=any_text,
)
proofs = st.builds(
    Proof, sent=counts, failed=counts, p50=seconds(0, 60), p99=seconds(0, 60), problems=st.lists(any_text).map(tuple)
)
layers = st.lists(
    st.builds(LayerProgress, layer=any_text, status=any_text, current=counts, total=counts), max_size=3
).map(tuple)
evidence = st.lists(st.builds(Evidence, check=any_text, passed=st.booleans(), detail=any_text), max_size=3).map(tuple)
verdicts = st.builds(Passed, evidence=evidence) | st.builds(Refused, evidence=evidence)


@given(
    st.one_of(
        st.tuples(st.just(Workload), workloads() | kinds),
        st.tuples(st.just(Image), images),
        st.tuples(st.just(Step), steps),
        st.tuples(st.just(Proof), proofs),
        st.tuples(st.just(Verdict), verdicts),
        st.tuples(st.just(tuple[LayerProgress, ...]), layers),
    )
)
def test_a_value_comes_back_from_its_json(case: tuple[Any, Any]) -> None:
    kind, value = case
    assert decode(json.loads(json.dumps(encode(value, kind))), kind) == value


def test_a_workload_that_was_stored_before_there_were_kinds_is_a_service() -> None:
    stored = {"app": "shop", "image": "shop:1", "port": 80, "replicas": 2, "proof": {"count": 3}}

    assert decode(stored, Workload) == Workload("shop", "shop:1", 80, 2, proof=ProofPolicy(count=3))
    assert decode(stored, Workload).kind is WorkloadKind.SERVICE


@pytest.mark.parametrize("kind", [Workload, Image, Step, Proof, Passed, Refused, LayerProgress])
def test_every_type_that_is_stored_can_be(kind: Any) -> None:
    """A field of a type without a format is found here and not by the first operator who uses it."""
    for hint in _hints(kind):
        assert hint in (str, int, float, bool, datetime, type(None)) or issubclass(hint, StrEnum), hint


def _hints(kind: Any) -> set[Any]:
    if is_dataclass(kind):
        hints = get_type_hints(kind)
        return set().union(*(_hints(hints[field.name]) for field in fields(kind)))
    if get_origin(kind) in (None, Mapping) or get_args(kind):
        inner = [argument for argument in get_args(kind) if argument is not Ellipsis and not isinstance(argument, str)]
        return set().union(*(_hints(argument) for argument in inner)) if get_args(kind) else {kind}
    return {kind}


@dataclass(frozen=True)
class Shape:
    """A type as it is today: `note` was added with a default."""

    size: int
    scale: float | None = None
    note: str = "none"


def test_a_field_that_was_added_later_takes_its_default() -> None:
    assert decode({"size": 1}, Shape) == Shape(1)


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"size": "1"},
        {"size": True},
        {"size": 1.5},
        {"size": None},
        {"size": 1, "note": 3},
        {"size": 1, "scale": "2"},
        {"size": 1, "colour": "red"},
        [1],
        "Shape",
        None,
    ],
)
def test_what_stands_for_no_value_is_refused(document: Any) -> None:
    with pytest.raises(Unavailable, match="something that this version cannot read"):
        decode(document, Shape)


@pytest.mark.parametrize("document", [{}, {"kind": "maybe"}, {"kind": ["passed"]}, "passed", None])
def test_an_alternative_that_is_not_known_is_refused(document: Any) -> None:
    with pytest.raises(Unavailable):
        decode(document, Verdict)  # type: ignore[arg-type]


def test_what_todays_rules_refuse_is_told_with_the_rule() -> None:
    stored = encode(Workload("shop", "nginx", 80, 1), Workload)
    assert isinstance(stored, dict)
    with pytest.raises(Unavailable, match="answers at a port"):
        decode(stored | {"port": 0}, Workload)


@pytest.mark.parametrize("value", [Shape("1"), Shape(1, "2"), Shape(True), "Shape", None])  # type: ignore[arg-type]
def test_a_value_of_another_type_is_not_stored(value: Any) -> None:
    with pytest.raises(TypeError):
        encode(value, Shape)
