"""The store is read again in the background."""

import asyncio
import hashlib
from contextlib import suppress
from pathlib import Path

from naru.agent.objects import ObjectStore
from naru.agent.scrub import scrub_daily

FILES = tuple(bytes([number]) * 100 for number in range(70))


async def test_what_has_rotted_goes_and_is_told(tmp_path: Path) -> None:
    store = ObjectStore(tmp_path / "store")
    digests = [hashlib.sha256(content).digest() for content in FILES]
    store.put_many(zip(digests, FILES, strict=True))
    rotten = store.path(digests[40])
    rotten.chmod(0o600)
    rotten.write_bytes(b"?" * 100)
    told = asyncio.Event()

    async def tell() -> None:
        told.set()

    reading = asyncio.create_task(scrub_daily(store, tell, every=0.01))
    async with asyncio.timeout(20):
        await told.wait()
    reading.cancel()
    with suppress(asyncio.CancelledError):
        await reading

    assert [digest for digest in digests if not store.has(digest)] == [digests[40]]
