"""Streams: what changed reaches the page, and a stream ends when its viewer leaves or is signed out."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from starlette.applications import Starlette
from tests.unit.console.conftest import Browser, Stage

from naru.console.live import Channel, EventStream, gathered, renewed
from naru.control.accounts import SESSION_COOKIE
from naru.domain.errors import SignInRequired, Unavailable


@dataclass
class Listener:
    """One open stream, read event by event."""

    events: asyncio.Queue[str | None] = field(default_factory=asyncio.Queue)
    left: asyncio.Event = field(default_factory=asyncio.Event)
    status: int = 0

    async def until(self, what: str) -> str:
        """Return the next event that contains `what`."""
        async with asyncio.timeout(15):
            while (event := await self.events.get()) is not None:
                if what in event:
                    return event
        raise AssertionError(f"the stream ended without {what!r}")

    async def end(self) -> None:
        async with asyncio.timeout(15):
            while await self.events.get() is not None:
                pass

    async def receive(self) -> dict[str, object]:
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: dict[str, object]) -> None:
        if message["type"] == "http.response.start":
            self.status = int(str(message["status"]))
            return
        for event in bytes(message.get("body", b"")).decode().split("\n\n"):
            if event:
                await self.events.put(event)
        if not message.get("more_body"):
            await self.events.put(None)


@asynccontextmanager
async def opened(site: Callable[..., Awaitable[None]], path: str, **headers: str) -> AsyncIterator[Listener]:
    listener = Listener()
    path, _, query = path.partition("?")
    scope = {
        "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1", "method": "GET",
        "scheme": "http", "path": path, "raw_path": path.encode(), "query_string": query.encode(), "root_path": "",
        "headers": [(key.lower().replace("_", "-").encode(), value.encode()) for key, value in headers.items()],
        "client": ("test", 1), "server": ("console.test", 80),
    }  # fmt: skip
    task = asyncio.ensure_future(site(scope, listener.receive, listener.send))
    try:
        yield listener
    finally:
        listener.left.set()
        async with asyncio.timeout(10):
            await task


def cookie(browser: Browser) -> str:
    return f"{SESSION_COOKIE}={browser.client.cookies[SESSION_COOKIE]}"


async def test_an_app_s_page_is_told_what_changed_and_nothing_else(site: Starlette, browser: Browser, stage: Stage):
    await stage.deploy()
    async with opened(site, "/live/apps/shop", cookie=cookie(browser)) as stream:
        first = await stream.until("hx-partial")
        for part in ("app_state", "instances", "rollout", "recent_releases"):
            assert f'hx-target="#{part}"' in first
        instance = stage.engine.instances("shop")[0].id
        with stage.engine.hold("apply"):  # nobody repairs it before it was seen
            stage.engine.sicken(instance, "GET / answered 500")
            second = await stream.until("GET / answered 500")
        assert 'hx-target="#instances"' in second
        assert 'hx-target="#recent_releases"' not in second


async def test_the_list_of_apps_shows_a_new_one(site: Starlette, browser: Browser, stage: Stage):
    async with opened(site, "/live/apps", cookie=cookie(browser)) as stream:
        await stream.until("Nothing is running yet")
        await stage.deploy()
        await stream.until('id="app-shop"')


async def test_a_rollout_is_followed_to_its_end(site: Starlette, browser: Browser, stage: Stage):
    stage.build("shop:1")
    with stage.engine.hold("apply"):
        await browser.post("/new", {"app": "shop", "image": "shop:1", "port": "80"})
        rollout = (await stage.platform.apps.status("shop")).rollout
        assert rollout is not None
        stream_of = opened(site, f"/live/rollouts/{rollout.id}", cookie=cookie(browser))
        stream = await stream_of.__aenter__()
        await stream.until("Replace instances")
    await stream.until("succeeded")
    await stream.until("event: ended")
    await stream.end()
    await stream_of.__aexit__(None, None, None)


async def test_log_lines_come_clean_and_new_instances_join(site: Starlette, browser: Browser, stage: Stage):
    await stage.deploy()
    first, second = (instance.id for instance in stage.engine.instances("shop"))
    stage.engine.write(first, "\x1b[31mone\x1b[0m <b>", stream="stderr")
    async with opened(site, "/live/apps/shop/logs", cookie=cookie(browser)) as stream:
        event = await stream.until("event: lines")
        lines = json.loads(event.split("data: ", 1)[1])
        assert lines[0][1:] == [first, "stderr", "one <b>"]
        assert "id: " in event
        stage.engine.vanish(second)
        async with asyncio.timeout(10):
            async for _ in stage.platform.apps.watch("shop"):
                fresh = [one.id for one in await stage.platform.instances.of("shop") if one.id not in (first, second)]
                if fresh:
                    break
        stage.engine.write(fresh[0], "from the new one")
        await stream.until("from the new one")


async def test_log_lines_go_on_where_the_connection_broke_off(site: Starlette, browser: Browser, stage: Stage):
    await stage.deploy()
    instance = stage.engine.instances("shop")[0].id
    stage.engine.write(instance, "seen")
    async with opened(site, "/live/apps/shop/logs", cookie=cookie(browser)) as stream:
        event = await stream.until("seen")
    last = event.split("id: ", 1)[1].split("\n", 1)[0]
    stage.engine.write(instance, "missed")
    async with opened(site, "/live/apps/shop/logs", cookie=cookie(browser), last_event_id=last) as stream:
        assert "seen" not in await stream.until("missed")


async def test_logs_of_an_unknown_instance_say_so(site: Starlette, browser: Browser, stage: Stage):
    await stage.deploy()
    async with opened(site, "/live/apps/shop/logs?instance=nobody", cookie=cookie(browser)) as stream:
        assert "no instance nobody" in await stream.until("event: problem")


async def test_what_instances_use_reaches_the_charts(site: Starlette, browser: Browser, stage: Stage):
    await stage.deploy()
    async with opened(site, "/live/apps/shop", cookie=cookie(browser)) as stream:
        event = await stream.until("event: usage")
    samples = json.loads(event.split("data: ", 1)[1])
    assert {"instance", "at", "cpu", "memory"} == set(samples[0])


async def test_signing_out_ends_the_streams(caplog: pytest.LogCaptureFixture):
    async def nothing(_: Channel) -> None:
        await asyncio.Event().wait()

    async def signed_out() -> None:
        raise SignInRequired("the session has ended")

    async with opened(EventStream(nothing, signed_out, heartbeat=0.01), "/") as stream:
        await stream.end()
    assert stream.status == 200


async def test_a_silent_stream_beats():
    async def nothing(_: Channel) -> None:
        await asyncio.Event().wait()

    async def allowed() -> None:
        return None

    async with opened(EventStream(nothing, allowed, heartbeat=0.01), "/") as stream:
        await stream.until(": still here")
        await stream.until(": still here")


async def test_a_stream_whose_source_fails_just_ends():
    async def broken(_: Channel) -> None:
        raise Unavailable("the engine does not answer")

    async def allowed() -> None:
        return None

    async with opened(EventStream(broken, allowed), "/") as stream:
        await stream.end()


async def test_html_of_many_lines_is_one_event():
    sent: list[str] = []

    async def send(message: dict[str, object]) -> None:
        sent.append(bytes(message["body"]).decode())

    await Channel(send).show({"part": "<p>\none\r\ntwo\u2028three\n</p>"})
    assert sent[0].count("\n\n") == 1
    assert all(line.startswith("data: ") for line in sent[0].strip().split("\n"))
    assert "two\u2028three" in sent[0]


async def test_lines_that_come_together_are_sent_together():
    async def many() -> AsyncIterator[int]:
        for number in range(2000):
            yield number

    batches = [batch async for batch in gathered(many(), 0.0)]
    assert [number for batch in batches for number in batch] == list(range(2000))
    assert len(batches) < 200


async def test_a_source_that_breaks_gives_its_lines_first():
    async def broken() -> AsyncIterator[int]:
        yield 1
        raise Unavailable("gone")

    batches = gathered(broken(), 0.0)
    assert await anext(batches) == [1]
    with pytest.raises(Unavailable):
        await anext(batches)


async def test_work_starts_afresh_only_when_its_key_changes():
    started: list[int] = []
    begun = asyncio.Event()

    async def keys() -> AsyncIterator[str]:
        for key in ("a", "a", "b", "b"):
            yield key
            await asyncio.wait_for(begun.wait(), 5)

    async def work() -> None:
        started.append(1)
        begun.set()
        await asyncio.Event().wait()

    await renewed(keys(), work)
    await asyncio.sleep(0)
    assert len(started) == 2
