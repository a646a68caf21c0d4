"""Manifests of a node: kept by digest, and what each tag last meant, for when the registry is away.

A manifest is an object too, listed by an index of its own, so that neighbours get it when its registry is away. Its
digest names the index of the image's files already; that of the manifest itself has a name made from it.
"""

import asyncio
import hashlib
import logging
from pathlib import Path
from typing import Final

from naru.agent.disk import write_durably
from naru.agent.index.index import CHUNK, Index, Object
from naru.agent.mirror.blobs import Peers
from naru.agent.mirror.upstream import Document, Upstream
from naru.agent.objects import ObjectStore
from naru.agent.source import Priority
from naru.domain.errors import Invalid, NaruError, Unavailable
from naru.oci.manifest import parse_manifest
from naru.oci.reference import Digest, Reference

log = logging.getLogger(__name__)

_LINE: Final = b"\n"
_PATIENCE: Final = 15.0


class Manifests:
    """Documents below `root`, which is made when it is missing; what is not there comes from `upstream`."""

    def __init__(self, root: Path, upstream: Upstream, store: ObjectStore | None = None) -> None:
        self._store = store
        self._peers: Peers | None = None
        self._documents, self._tags = root / "documents", root / "tags"
        for directory in (self._documents, self._tags):
            directory.mkdir(parents=True, exist_ok=True)
        self._upstream = upstream
        self.stale = 0
        """How often a tag was answered from memory because its registry was away."""

    def share(self, peers: Peers) -> None:
        """Ask other agents when a registry is away, from now on."""
        self._peers = peers

    async def get(self, of: Reference, wanted: str, accept: str = "") -> Document:
        """Return what a tag or digest names. Raises NotFound, Forbidden, Unavailable, Invalid."""
        if ":" in wanted:
            digest = Digest.parse(wanted)
            kept = await asyncio.to_thread(self._kept, digest)
            try:
                return kept or await self._fetch(of, wanted, accept)
            except Unavailable as error:
                return await self._from_peers(digest, error)
        Reference(of.domain, of.path, tag=wanted)
        try:
            digest_now = await self._upstream.digest(of, wanted, accept)
            kept = await asyncio.to_thread(self._kept, Digest.parse(digest_now)) if digest_now else None
            document = kept or await self._fetch(of, wanted, accept)
        except Unavailable as error:
            document = await asyncio.to_thread(self._remembered, of, wanted, error)
            self.stale += 1
            log.warning("%s:%s is answered as it was known: %s", of.name, wanted, error)
            return document
        await asyncio.to_thread(self._remember, of, wanted, document.digest)
        return document

    async def _fetch(self, of: Reference, wanted: str, accept: str) -> Document:
        document = await self._upstream.manifest(of, wanted, accept)
        content = document.media_type.encode() + _LINE + document.content
        await asyncio.to_thread(self._write, self._documents / document.digest.hex, content)
        if self._store is not None:
            index = _listed(document)
            await asyncio.to_thread(self._store.put, index.objects[0].digest, document.content)
            await asyncio.to_thread(self._store.save_index, index)
        return document

    async def _from_peers(self, digest: Digest, error: Unavailable) -> Document:
        """Return a document that a neighbour has; raise `error` when none does."""
        if self._peers is None or self._store is None:
            raise error
        raw = bytes.fromhex(digest.hex)
        try:
            async with asyncio.timeout(_PATIENCE):
                index = await self._peers.index(_name_of(digest))
                await self._peers.fetch(index, [raw], Priority.DEMAND)
            content = await asyncio.to_thread(self._store.read, raw)
            document = Document(parse_manifest(content).media_type, content)
        except (NaruError, TimeoutError) as other:
            log.info("no agent has the manifest %s: %s", digest, other)
            raise error from other
        kept = document.media_type.encode() + _LINE + content
        await asyncio.to_thread(self._write, self._documents / digest.hex, kept)
        return document

    def _kept(self, digest: Digest) -> Document | None:
        try:
            media_type, _, content = (self._documents / digest.hex).read_bytes().partition(_LINE)
        except FileNotFoundError:
            return None
        document = Document(media_type.decode(), content)
        return document if document.digest == digest else None

    def _remembered(self, of: Reference, tag: str, error: Unavailable) -> Document:
        try:
            digest = Digest.parse((self._tags / _name(of, tag)).read_text())
        except (FileNotFoundError, Invalid):
            raise error from None
        if document := self._kept(digest):
            return document
        raise error

    def _remember(self, of: Reference, tag: str, digest: Digest) -> None:
        path = self._tags / _name(of, tag)
        if not path.exists() or path.read_text() != str(digest):
            self._write(path, str(digest).encode())

    def _write(self, path: Path, content: bytes) -> None:
        write_durably(path, content, path.with_name(f".{path.name}.new"))


def _listed(document: Document) -> Index:
    raw = bytes.fromhex(document.digest.hex)
    size = len(document.content)
    chunks = tuple(hashlib.sha256(document.content[at : at + CHUNK]).digest() for at in range(0, size, CHUNK))
    return Index(_name_of(document.digest), b"", (Object(raw, size, chunks if size > CHUNK else ()),))


def _name_of(digest: Digest) -> str:
    return str(Digest.of(f"manifest {digest}".encode()))


def _name(of: Reference, tag: str) -> str:
    return hashlib.sha256(f"{of.name}:{tag}".encode()).hexdigest()
