"""Manifests of a node: kept by digest, and what each tag last meant, for when the registry is away."""

import asyncio
import hashlib
import logging
from pathlib import Path
from typing import Final

from naru.agent.disk import write_durably
from naru.agent.mirror.upstream import Document, Upstream
from naru.domain.errors import Invalid, Unavailable
from naru.oci.reference import Digest, Reference

log = logging.getLogger(__name__)

_LINE: Final = b"\n"


class Manifests:
    """Documents below `root`, which is made when it is missing; what is not there comes from `upstream`."""

    def __init__(self, root: Path, upstream: Upstream) -> None:
        self._documents, self._tags = root / "documents", root / "tags"
        for directory in (self._documents, self._tags):
            directory.mkdir(parents=True, exist_ok=True)
        self._upstream = upstream
        self.stale = 0
        """How often a tag was answered from memory because its registry was away."""

    async def get(self, of: Reference, wanted: str, accept: str = "") -> Document:
        """Return what a tag or digest names. Raises NotFound, Forbidden, Unavailable, Invalid."""
        if ":" in wanted:
            digest = Digest.parse(wanted)
            kept = await asyncio.to_thread(self._kept, digest)
            return kept or await self._fetch(of, wanted, accept)
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


def _name(of: Reference, tag: str) -> str:
    return hashlib.sha256(f"{of.name}:{tag}".encode()).hexdigest()
