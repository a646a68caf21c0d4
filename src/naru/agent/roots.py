"""Root file systems of claimed layers (snapshotter.roots.Roots): an index, mounted lazily, pinned while it is used."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Final

from naru.agent.alone import Supply
from naru.agent.calm import Calm
from naru.agent.images import Images, Named, chain_id
from naru.agent.index.index import Index
from naru.agent.mount import roots
from naru.agent.objects import ObjectStore
from naru.agent.profile import Profiles
from naru.agent.snapshotter.values import Claim, Lower
from naru.agent.source import Priority
from naru.domain.errors import Conflict, NaruError, NotFound
from naru.oci.reference import Digest, Reference

log = logging.getLogger(__name__)

HOLDER: Final = "snapshotter"
_LOWER: Final = "lowerdir="
_NOT_OURS: Final = frozenset({"ro"})


class ImageRoots:
    """Mounts images through `mounted`. `start` runs work beside; with `complete`, whole images arrive in the end.

    As soon as an image is offered, what its profile lists begins to arrive. What a container touches in its first
    `record` seconds is added to the profile; with 0 nothing is recorded.
    """

    def __init__(
        self,
        store: ObjectStore,
        images: Images,
        supply: Supply,
        mounted: roots.Roots,
        profiles: Profiles,
        start: Callable[[Coroutine[None, None, None]], None],
        calm: Calm,
        *,
        patience: float,
        complete: bool,
        record: float,
    ) -> None:
        self._store = store
        self._images = images
        self._supply = supply
        self._mounted = mounted
        self._profiles = profiles
        self._start = start
        self._patience = patience
        self._complete = complete
        self._record = record
        self._calm = calm
        self._arriving: set[str] = set()

    async def offers(self, claim: Claim) -> bool:
        """Whether there is an index of the image, which its configuration says to have this chain.

        Agents are asked for the index while the registry is asked for the configuration; only what fits is derived.
        """
        asking = asyncio.create_task(self._known(claim.manifest))
        try:
            async with asyncio.timeout(self._patience):
                if not await self._fits(claim):
                    log.warning("%s does not have the layers %s", claim.reference, claim.chain)
                    return False
                if (known := await asking) is not None:
                    self._bring(known)
                self._bring(await self._supply.index(claim.manifest))
        except (NaruError, TimeoutError) as error:
            log.info("containerd unpacks %s itself: %s", claim.reference, error or "its index takes too long")
            return False
        finally:
            asking.cancel()
        return True

    async def lower(self, claim: Claim) -> Lower:
        """Mount the index of exactly these layers."""
        image = _index_of(claim)
        index = await self._index(claim, image)
        await asyncio.to_thread(self._store.pin, image, HOLDER)
        await self._mounted.add(index)
        self._bring(index)
        return lower_of(self._mounted.overlay(image).options)

    async def used(self, claim: Claim, upper: Path) -> None:
        """Record what the container touches at its start."""
        image = _index_of(claim)
        self._calm.begin(image)
        if self._record:
            self._start(self._recorded(await self._index(claim, image), upper))

    async def release(self, claim: Claim) -> None:
        """Unmount the index, unless something still runs on it, and let the store evict its objects."""
        image = _index_of(claim)
        try:
            if image in self._mounted.images():
                await self._mounted.remove(image)
        except Conflict as error:
            log.warning("%s stays mounted: %s", claim.reference, error)
            return
        self._arriving.discard(image)
        self._calm.release(image)
        await asyncio.to_thread(self._store.unpin, image, HOLDER)

    async def _index(self, claim: Claim, image: str) -> Index:
        reference, manifest = Reference.parse(claim.reference), Digest.parse(claim.manifest)
        self._images.name(image, Named(reference, manifest, None if claim.whole else claim.depth))
        return await self._supply.index(image)

    async def _known(self, image: str) -> Index | None:
        with suppress(NaruError):
            return await self._supply.known(image)
        return None

    async def _fits(self, claim: Claim) -> bool:
        reference, manifest = Reference.parse(claim.reference), Digest.parse(claim.manifest)
        inspected = await self._images.inspect(reference, manifest)
        self._images.name(claim.manifest, Named(reference, manifest))
        diff_ids = inspected.config.diff_ids
        whole = claim.depth == len(diff_ids)
        return claim.whole == whole and chain_id(diff_ids[: claim.depth]) == claim.chain

    def _bring(self, index: Index) -> None:
        """Begin to bring an image's objects, unless that was begun."""
        if index.image not in self._arriving:
            self._arriving.add(index.image)
            self._calm.expect(index.image)
            self._start(self._brought(index))

    async def _brought(self, index: Index) -> None:
        try:
            if profile := await asyncio.to_thread(self._profiles.find, index):
                await self._supply.fetch_pieces(index, profile.pieces(index), Priority.PROFILE)
            if self._complete:
                await self._supply.fetch(index, [one.digest for one in index.objects], Priority.BACKGROUND)
        except NaruError as error:
            self._arriving.discard(index.image)
            log.warning("%s is not complete: %s", index.image, error)

    async def _recorded(self, index: Index, upper: Path) -> None:
        try:
            recording = await self._mounted.record(index.image)
        except NaruError as error:
            log.warning("the start of %s is not recorded: %s", index.image, error)
            return
        try:
            if await recording.attach_to(upper):
                await asyncio.sleep(self._record)
        finally:
            touched = await recording.stop()
        if touched:
            profile = await asyncio.to_thread(self._profiles.add, index, touched)
            log.info("%d pieces are in the start-up profile of %s", len(profile.touches), index.image)


def _index_of(claim: Claim) -> str:
    """Return the name of the index: the whole image's, or that of some of its layers."""
    return claim.manifest if claim.whole else claim.chain


def lower_of(options: tuple[str, ...]) -> Lower:
    """Take the lower part out of the options of a read-only overlay."""
    lowerdir = next(option for option in options if option.startswith(_LOWER)).removeprefix(_LOWER)
    if not lowerdir:
        raise NotFound("an overlay has no lower part")
    others = tuple(one for one in options if not one.startswith(_LOWER) and one not in _NOT_OURS)
    return Lower(lowerdir, str(Path(lowerdir.partition(":")[0])), others)
