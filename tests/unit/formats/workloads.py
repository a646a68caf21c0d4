"""Every workload there can be, for Hypothesis."""

from dataclasses import replace

from hypothesis import strategies as st

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

labels = st.from_regex(r"[a-z](?:[-a-z0-9]{0,20}[a-z0-9])?", fullmatch=True)
texts = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=30)
tricky = st.sampled_from(
    ["$HOME", "${A:-b}", "$$", "yes", "1.10", "0x1F", "22:22", "~", "null", "# no", " a ", "a: b", "é\n"]
)
words = texts | tricky
paths = st.lists(
    st.text(st.characters(exclude_categories=("Cs",), exclude_characters="/\0"), min_size=1, max_size=8),
    min_size=1,
    max_size=3,
).map(lambda parts: "/" + "/".join("p" if part in (".", "..") else part for part in parts))
url_paths = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=20).map(lambda text: f"/{text}")
seconds = st.floats(0.1, 3600) | st.sampled_from([1.0, 2.5, 30.0])
commands = st.lists(words, max_size=4).map(tuple)

checks = st.one_of(
    url_paths.map(HttpCheck),
    st.just(TcpCheck()),
    st.lists(words, min_size=1, max_size=4).map(tuple).map(CommandCheck),
)
healths = st.builds(
    Health,
    check=checks,
    interval=seconds,
    timeout=seconds,
    retries=st.integers(1, 100),
    start_period=st.floats(0, 3600),
) | checks.map(Health)
rollings = (
    st.tuples(st.integers(0, 1000), st.integers(0, 1000))
    .filter(lambda pair: sum(pair) > 0)
    .map(lambda pair: Rolling(*pair))
)
canaries = (
    st.lists(st.integers(1, 99), min_size=1, max_size=5, unique=True)
    .flatmap(
        lambda percents: st.tuples(*(st.builds(CanaryStep, st.just(p), st.floats(0, 86400)) for p in sorted(percents)))
    )
    .map(Canary)
)
strategies = st.one_of(rollings, st.just(Recreate()), st.just(BlueGreen()), canaries)
headers = st.dictionaries(
    st.from_regex(r"[A-Za-z][A-Za-z0-9-]{0,10}", fullmatch=True),
    st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=10),
    max_size=2,
)
requests = st.builds(
    ProbeRequest,
    method=st.sampled_from(METHODS),
    path=url_paths,
    headers=headers,
    body=words,
    expect_status=st.just(0) | st.integers(100, 599),
    expect_body=words,
    expect_json=st.dictionaries(
        st.from_regex(r"[a-z.]{1,8}", fullmatch=True),
        st.sampled_from(["1", '"ok"', "true", "null", "[1.50]"]),
        max_size=2,
    ),
    expect_within=st.floats(0, 10),
    timeout=st.floats(0.05, 120),
)
proofs = st.builds(
    ProofPolicy, requests, st.integers(0, 10_000), st.floats(0.005, 60), st.just(5.0) | st.floats(0, 86400)
) | st.sampled_from([ProofPolicy(), ProofPolicy(count=0)])
addresses = st.one_of(
    st.just(Address()),
    st.builds(Address, host=st.just(""), port=st.integers(1, 65535), tls=st.sampled_from([Tls.OFF, Tls.INTERNAL])),
    st.builds(
        Address, host=labels.map(lambda name: f"{name}.example.org"), port=st.just(0), tls=st.sampled_from(list(Tls))
    ),
)


affinities = st.builds(
    Affinity,
    targets=st.lists(labels, max_size=2, unique=True).map(tuple),
    engines=st.lists(words.filter(bool), max_size=2, unique=True).map(tuple),
    sites=st.lists(words.filter(bool), max_size=2, unique=True).map(tuple),
)


@st.composite
def kinds(draw: st.DrawFn, port: int, resources: Resources) -> dict[str, object]:
    """Draw a kind and what may be said of it; the default one as often as all others."""
    kind = draw(st.just(WorkloadKind.SERVICE) | st.sampled_from(WorkloadKind))
    told: dict[str, object] = {"kind": kind, "affinity": draw(affinities), "project": draw(st.just("") | labels)}
    if not kind.serves or kind is WorkloadKind.STATEFUL:
        told["port"] = draw(st.sampled_from([0, port]))
    if kind is WorkloadKind.SCHEDULED:
        told["schedule"] = draw(st.sampled_from(["*/5 * * * *", "30 4 1,15 jan-mar mon"]))
    if told["project"]:
        told["private"] = draw(st.booleans())
    if not kind.ends and kind is not WorkloadKind.STATEFUL and resources.cpus:
        least = draw(st.integers(1, 9))
        told |= {"autoscale": Autoscale(least, draw(st.integers(least, 1000)), draw(st.integers(1, 100)))}
        told |= {"replicas": draw(st.sampled_from([0, least]))}
    return told


@st.composite
def workloads(draw: st.DrawFn) -> Workload:
    """Draw any workload."""
    places = draw(st.lists(paths, max_size=5, unique=True))
    cut = draw(st.integers(0, len(places)))
    port = draw(st.integers(1, 65535))
    resources = Resources(
        draw(st.none() | st.floats(0.01, 1024)), draw(st.none() | st.integers(6 * 1024 * 1024, 1 << 50))
    )
    told = {"port": port, "replicas": draw(st.integers(0, 1000))} | draw(kinds(port, resources))
    served = WorkloadKind(str(told["kind"])).serves and bool(told["port"]) and not told.get("private")
    health, strategy = draw(healths), draw(strategies)
    if not told["port"] and isinstance(health.check, HttpCheck):
        health = replace(health, check=TcpCheck())
    if not served or told["kind"] is WorkloadKind.STATEFUL:
        strategy = strategy if isinstance(strategy, Rolling | Recreate) else Recreate()
    return Workload(
        **told,  # type: ignore[arg-type]
        app=draw(labels),
        image=draw(
            st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), min_size=1, max_size=40)
        ),
        command=draw(commands),
        arguments=draw(commands),
        environment=draw(
            st.dictionaries(st.from_regex(r"[A-Za-z_][A-Za-z0-9_.-]{0,10}", fullmatch=True), words, max_size=4)
        ),
        health=health,
        resources=resources,
        restart=draw(st.sampled_from(list(Restart))),
        volumes=tuple(Volume(draw(labels), path, draw(st.booleans())) for path in places[:cut]),
        secrets=tuple(SecretFile(draw(labels), path, draw(st.integers(0, 9))) for path in places[cut:]),
        stop_grace=draw(st.floats(0, 3600)),
        strategy=strategy,
        proof=draw(proofs),
        address=draw(addresses) if served else Address(),
    )
