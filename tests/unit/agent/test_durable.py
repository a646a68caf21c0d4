"""When objects are made durable: at rest, or after a minute at the latest."""

import asyncio

from naru.agent.calm import Calm
from naru.agent.durable import keep_durable


class Store:
    """Objects arrive between looks, as many as `arrivals` says in turn."""

    def __init__(self, *arrivals: int) -> None:
        self.arrivals = list(arrivals)
        self.waiting = 0
        self.synced: list[int] = []
        self.idle = asyncio.Event()

    @property
    def pending(self) -> int:
        if not self.arrivals:
            self.idle.set()
        else:
            self.waiting += self.arrivals.pop(0)
        return self.waiting

    def sync(self) -> int:
        self.synced.append(self.waiting)
        self.waiting = 0
        return self.synced[-1]


async def synced(store: Store, calm: Calm | None = None) -> list[int]:
    keeping = asyncio.create_task(keep_durable(store, calm or Calm(), every=0))
    await store.idle.wait()
    keeping.cancel()
    await asyncio.wait([keeping])
    return store.synced


async def test_nothing_is_synced_where_nothing_arrived():
    assert await synced(Store(0, 0, 0)) == []


async def test_what_arrived_is_synced_once_nothing_more_comes():
    assert await synced(Store(3, 4, 0, 0, 0)) == [7]


async def test_a_stream_without_end_is_synced_now_and_then():
    assert await synced(Store(*[1] * 24)) == [12, 12]


async def test_nothing_is_synced_while_a_start_is_under_way():
    now = 0.0
    calm = Calm(lambda: now, look=0)
    store = Store(3, 0, 0)
    calm.begin("shop")
    keeping = asyncio.create_task(keep_durable(store, calm, every=0))
    for _ in range(100):
        await asyncio.sleep(0)
    assert store.arrivals == [3, 0, 0]

    now = 10.0
    await store.idle.wait()
    keeping.cancel()
    await asyncio.wait([keeping])
    assert store.synced == [3]
