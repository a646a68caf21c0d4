"""The workload form: what is said is what is read back, and every mistake is told at once."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import FormData

from naru.console.forms import ROWS, blank, filled, probe_request, read, request_texts
from naru.domain.errors import Invalid
from naru.domain.kind import Affinity, Autoscale, WorkloadKind
from naru.domain.proof import METHODS, ProbeRequest, ProofPolicy
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

text = st.text(st.characters(codec="utf-8", exclude_characters="\r\0"), max_size=30)
word = text.filter(lambda t: t.strip())
line = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=20)
label = st.from_regex(r"[a-z]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True)
variable = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,12}", fullmatch=True)
path = st.from_regex(r"/[a-z0-9]{1,10}", fullmatch=True)
seconds = st.floats(0.1, 3600)
json_text = st.one_of(st.integers(), st.text(max_size=5), st.booleans(), st.none()).map(json.dumps)

requests = st.builds(
    ProbeRequest,
    method=st.sampled_from(METHODS),
    path=st.from_regex(r"/[!-~]{0,20}", fullmatch=True),
    headers=st.dictionaries(st.from_regex(r"[A-Za-z][A-Za-z0-9-]{0,10}", fullmatch=True), line, max_size=2),
    body=text,
    expect_status=st.just(0) | st.integers(100, 599),
    expect_body=text,
    expect_json=st.dictionaries(st.from_regex(r"[a-z.]{1,8}", fullmatch=True), json_text, max_size=2),
    expect_within=st.just(0.0) | st.floats(0.001, 10),
    timeout=st.floats(0.05, 120),
)
workloads = st.builds(
    Workload,
    app=label,
    image=line,
    port=st.integers(1, 65535),
    replicas=st.integers(0, 1000),
    command=st.lists(text, max_size=3).map(tuple),
    arguments=st.lists(text, max_size=3).map(tuple),
    environment=st.dictionaries(variable, text, max_size=3),
    health=st.builds(
        Health,
        check=st.one_of(
            st.just(TcpCheck()),
            st.builds(HttpCheck, path),
            st.builds(CommandCheck, st.lists(word, min_size=1, max_size=3).map(tuple)),
        ),
        interval=seconds,
        timeout=seconds,
        retries=st.integers(1, 100),
        start_period=seconds,
    ),
    resources=st.builds(Resources, st.none() | st.floats(0.01, 1024), st.none() | st.integers(6 << 20, 1 << 50)),
    restart=st.sampled_from(Restart),
    volumes=st.lists(st.builds(Volume, label, path, st.booleans()), max_size=2, unique_by=lambda v: v.path).map(tuple),
    secrets=st.lists(
        st.builds(SecretFile, label, path.map("/run{}".format), st.integers(0, 9)),
        max_size=2,
        unique_by=lambda s: s.path,
    ).map(tuple),
    stop_grace=seconds,
    strategy=st.one_of(
        st.builds(Rolling, st.integers(1, 9), st.integers(0, 9)),
        st.just(Recreate()),
        st.just(BlueGreen()),
        st.lists(
            st.builds(CanaryStep, st.integers(1, 99), seconds), min_size=1, max_size=3, unique_by=lambda s: s.percent
        )
        .map(lambda steps: tuple(sorted(steps, key=lambda s: s.percent)))
        .map(Canary),
    ),
    proof=st.builds(ProofPolicy, requests, st.integers(0, 10_000), st.floats(0.005, 60), st.floats(0, 86400)),
    affinity=st.builds(
        Affinity,
        targets=st.lists(line, max_size=2, unique=True).map(tuple),
        sites=st.lists(line, max_size=2, unique=True).map(tuple),
        near=st.just("") | label.map("n-{}".format),
    ),
    address=st.one_of(
        st.builds(Address, host=label, tls=st.sampled_from(Tls)),
        st.builds(Address, port=st.integers(0, 65535), tls=st.sampled_from((Tls.OFF, Tls.INTERNAL))),
    ),
)


kinds = st.one_of(
    st.builds(
        Workload,
        app=label,
        image=line,
        port=st.sampled_from([0, 80]),
        replicas=st.integers(0, 9),
        kind=st.sampled_from(sorted(set(WorkloadKind) - {"service", "edge", "scheduled"})),
        project=label,
        private=st.booleans(),
    ),
    st.builds(
        Workload,
        app=label,
        image=line,
        port=st.just(0),
        replicas=st.integers(0, 9),
        kind=st.just(WorkloadKind.SCHEDULED),
        schedule=st.just("*/5 1-3 * * mon"),
    ),
    st.builds(
        Workload,
        app=label,
        image=line,
        port=st.just(80),
        replicas=st.just(2),
        resources=st.just(Resources(cpus=1.5)),
        autoscale=st.builds(Autoscale, min=st.integers(1, 2), max=st.integers(2, 9), cpu_percent=st.integers(1, 100)),
    ),
)


def sent(draft) -> FormData:
    """What a browser sends for a form that nobody touched: lines end with CRLF (HTML, form submission)."""
    items = [(name, value) for name, value in draft.text.items()]
    for rows, inputs in ROWS.items():
        for row in [*draft.rows[rows], [""] * len(inputs)]:
            items += list(zip(inputs, row, strict=True))
    return FormData([(name, value.replace("\n", "\r\n")) for name, value in items])


@given(workloads | kinds)
def test_a_form_that_nobody_touched_says_the_same_workload(workload: Workload):
    draft = read(sent(filled(workload, 3)))
    assert draft.errors == {}
    assert draft.workload == workload


@given(requests)
def test_a_test_request_survives_its_form(request: ProbeRequest):
    assert probe_request(request_texts(request)) == request


def test_image_port_and_replicas_are_enough():
    draft = read(FormData([("app", "shop"), ("image", "shop:1"), ("port", "80"), ("replicas", "3")]))
    assert draft.workload == Workload("shop", "shop:1", 80, 3)


def test_every_mistake_is_told_at_once_and_nothing_typed_is_lost():
    typed = FormData(
        [
            ("app", "Shop!"), ("image", ""), ("port", "eighty"), ("replicas", "1e9"), ("cpus", "nan"),
            ("memory", "inf"), ("host", "a b"), ("check", "http"), ("check_path", "x"), ("command", "'open"),
            ("env_name", "A"), ("env_name", "A"), ("env_value", "1"), ("env_value", "2"),
            ("volume_name", "data"), ("volume_path", "../etc"), ("volume_mode", "rw"),
            ("secret_name", "key"), ("secret_path", "/key"), ("secret_version", "x"),
            ("strategy", "canary"), ("canary_percent", "200"), ("canary_seconds", "1"),
            ("proof_headers", "nonsense"), ("restart", "sometimes"), ("stop_grace", "-1"), ("tls", "yes"),
        ]
    )  # fmt: skip
    draft = read(typed)
    assert draft.workload is None
    assert set(draft.errors) == {
        "app", "image", "port", "replicas", "resources", "address", "health", "command", "environment", "volumes",
        "secrets", "strategy", "proof", "restart", "stop_grace",
    }  # fmt: skip
    assert all(error.cause and error.mend for error in draft.errors.values())
    assert {key: draft.text[key] for key in ("app", "port", "cpus", "command")} == {
        "app": "Shop!", "port": "eighty", "cpus": "nan", "command": "'open",
    }  # fmt: skip
    assert list(draft.rows["environment"]) == [("A", "1"), ("A", "2")]


def test_what_is_wrong_between_fields_is_told_too():
    form = [("app", "shop"), ("image", "shop:1"), ("port", "80")]
    form += [("volume_name", "data"), ("volume_path", "/x"), ("secret_name", "key"), ("secret_path", "/x")]
    assert read(FormData(form)).errors[""].cause == "the path '/x' appears twice"


def test_only_what_was_changed_is_unfolded():
    assert not blank().changed(*blank().text, *ROWS) or blank().changed("app", "port")
    changed = filled(Workload("shop", "shop:1", 80, 1, resources=Resources(cpus=1)), None)
    assert changed.changed("cpus", "memory")
    assert not changed.changed("strategy", "max_surge", "canary")


@pytest.mark.parametrize("number", ["", "1.5", "٣", "0x10", "9" * 13, "1_000"])
def test_a_number_is_digits(number: str):
    draft = read(FormData([("app", "shop"), ("image", "shop:1"), ("port", number)]))
    assert isinstance(draft.errors["port"], Invalid)
