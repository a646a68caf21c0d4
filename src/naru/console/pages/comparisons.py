"""Comparisons of targets by measurement: the list, one as it goes on, a new one, and the report."""

import asyncio
import json

from starlette.responses import Response
from starlette.types import ASGIApp

from naru.console.desk import Visit
from naru.console.findings import ASPECTS, Findings, drawn, findings
from naru.console.forms import number
from naru.console.live import Channel
from naru.domain.comparison import Comparison
from naru.domain.errors import Invalid, NaruError, http_status
from naru.lab.studies import report
from naru.lab.studies.features import FEATURES

REPEATS = 6


async def index(visit: Visit) -> Response:
    """List the comparisons, and ask for a new one."""
    return await _page(visit)


async def start(visit: Visit) -> Response:
    """Start to compare the targets that were ticked."""
    form = await visit.form()
    targets = [str(name) for name in form.getlist("target")]
    try:
        if not targets:
            raise Invalid("no target is chosen", "choose one or more")
        started = await visit.platform.comparisons.start(
            targets,
            repeats=number(str(form.get("repeats", ""))),
            image=str(form.get("image", "")).strip(),
            subject=visit.subject,
        )
    except NaruError as error:
        return await _page(visit, error)
    return visit.go(f"/comparisons/{started.id}")


async def one(visit: Visit) -> Response:
    """Show a comparison with what it has found so far."""
    comparison = await _asked_for(visit)
    found = await asyncio.to_thread(findings, comparison)
    engines = list(dict.fromkeys(target.engine for target in comparison.targets))
    return visit.page(
        "comparison.html",
        **_values(comparison, found),
        plots=json.dumps(drawn(found)),
        engines=engines,
        features=[(row.what, [row.of(engine) for engine in engines], row.source) for row in FEATURES],
    )


async def live(visit: Visit) -> ASGIApp:
    """Show each change of a comparison until it ends."""
    name = (await _asked_for(visit)).id

    async def produce(channel: Channel) -> None:
        async for comparison in visit.platform.comparisons.follow(name):
            found = await asyncio.to_thread(findings, comparison)
            values = _values(comparison, found)
            parts = {"comparison": visit.html("parts/comparison.html", **values)}
            for aspect, rows in found.aspects.items():
                parts[f"found-{aspect}"] = visit.html("parts/findings.html", **values, aspect=aspect, rows=rows)
            await channel.show(parts)
            await channel.tell("found", drawn(found))
        await channel.tell("ended", True)

    return visit.stream(produce)


async def cancel(visit: Visit) -> Response:
    """Stop a comparison; what it made is removed."""
    stopped = await visit.platform.comparisons.cancel(visit.path("comparison"), subject=visit.subject)
    return visit.go(f"/comparisons/{stopped.id}?notice=comparison-stopping")


async def download(visit: Visit) -> Response:
    """Answer the report as one file that holds everything."""
    comparison = await _asked_for(visit)
    again = f"naru compare {' '.join(comparison.names)} --repeats {comparison.repeats}"
    page = await asyncio.to_thread(report.html, comparison, again=again)
    named = {"Content-Disposition": f'attachment; filename="{comparison.id}.html"'}
    return Response(page, media_type="text/html", headers=named)


async def _asked_for(visit: Visit) -> Comparison:
    return await visit.platform.comparisons.get(visit.path("comparison"))


def _values(comparison: Comparison, found: Findings) -> dict[str, object]:
    return {"comparison": comparison, "found": found, "aspects": ASPECTS}


async def _page(visit: Visit, error: NaruError | None = None) -> Response:
    typed = await visit.form() if error else None
    latest = await visit.platform.comparisons.latest()
    return visit.page(
        "comparisons.html",
        http_status(error) if error else 200,
        comparisons=latest,
        under_way=next((known for known in latest if not known.state.ended), None),
        targets=await visit.platform.targets(),
        ticked=set(typed.getlist("target")) if typed else None,
        repeats=str(typed.get("repeats", "")) if typed else str(REPEATS),
        image=str(typed.get("image", "")) if typed else "",
        error=error,
    )
