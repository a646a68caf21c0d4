"""Image references: what parses, what it means, and that the forms agree."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from naru.domain.errors import Invalid
from naru.oci.reference import Digest, Reference, registry_host

HEX = "0123456789abcdef" * 4

_alnum = st.text("abcz059", min_size=1, max_size=6)
_component = st.builds(
    lambda first, rest: first + "".join(sep + part for sep, part in rest),
    _alnum,
    st.lists(st.tuples(st.sampled_from([".", "_", "__", "-", "---"]), _alnum), max_size=2),
)
_path = st.lists(_component, min_size=1, max_size=4).map("/".join)
_domain = st.sampled_from(
    ["docker.io", "localhost", "localhost:5000", "ghcr.io", "Registry", "10.0.0.1:80", "[::1]:5000", "a-b.example"]
)
_tag = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", fullmatch=True)
_references = st.builds(
    lambda domain, path, tag, digest: Reference(
        domain,
        path if domain != "docker.io" or "/" in path else f"library/{path}",
        tag or ("" if digest else "latest"),
        digest,
    ),
    _domain,
    _path,
    st.one_of(st.just(""), _tag),
    st.one_of(st.none(), st.just(Digest(HEX))),
)


@pytest.mark.parametrize(
    ("written", "full"),
    [
        ("nginx", "docker.io/library/nginx:latest"),
        ("nginx:1.27", "docker.io/library/nginx:1.27"),
        ("team/shop", "docker.io/team/shop:latest"),
        ("docker.io/nginx", "docker.io/library/nginx:latest"),
        ("index.docker.io/library/nginx:1", "docker.io/library/nginx:1"),
        ("localhost/shop", "localhost/shop:latest"),
        ("localhost:5000/shop:2", "localhost:5000/shop:2"),
        ("LOCAL/shop", "LOCAL/shop:latest"),
        ("[::1]:5000/a/b:c", "[::1]:5000/a/b:c"),
        (f"ghcr.io/a/b@sha256:{HEX}", f"ghcr.io/a/b@sha256:{HEX}"),
        (f"ghcr.io/a/b:1@sha256:{HEX}", f"ghcr.io/a/b:1@sha256:{HEX}"),
        ("a__b/c---d.e:X_1", "docker.io/a__b/c---d.e:X_1"),
    ],
)
def test_a_written_name_means_its_full_form(written, full):
    assert str(Reference.parse(written)) == full


@pytest.mark.parametrize(
    ("wrong", "part"),
    [
        ("", "1 to 512"),
        ("a" * 600, "1 to 512"),
        (HEX, "image id"),
        ("Nginx", "^'Nginx' is no image name"),
        ("a//b", "image name"),
        ("a/../b", "image name"),
        ("a b", "image name"),
        ("a\n", "image name"),
        ("a:", "tag"),
        ("a:.x", "tag"),
        ("a:" + "x" * 129, "tag"),
        ("a@", "digest"),
        ("a@sha512:" + "0" * 128, "digest"),
        ("a@sha256:abc", "SHA-256"),
        (f"a@sha256:{HEX.upper()}", "SHA-256"),
        ("-bad.example/a", "registry host"),
        ("user@host.example/a", "digest"),
        ("host.example:port/a", "registry host"),
        ("https://host.example/a", "registry host"),
        ("host.example/" + "a" * 256, "too long"),
    ],
)
def test_a_wrong_reference_is_refused_by_the_part_that_is_wrong(wrong, part):
    with pytest.raises(Invalid, match=part) as refused:
        Reference.parse(wrong)
    assert refused.value.mend


@given(_references)
def test_every_reference_survives_both_written_forms(reference):
    assert Reference.parse(str(reference)) == reference
    assert Reference.parse(reference.familiar) == reference
    assert len(reference.familiar) <= len(str(reference))


@given(st.text(max_size=80))
def test_any_text_parses_or_is_invalid(text):
    try:
        reference = Reference.parse(text)
    except Invalid:
        return
    assert Reference.parse(str(reference)) == reference
    assert ".." not in str(reference).split("/")


@given(st.binary(max_size=64))
def test_a_digest_round_trips(content):
    assert Digest.parse(str(Digest.of(content))) == Digest.of(content)


def test_official_images_are_shown_short():
    assert Reference.parse("docker.io/library/nginx:1").familiar == "nginx:1"
    assert Reference.parse("docker.io/team/shop:1").familiar == "team/shop:1"
    assert Reference.parse("ghcr.io/team/shop:1").familiar == "ghcr.io/team/shop:1"


@pytest.mark.parametrize(
    ("written", "host"),
    [
        ("https://index.docker.io/v1/", "docker.io"),
        ("registry-1.docker.io", "docker.io"),
        ("ghcr.io", "ghcr.io"),
        ("http://localhost:5000/", "localhost:5000"),
    ],
)
def test_a_registry_is_known_by_one_host(written, host):
    assert registry_host(written) == host


def test_a_host_with_a_path_trick_is_refused():
    with pytest.raises(Invalid):
        registry_host("../etc")
