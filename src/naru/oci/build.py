"""Assemble an image from files: one layer, no build tool, the same digest for the same content everywhere."""

import tarfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Final, assert_never

from naru.domain.errors import Invalid
from naru.domain.image import Image
from naru.oci.layout import ImageStore
from naru.oci.manifest import ImageConfig
from naru.oci.reference import Reference

_CHUNK: Final = 1024 * 1024
_END: Final = bytes(1024)


@dataclass(frozen=True, slots=True)
class File:
    """A file at an absolute path in the image, from bytes or from a file of ours."""

    path: str
    content: bytes | Path
    mode: int = 0o644


@dataclass(frozen=True, slots=True)
class Folder:
    """A directory; those above a file need no entry of their own."""

    path: str
    mode: int = 0o755


@dataclass(frozen=True, slots=True)
class Link:
    """A symbolic link."""

    path: str
    target: str


Entry = File | Folder | Link


async def build(
    store: ImageStore, reference: Reference, entries: Sequence[Entry], config: ImageConfig, *, created: datetime
) -> Image:
    """Store an image of `entries`, all owned by root; raise Invalid when two of them contradict each other.

    `created` is the time of every file and of the image, so the digest follows from the arguments alone.
    """
    described = replace(config, created=created.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"))
    return await store.add(reference, described, [layer(entries, created)])


def layer(entries: Iterable[Entry], created: datetime) -> Iterator[bytes]:
    """Return the chunks of an uncompressed layer, sorted by path, with the directories above every entry."""
    return _chunks(_complete(entries), int(created.timestamp()))


def _complete(entries: Iterable[Entry]) -> list[tuple[str, Entry]]:
    by_path: dict[str, Entry] = {}
    for entry in entries:
        path = PurePosixPath(entry.path)
        if not path.is_absolute() or ".." in path.parts or len(path.parts) < 2:
            raise Invalid(f"{entry.path!r} is no path for an image", "give an absolute path without ..")
        name = str(path)[1:]
        if name in by_path:
            raise Invalid(f"{entry.path!r} is given twice", "give each path once")
        by_path[name] = entry
    for name in tuple(by_path):
        for parent in tuple(PurePosixPath(name).parents)[:-1]:
            if not isinstance(by_path.setdefault(str(parent), Folder(f"/{parent}")), Folder):
                raise Invalid(f"/{parent} is no directory, but /{name} is below it", "give other paths")
    return sorted(by_path.items())


def _chunks(entries: Sequence[tuple[str, Entry]], created: int) -> Iterator[bytes]:
    for name, entry in entries:
        info = tarfile.TarInfo(name)
        info.mtime = created
        match entry:
            case File(content=content, mode=mode):
                info.size = len(content) if isinstance(content, bytes) else content.stat().st_size
                info.mode = mode
                yield _header(info)
                yield from _body(content)
                yield bytes(-info.size % tarfile.BLOCKSIZE)
            case Folder(mode=mode):
                info.type, info.mode = tarfile.DIRTYPE, mode
                yield _header(info)
            case Link(target=target):
                info.type, info.linkname, info.mode = tarfile.SYMTYPE, target, 0o777
                yield _header(info)
            case _:
                assert_never(entry)
    yield _END


def _header(info: tarfile.TarInfo) -> bytes:
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "strict")


def _body(content: bytes | Path) -> Iterator[bytes]:
    if isinstance(content, bytes):
        yield content
        return
    with content.open("rb") as file:
        while chunk := file.read(_CHUNK):
            yield chunk
