"""The agent as a process."""

import asyncio
import gc
import logging
import signal
import sys
from typing import Final

from naru.agent.control import control, observed
from naru.agent.http import serving
from naru.agent.node import Node
from naru.agent.settings import AgentSettings
from naru.agent.wiring import node
from naru.domain.errors import NaruError
from naru.log import configure

log = logging.getLogger(__name__)

_YOUNG: Final = 20_000
"""Objects made before cyclic garbage is looked for: indexes are many objects that stay, and hardly any are cyclic."""


async def run(settings: AgentSettings) -> int:
    """Run until SIGTERM or SIGINT; containers go on without us. Returns the exit code."""
    configure(settings.log_level)
    gc.set_threshold(_YOUNG)
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    failed: NaruError | None = None
    try:
        async with asyncio.TaskGroup() as tasks, node(settings, tasks) as opened:
            reports = _begin_reports(opened, tasks) if settings.server else None
            await _serve(settings, opened, stopped)
            if reports:
                reports.cancel()
    except* NaruError as errors:
        failed = _first(errors)
    if failed is not None:
        print(f"error: {failed}", file=sys.stderr)
    return 1 if failed else 0


def _begin_reports(opened: Node, tasks: asyncio.TaskGroup) -> "asyncio.Task[None]":
    # The client takes 20 MB: an agent without a control plane does without it.
    from naru.agent.reports import reporting

    return tasks.create_task(reporting(opened))


async def _serve(settings: AgentSettings, opened: Node, stopped: asyncio.Event) -> None:
    async with serving(control(opened), settings.control):
        if settings.metrics is None:
            await _announce_and_wait(opened, stopped)
        else:
            async with serving(observed(opened), settings.metrics):
                await _announce_and_wait(opened, stopped)


async def _announce_and_wait(opened: Node, stopped: asyncio.Event) -> None:
    log.info("the agent %s of the site %s is ready", opened.settings.node, opened.settings.site)
    await stopped.wait()


def _first(errors: BaseExceptionGroup[NaruError]) -> NaruError:
    inner = errors.exceptions[0]
    return _first(inner) if isinstance(inner, BaseExceptionGroup) else inner
