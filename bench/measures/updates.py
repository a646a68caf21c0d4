"""How many requests fail while an app is updated fifty times under load from outside."""

import asyncio
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from bench.figures import Figure, measured
from bench.measures import Absent
from bench.stand import Stand, client, ended, reference, removed, stand
from naru.client import Client
from naru.domain.workload import Health, HttpCheck, Workload
from naru.oci.sample import SAMPLE_PORT

UPDATES = 50
RATE = 200
CONNECTIONS = 10
LONGEST_SECONDS = 900
# wrk sends as fast as it can; the delay makes each connection, kept open, send RATE / CONNECTIONS requests a second.
SCRIPT = f"function delay() return {1000 * CONNECTIONS // RATE} end\n"


def measure() -> Iterator[Figure]:
    """Update back and forth between two versions while wrk asks."""
    if not shutil.which("wrk"):
        raise Absent("the program wrk is not installed")
    with stand() as server:
        failed, sent, seconds = asyncio.run(_update(server))
    day = datetime.now(UTC).date()
    against = f"wrk, {CONNECTIONS} kept connections, {sent:,} requests in all"
    yield measured(
        "updates-failed",
        f"failed requests over {UPDATES} rolling updates of 2 replicas at {RATE} requests/s",
        [failed],
        unit="requests",
        goal=0,
        better="lower",
        against=against,
        day=day,
    )
    yield measured(
        "updates-seconds",
        "one rolling update of 2 replicas under that load",
        seconds,
        unit="s",
        better="lower",
        day=day,
    )


async def _update(server: Stand) -> tuple[int, int, list[float]]:
    async with client(server, "1", "2") as naru:
        workload = Workload("shop", str(reference("1")), SAMPLE_PORT, 2, health=Health(HttpCheck("/healthz")))
        await ended(naru, await naru.apps.deploy(workload))
        endpoint = (await naru.apps.status("shop")).endpoint.url
        with tempfile.TemporaryDirectory(prefix="naru-bench-") as scratch:
            script = Path(scratch, "rate.lua")
            script.write_text(SCRIPT)
            command = [
                "wrk",
                "-t1",
                f"-c{CONNECTIONS}",
                f"-d{LONGEST_SECONDS}s",
                "--timeout",
                "5s",
                "-s",
                str(script),
                endpoint,
            ]
            wrk = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            try:
                seconds = [await _one(naru, number) for number in range(UPDATES)]
            finally:
                wrk.send_signal(2)
                report, _ = await asyncio.to_thread(wrk.communicate, timeout=30)
        await removed(naru, "shop")
    return _failures(report), _requests(report), seconds


async def _one(naru: Client, number: int) -> float:
    started = time.perf_counter()
    image = str(reference(str(2 - number % 2)))
    await ended(naru, await naru.apps.update("shop", image=image))
    return time.perf_counter() - started


def _failures(report: str) -> int:
    """Count what wrk calls errors: connections, reads, writes, timeouts, and statuses that are no success."""
    errors = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", report)
    statuses = re.search(r"Non-2xx or 3xx responses: (\d+)", report)
    return sum(map(int, errors.groups() if errors else ())) + (int(statuses[1]) if statuses else 0)


def _requests(report: str) -> int:
    found = re.search(r"(\d+) requests in", report)
    return int(found[1]) if found else 0
