from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.control.values import IMAGE

from naru.domain.image import Origin
from naru.domain.verdict import Evidence, Passed, Refused
from naru.gate.decide import Policy, decide, digest_evidence, origin_evidence
from naru.gate.gate import Gate

evidence = st.builds(Evidence, st.text(max_size=8), st.booleans(), st.text(max_size=8))


@given(st.lists(evidence, min_size=1))
def test_one_failed_check_is_enough_to_refuse_and_every_reason_is_named(found):
    verdict = decide(found)

    if all(item.passed for item in found):
        assert verdict == Passed(tuple(found))
    else:
        assert isinstance(verdict, Refused)
        assert verdict.evidence == tuple(found)
        assert list(verdict.reasons) == [item.detail for item in found if not item.passed]


def test_without_any_evidence_nothing_may_run():
    verdict = decide([])

    assert isinstance(verdict, Refused)
    assert verdict.reasons == ("no check is configured, so nothing may run",)


@pytest.mark.parametrize(
    ("patterns", "registry", "allowed"),
    [
        (("*",), "docker.io", True),
        (("*.example.org",), "registry.example.org", True),
        (("*.example.org",), "example.org", False),
        (("*.example.org",), "registry.example.org.evil.net", False),
        (("registry.example.org",), "registry.example.org:5000", False),
        (("registry.example.org:*",), "registry.example.org:5000", True),
        ((), "docker.io", False),
    ],
)
def test_images_come_from_allowed_registries_only(patterns, registry, allowed):
    found = origin_evidence(Policy(patterns), IMAGE, registry)

    assert found.passed is allowed
    assert registry in found.detail


@pytest.mark.parametrize("origin", [Origin.STORED, Origin.ENGINE])
@pytest.mark.parametrize("local", [True, False])
def test_local_images_run_only_when_the_policy_admits_them(origin, local):
    assert origin_evidence(Policy((), local), replace(IMAGE, origin=origin), "naru.local").passed is local


@pytest.mark.parametrize("digest", ["", "sha256:abc", "1.27", "md5:" + "a" * 67])
def test_an_image_without_a_digest_is_not_resolved(digest):
    assert not digest_evidence(replace(IMAGE, digest=digest)).passed


async def test_the_gate_names_all_that_speaks_against_an_image():
    verdict = await Gate(Policy(("registry.example.net",))).judge(replace(IMAGE, digest=""))

    assert isinstance(verdict, Refused)
    assert len(verdict.reasons) == 2
