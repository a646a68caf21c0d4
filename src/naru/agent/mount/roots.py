"""The root file systems of one node: one FUSE tree of all objects, one EROFS mount an image, overlays on both.

Under `where`, and beside the objects of the store (EROFS does not mount every file of a tmpfs, and /run is one):

    where/keeper.sock     the keeper of the FUSE connection
    where/remote/         the FUSE tree
    store/meta/HEX.erofs  an image's metadata, HEX being its manifest's digest
    where/meta/HEX/       the same, mounted

Everything that touches a mount runs in threads, because the event loop is what answers the FUSE tree.
"""

import asyncio
import logging
import os
import re
import socket
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from naru.agent.index.index import Index
from naru.agent.mount import keeping, kernel, pages, support
from naru.agent.mount.files import Store
from naru.agent.mount.kernel import Mount
from naru.agent.mount.opens import Opens
from naru.agent.mount.recording import Recording
from naru.agent.mount.server import PATIENCE, Server
from naru.agent.mount.support import Mode
from naru.agent.mount.tree import Tree, node_of
from naru.agent.source import Priority, Source
from naru.domain.errors import Conflict, Invalid, NotFound, Unavailable

_log = logging.getLogger(__name__)

_DECODED = 3
"""Indexes that are kept decoded for misses, several MB each; the others are read from the store again."""


class Objects(Store, Protocol):
    """What roots need of the object store: files at `root`/objects/ab/cdef…, and indexes by image."""

    root: Path

    def index(self, image: str) -> Index | None:
        """Return a stored index."""


class Roots:
    """Mounts images of one node; open it with `open`."""

    def __init__(self, store: Objects, source: Source, where: Path, mode: Mode, patience: float) -> None:
        self._store = store
        self._source = source
        self._where = where
        self._mode = mode
        self._patience = patience
        self._tree = Tree()
        self._decoded: OrderedDict[str, Index] = OrderedDict()
        self._changing = asyncio.Lock()
        self._server: Server | None = None
        self._files: tuple[int, Opens] | None = None
        self._recordings: set[Recording] = set()
        self._kept: socket.socket | None = None

    @classmethod
    async def open(
        cls,
        store: Objects,
        source: Source,
        where: Path,
        *,
        mode: Mode | None = None,
        patience: float = PATIENCE,
    ) -> "Roots":
        """Take over what an agent left under `where`, or begin anew; Unavailable when no mode works here.

        `patience` is how long a reader waits for an object, in seconds. Images whose metadata is still mounted are
        served again at once, those whose index the store has lost are unmounted.
        """
        abilities = await asyncio.to_thread(support.probe, store.root)
        roots = cls(store, source, where, abilities.choose(mode), patience)
        for directory in (where, where / "remote", where / "meta", roots._images):
            with suppress(FileExistsError):  # and no look at it: a kept FUSE tree has no server yet
                directory.mkdir(mode=0o700, parents=True)
        await asyncio.to_thread(roots._settle_images)
        if roots._mode is not Mode.EAGER:
            await roots._serve()
        return roots

    @property
    def mode(self) -> Mode:
        """How contents reach readers now."""
        refused = self._mode is Mode.PASSTHROUGH and self._server and not self._server.passthrough
        return Mode.READS if refused else self._mode

    @property
    def server(self) -> Server | None:
        """The FUSE server; none in the eager mode."""
        return self._server

    def images(self) -> tuple[str, ...]:
        """The images that can be mounted."""
        return self._tree.all_images

    async def add(self, index: Index) -> None:
        """Make an image ready to be mounted; one that is ready costs nothing.

        In the eager mode it comes with all its objects, with the errors of Source.fetch.
        """
        async with self._changing:
            self._remember(index)
            if self._server and not self._server.serving:
                _log.warning("somebody has unmounted the FUSE tree: what is mounted from now on gets a new one")
                await self._stop()
                await self._serve_anew()
            if index.image not in self._tree:
                await asyncio.to_thread(self._mount_meta, index)
                self._tree.add(index)
                await self._keep()
        if self._mode is Mode.EAGER:
            missing = [one.digest for one in index.objects if not self._store.has(one.digest)]
            await self._source.fetch(index, missing, Priority.PROFILE)

    def overlay(self, image: str, upper: Path | None = None, work: Path | None = None) -> Mount:
        """Return the mount of an image's root file system: read-only, or writable with `upper` and `work`."""
        if image not in self._tree:
            raise NotFound(f"{image} has no root file system here", "add its index first")
        data = [self._store.root / "objects"]
        if self._mode is not Mode.EAGER:
            data.append(self._remote)
        return kernel.overlay([self._meta(image)], data, upper, work)

    async def mount(self, image: str, where: Path, upper: Path | None = None, work: Path | None = None) -> None:
        """Mount an image's root file system at an existing directory."""
        await asyncio.to_thread(kernel.mount, self.overlay(image, upper, work), where)

    async def unmount(self, where: Path, *, detach: bool = False) -> None:
        """Unmount a root file system; Unavailable while something runs on it, unless it is only detached."""
        await asyncio.to_thread(kernel.unmount, where, detach=detach)

    async def remove(self, image: str) -> None:
        """Forget an image; Conflict while an overlay uses it."""
        async with self._changing:
            if users := await asyncio.to_thread(self._users, image):
                raise Conflict(f"{image} is mounted at {', '.join(map(str, users))}", "stop what runs on it first")
            await asyncio.to_thread(self._unmount_meta, image)
            self._tree.remove(image)
            self._decoded.pop(image, None)

    async def record(self, image: str, where: Path | None = None) -> Recording:
        """Begin to record what is touched of an image, also below `where` if it is mounted there already.

        If it is mounted later, attach the recording then. Misses of other containers of the image count too.
        """
        if image not in self._tree:
            raise NotFound(f"{image} has no root file system here", "add its index first")
        index = await self._index(image)
        recording = Recording(index, self._meta(image), self._recordings.discard)
        self._recordings.add(recording)
        objects = await asyncio.to_thread(self._inodes, index)
        if (watching := await asyncio.to_thread(pages.watch, objects)) is not None:
            recording.follow_pages(watching, objects)
        if where:
            await recording.attach(where)
        return recording

    async def close(self) -> None:
        """Stop serving and leave every mount as it is: readers of missing files wait for the next agent."""
        await self._stop()

    async def _stop(self) -> None:
        if self._server:
            await self._server.close()
            self._server = None
        self._let_go()
        if self._files:
            device, opens = self._files
            opens.close()
            os.close(device)
            self._files = None

    async def destroy(self) -> None:
        """Unmount everything, also under what still runs."""
        for image in self.images():
            for where in await asyncio.to_thread(self._users, image):
                await asyncio.to_thread(kernel.unmount, where, detach=True)
            await asyncio.to_thread(self._unmount_meta, image)
        if self._mode is not Mode.EAGER:
            await asyncio.to_thread(kernel.unmount, self._remote, detach=True)
        await self.close()
        await asyncio.to_thread(keeping.dismiss, self._keeper)

    @property
    def _remote(self) -> Path:
        return self._where / "remote"

    @property
    def _keeper(self) -> Path:
        return self._where / "keeper.sock"

    @property
    def _images(self) -> Path:
        return self._store.root / "meta"

    def _meta(self, image: str) -> Path:
        if not re.fullmatch(r"sha256:[0-9a-f]{64}", image):
            raise Invalid(f"{image} is no digest of a manifest", "name an image by sha256:…")
        return self._where / "meta" / image.removeprefix("sha256:")

    def _remember(self, index: Index) -> None:
        self._decoded[index.image] = index
        self._decoded.move_to_end(index.image)
        if len(self._decoded) > _DECODED:
            self._decoded.popitem(last=False)

    async def _index(self, image: str) -> Index:
        index = self._decoded.get(image) or await asyncio.to_thread(self._store.index, image)
        if index is None:
            raise NotFound(f"the store has no index of {image}", "pull the image again")
        self._remember(index)
        return index

    def _inodes(self, index: Index) -> dict[int, bytes]:
        """Return the big objects by the inodes through which they are read: the store's files, else the FUSE tree's."""
        found = {}
        for one in index.objects:
            if one.chunks:
                try:
                    found[self._store.path(one.digest).stat().st_ino] = one.digest
                except FileNotFoundError:
                    found[node_of(one.digest)] = one.digest
        return found

    def _mount_meta(self, index: Index) -> None:
        where = self._meta(index.image)
        file = self._images / f"{where.name}.erofs"
        new = file.with_suffix(".new")
        new.write_bytes(index.meta)
        new.replace(file)
        where.mkdir(exist_ok=True)
        kernel.mount_erofs(file, where)

    def _unmount_meta(self, image: str) -> None:
        where = self._meta(image)
        kernel.unmount(where, detach=True)
        (self._images / f"{where.name}.erofs").unlink(missing_ok=True)
        if where.is_dir():
            where.rmdir()

    def _users(self, image: str) -> tuple[Path, ...]:
        """Return where overlays of an image are mounted, as far as this mount namespace shows."""
        meta = self._meta(image)
        return tuple(one.where for one in kernel.mounted() if one.type == "overlay" and meta in kernel.lowers(one))

    def _settle_images(self) -> None:
        """Name the images that a former agent left mounted, and clear away what it left half done."""
        mounted = {one.where for one in kernel.mounted() if one.type == "erofs"}
        for where in list((self._where / "meta").iterdir()):
            image = f"sha256:{where.name}"
            index = self._store.index(image) if where in mounted else None
            if index is not None:
                self._tree.add(index)
            else:
                self._unmount_meta(image)
        for file in list(self._images.iterdir()):
            if f"sha256:{file.stem}" not in self._tree:
                file.unlink()

    async def _serve(self) -> None:
        files = await asyncio.to_thread(keeping.recover, self._keeper)
        if len(files) == 2 and await asyncio.to_thread(self._is_mounted):
            try:
                self._start(files[0], Opens(files[1]), recovered=True)
            except OSError as error:
                _log.warning("the FUSE tree that was kept is lost: %s", error.strerror)
            else:
                await self._keep()
                return
        for file in files:
            os.close(file)
        await self._serve_anew()

    def _is_mounted(self) -> bool:
        return any(one.where == self._remote and one.type == "fuse.naru" for one in kernel.mounted())

    async def _serve_anew(self) -> None:
        while await asyncio.to_thread(self._is_mounted):
            await asyncio.to_thread(kernel.unmount, self._remote, detach=True)
        device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
        await asyncio.to_thread(kernel.mount, kernel.fuse(device), self._remote)
        opens = Opens.new()
        server = self._start(device, opens)
        try:
            await server.welcomed()
            await self._keep()
        except BaseException:
            await self.destroy()
            raise

    async def _keep(self) -> None:
        """Leave the connection with the keeper; with a new one, should somebody have killed it."""
        if self._files:
            device, opens = self._files
            try:
                kept = await asyncio.to_thread(keeping.keep, self._keeper, (device, opens.descriptor))
            except Unavailable as error:
                _log.warning("missing files of running containers would fail without this agent: %s", error)
            else:
                self._let_go()
                self._kept = kept

    def _let_go(self) -> None:
        if self._kept:
            self._kept.close()
            self._kept = None

    def _touched(self, digest: bytes) -> None:
        for recording in self._recordings:
            recording.miss(digest)

    def _start(self, device: int, opens: Opens, *, recovered: bool = False) -> Server:
        server = Server(
            device,
            opens,
            self._tree,
            self._store,
            self._source,
            self._index,
            passthrough=self._mode is Mode.PASSTHROUGH,
            patience=self._patience,
            touched=self._touched,
        )
        server.start(recovered=recovered)
        self._server, self._files = server, (device, opens)
        return server
