"""One app: how it is, what it writes, what it used to be."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import datetime, timedelta

from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp

from naru.console.desk import Visit
from naru.console.live import Channel, gathered, renewed
from naru.console.render import clean
from naru.domain.errors import Invalid, NaruError
from naru.domain.instance import LogLine, Usage

RELEASES = 5
"""How many releases the overview shows."""
PAGE = 50
TAIL = 300
"""How many lines a log starts with when no period is chosen."""
PERIODS = {"5m": timedelta(minutes=5), "1h": timedelta(hours=1), "24h": timedelta(days=1)}
BATCH = 0.1
"""Seconds for which log lines are gathered before they are sent."""


async def overview(visit: Visit) -> Response:
    """Show instances, the rollout under way or the latest one, and the last releases."""
    return visit.page("app.html", images=await visit.platform.images.images(), **await _overview(visit))


async def live(visit: Visit) -> ASGIApp:
    """Keep the overview up to date, and send what the instances use."""
    name = visit.path("app")

    async def produce(channel: Channel) -> None:
        async def changes() -> AsyncIterator[frozenset[str]]:
            async for _ in visit.platform.apps.watch(name):
                values = await _overview(visit)
                await channel.show({part: visit.html(f"parts/{part}.html", **values) for part in _PARTS})
                yield await _instances(visit)

        async def figures() -> None:
            with suppress(NaruError):
                async for sample in visit.platform.instances.usage(name):
                    await channel.tell("usage", [_figures(item) for item in sample])

        await renewed(changes(), figures)

    return visit.stream(produce)


async def releases(visit: Visit) -> Response:
    """List what the app was asked to be, newest first."""
    name, before = visit.path("app"), visit.query("before")
    status = await visit.platform.apps.status(name)
    found = await visit.platform.apps.releases(name, before=_number(before) if before else None, limit=PAGE + 1)
    more = found[PAGE - 1].number if len(found) > PAGE else 0
    return visit.page("releases.html", status=status, releases=found[:PAGE], next=more)


async def release(visit: Visit) -> Response:
    """Show one release whole."""
    name = visit.path("app")
    status = await visit.platform.apps.status(name)
    found = await visit.platform.apps.release(name, int(visit.path("number")))
    return visit.page("release.html", status=status, release=found)


async def events(visit: Visit) -> Response:
    """List what happened to the app, newest first."""
    name = visit.path("app")
    status = await visit.platform.apps.status(name)
    return visit.page("app_events.html", status=status, events=await visit.platform.apps.latest_events(name, limit=200))


async def logs(visit: Visit) -> Response:
    """Show what the instances write; the lines themselves come over the stream."""
    status = await visit.platform.apps.status(visit.path("app"))
    return visit.page(
        "logs.html", status=status, instance=visit.query("instance"), since=visit.query("since"), periods=PERIODS
    )


async def logs_live(visit: Visit) -> ASGIApp:
    """Send log lines as they are written, of new instances too; after a lost connection, from where it broke off."""
    name, instance = visit.path("app"), visit.query("instance")
    period = PERIODS.get(visit.query("since"))
    resumed = visit.request.headers.get("last-event-id")
    since = _after(_moment(resumed)) if resumed else visit.now - period if period else None

    async def produce(channel: Channel) -> None:
        async def pour() -> None:
            nonlocal since
            lines = visit.platform.instances.logs(
                name, instance=instance, follow=True, since=since, tail=None if since else TAIL
            )
            try:
                async for batch in gathered(lines, BATCH):
                    await channel.tell("lines", [_line(visit, line) for line in batch], id_=batch[-1].at.isoformat())
                    since = _after(batch[-1].at)
            except NaruError as error:
                await channel.tell("problem", visit.said(str(error)))

        async def instances() -> AsyncIterator[frozenset[str]]:
            async for _ in visit.platform.apps.watch(name):
                yield await _instances(visit)

        await renewed(instances(), pour)

    return visit.stream(produce)


async def logs_text(visit: Visit) -> Response:
    """Answer with what is written so far, as plain text."""
    period = PERIODS.get(visit.query("since"))
    lines = visit.platform.instances.logs(
        visit.path("app"),
        instance=visit.query("instance"),
        since=visit.now - period if period else None,
        tail=None if period else TAIL,
    )
    return PlainTextResponse("".join([f"{x.at.isoformat()} {x.instance} {clean(x.text)}\n" async for x in lines]))


_PARTS = ("app_state", "instances", "rollout", "recent_releases")


async def _overview(visit: Visit) -> dict[str, object]:
    name = visit.path("app")
    status, recent = await asyncio.gather(
        visit.platform.apps.status(name), visit.platform.apps.releases(name, limit=RELEASES)
    )
    return {"status": status, "rollout": status.rollout, "releases": recent}


async def _instances(visit: Visit) -> frozenset[str]:
    return frozenset(instance.id for instance in await visit.platform.instances.of(visit.path("app")))


def _line(visit: Visit, line: LogLine) -> list[str]:
    at = line.at.astimezone(visit.viewer.zone)
    return [f"{at:%H:%M:%S}.{at.microsecond // 1000:03}", line.instance, line.stream, clean(line.text)]


def _figures(usage: Usage) -> dict[str, float | str]:
    return {"instance": usage.instance, "at": usage.at.timestamp(), "cpu": usage.cpu, "memory": usage.memory}


def _after(at: datetime) -> datetime:
    return at + timedelta(microseconds=1)


def _number(text: str) -> int:
    if not text.isdecimal() or len(text) > 9:
        raise Invalid(f"{text[:20]!r} is no release number", "follow a link of this page")
    return int(text)


def _moment(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise Invalid(f"{text[:40]!r} is no moment", "load the page again") from None
