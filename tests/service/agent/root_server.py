"""An agent's lazy roots in a process of their own, to be killed: `root_server.py STORE WHERE ORIGIN MODE [IMAGE…]`.

What the store lacks it takes from files of ORIGIN, named by digest, and waits until they are there. It says `ready`.
"""

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

from naru.agent.exchange.pieces import Pieces
from naru.agent.index.index import Index
from naru.agent.mount.roots import Roots
from naru.agent.mount.support import Mode
from naru.agent.objects import ObjectStore
from naru.agent.source import Priority


class DirectorySource:
    def __init__(self, store: ObjectStore, origin: Path) -> None:
        self._store = store
        self._origin = origin

    async def fetch(self, index: Index, digests: Sequence[bytes], priority: Priority) -> None:
        for digest in digests:
            self._store.put(digest, await self._content(digest))

    async def fetch_pieces(self, index: Index, numbers: Sequence[int], priority: Priority) -> None:
        pieces = Pieces(index)
        await self.fetch(index, [pieces.piece(number).object.digest for number in numbers], priority)

    async def read(self, index: Index, digest: bytes, offset: int, length: int) -> bytes:
        return (await self._content(digest))[offset : offset + length]

    async def _content(self, digest: bytes) -> bytes:
        file = self._origin / digest.hex()
        while not file.exists():  # noqa: ASYNC110 - another process makes it
            await asyncio.sleep(0.005)
        return file.read_bytes()


async def main(root: str, where: str, origin: str, mode: str, *images: str) -> None:
    store = ObjectStore(Path(root))
    roots = await Roots.open(store, DirectorySource(store, Path(origin)), Path(where), mode=Mode(mode))
    for image in images:
        index = store.index(image)
        assert index is not None
        await roots.add(index)
    print("ready", *roots.images(), flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
