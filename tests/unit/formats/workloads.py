"""Every workload there can be, for Hypothesis."""

from hypothesis import strategies as st

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
proofs = st.builds(ProofPolicy, requests, st.integers(0, 10_000), st.floats(0.005, 60)) | st.sampled_from(
    [ProofPolicy(), ProofPolicy(count=0)]
)
addresses = st.one_of(
    st.just(Address()),
    st.builds(Address, host=st.just(""), port=st.integers(1, 65535), tls=st.sampled_from([Tls.OFF, Tls.INTERNAL])),
    st.builds(
        Address, host=labels.map(lambda name: f"{name}.example.org"), port=st.just(0), tls=st.sampled_from(list(Tls))
    ),
)


@st.composite
def workloads(draw: st.DrawFn) -> Workload:
    """Draw any workload."""
    places = draw(st.lists(paths, max_size=5, unique=True))
    cut = draw(st.integers(0, len(places)))
    return Workload(
        app=draw(labels),
        image=draw(
            st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), min_size=1, max_size=40)
        ),
        port=draw(st.integers(1, 65535)),
        replicas=draw(st.integers(0, 1000)),
        command=draw(commands),
        arguments=draw(commands),
        environment=draw(
            st.dictionaries(st.from_regex(r"[A-Za-z_][A-Za-z0-9_.-]{0,10}", fullmatch=True), words, max_size=4)
        ),
        health=draw(healths),
        resources=Resources(
            draw(st.none() | st.floats(0.01, 1024)), draw(st.none() | st.integers(6 * 1024 * 1024, 1 << 50))
        ),
        restart=draw(st.sampled_from(list(Restart))),
        volumes=tuple(Volume(draw(labels), path, draw(st.booleans())) for path in places[:cut]),
        secrets=tuple(SecretFile(draw(labels), path, draw(st.integers(0, 9))) for path in places[cut:]),
        stop_grace=draw(st.floats(0, 3600)),
        strategy=draw(strategies),
        proof=draw(proofs),
        address=draw(addresses),
    )
