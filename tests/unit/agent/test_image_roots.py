"""Which claims are offered: only those that the image's own configuration bears out."""

from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from naru.agent.calm import Calm
from naru.agent.images import Named, chain_id
from naru.agent.index.index import Index
from naru.agent.profile import Profiles
from naru.agent.roots import ImageRoots
from naru.agent.snapshotter.values import Claim
from naru.domain.errors import NotFound, Unavailable
from naru.domain.image import Image, Origin, Platform
from naru.oci.manifest import OCI_CONFIG, OCI_LAYER, Descriptor, ImageConfig, Inspected, Manifest
from naru.oci.reference import Digest, Reference

DIFFS = tuple(Digest.of(bytes([one])) for one in range(3))
MANIFEST = Digest.of(b"manifest")
WHOLE = Claim("example.org/shop:1", str(MANIFEST), chain_id(DIFFS), 3, whole=True)
LOWER = Claim("example.org/shop:1", str(MANIFEST), chain_id(DIFFS[:2]), 2, whole=False)


@dataclass
class FakeImages:
    """One image of three layers."""

    names: dict[str, Named] = field(default_factory=dict)

    def name(self, image: str, named: Named) -> None:
        self.names[image] = named

    async def inspect(self, reference: Reference, digest: Digest) -> Inspected:
        if digest != MANIFEST:
            raise NotFound("the registry has no such image")
        layers = tuple(Descriptor(OCI_LAYER, diff, 1) for diff in DIFFS)
        image = Image(str(reference), str(digest), str(Digest.of(b"")), Platform(), Origin.REGISTRY)
        manifest = Manifest(Descriptor(OCI_CONFIG, Digest.of(b""), 1), layers)
        return Inspected(image, manifest, ImageConfig(diff_ids=DIFFS))


@dataclass
class FakeSupply:
    """Agents that have the index, or do not answer."""

    away: bool = False
    derived: list[str] = field(default_factory=list)

    async def known(self, image: str) -> Index | None:
        if self.away:
            raise Unavailable("no agent answers")
        return None

    async def index(self, image: str) -> Index:
        self.derived.append(image)
        if self.away:
            raise Unavailable("no agent answers")
        return Index(image, b"", ())

    async def fetch(self, *_: object) -> None:
        """Bring nothing."""

    async def fetch_pieces(self, *_: object) -> None:
        """Bring nothing."""


@pytest.fixture
def supply() -> FakeSupply:
    return FakeSupply()


@pytest.fixture
def roots(tmp_path: Path, supply: FakeSupply) -> ImageRoots:
    profiles = Profiles(tmp_path)
    begun = []

    def start(work) -> None:
        begun.append(work)
        work.close()

    return ImageRoots(None, FakeImages(), supply, None, profiles, start, Calm(), patience=5, complete=True, record=0)


@pytest.mark.parametrize("claim", [WHOLE, LOWER, replace(LOWER, chain=str(DIFFS[0]), depth=1)])
async def test_layers_that_the_image_has_are_offered(roots, claim):
    assert await roots.offers(claim)


@pytest.mark.parametrize(
    "lie",
    [
        replace(WHOLE, chain=chain_id(DIFFS[:2])),  # the files of this image under the layers of another
        replace(WHOLE, chain=f"sha256:{'0' * 64}"),
        replace(WHOLE, whole=False),
        replace(LOWER, whole=True),
        replace(LOWER, depth=3),
        replace(WHOLE, depth=4),
        replace(WHOLE, manifest=f"sha256:{'0' * 64}"),
    ],
)
async def test_labels_that_the_image_does_not_bear_out_are_not_offered_and_derive_nothing(roots, supply, lie):
    assert not await roots.offers(lie)
    assert supply.derived == []


async def test_an_image_of_which_nobody_has_an_index_is_not_offered(roots, supply):
    supply.away = True
    assert not await roots.offers(WHOLE)
