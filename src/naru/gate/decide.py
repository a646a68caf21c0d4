"""The decision itself, a pure function of policy and evidence."""

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from naru.domain.image import Image, Origin
from naru.domain.verdict import Evidence, Passed, Refused, Verdict


@dataclass(frozen=True, slots=True)
class Policy:
    """What an image must satisfy.

    `registries` are shell patterns for the registry hosts that images may come from; with none, nothing from a
    registry may run. `local` admits images that were loaded as an archive or built on the engine.
    """

    registries: tuple[str, ...]
    local: bool = True


def decide(evidence: Sequence[Evidence]) -> Verdict:
    """Pass only when there is evidence and all of it passed: no evidence refuses."""
    found = tuple(evidence)
    if not found:
        return Refused((Evidence("policy", passed=False, detail="no check is configured, so nothing may run"),))
    return Passed(found) if all(item.passed for item in found) else Refused(found)


def origin_evidence(policy: Policy, image: Image, registry: str) -> Evidence:
    """Judge where the image comes from; `registry` is the host of its reference."""
    if image.origin is not Origin.REGISTRY:
        kind = "loaded as an archive" if image.origin is Origin.STORED else "built on the engine"
        verb = "may run" if policy.local else "may not run by policy"
        return Evidence("origin", policy.local, f"{image.reference} was {kind}, which {verb}")
    allowed = any(fnmatchcase(registry, pattern) for pattern in policy.registries)
    detail = f"registry {registry} is {'allowed' if allowed else 'not among the allowed registries'}"
    return Evidence("origin", allowed, detail)


def digest_evidence(image: Image) -> Evidence:
    """Judge whether the image is named by content and cannot change under its name."""
    resolved = image.digest.startswith("sha256:") and len(image.digest) == 71
    return Evidence("digest", resolved, f"{image.reference} is {image.digest or 'not resolved to a digest'}")
