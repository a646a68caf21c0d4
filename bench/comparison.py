"""`python -m bench.comparison`: compare Docker and a real swarm of three nodes, and render docs/comparison.md.

Needs root, dockerd, iproute2, iptables, Caddy and a static busybox. The swarm is made for the occasion, in network
namespaces of this machine, so that nodes can be killed and cut off; Docker is the engine of the machine.
"""

import argparse
import asyncio
import json
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

from pydantic import TypeAdapter
from tests import swarms
from tests.ports import free_ports

from naru.domain.comparison import Comparison, ComparisonState, Result
from naru.domain.workload import Address
from naru.engines.docker import open_docker
from naru.engines.guard import Guarded
from naru.engines.swarm import open_swarm
from naru.lab.studies import daemons, report
from naru.lab.studies.comparison import compare
from naru.lab.studies.image import study_image
from naru.lab.studies.subject import Means, Plan, Subject, describe
from naru.oci.layout import ImageStore
from naru.routing.caddy.door import CaddyDoor
from naru.routing.caddy.settings import CaddySettings

ROOT = Path(__file__).resolve().parent.parent
KEPT = ROOT / "bench" / "results" / "comparison" / "docker-swarm.json"
PAGE = ROOT / "docs" / "comparison.md"
PLOTS = ROOT / "docs" / "comparison"
AGAIN = "python -m bench.comparison --repeats 3"
REMARKS = (
    "Docker is the engine of the machine; the swarm has one manager and two workers, each an engine in a network "
    "namespace of the same machine, so its nodes share the cores and no real network lies between them.",
    "The machine did other work at the same time: read differences, not absolute times.",
    "The swarm's nodes give a sign of life every second, not every five as by default, so it notices lost ones sooner.",
    "Instances are made and observed through Naru's engines, requests (25 a second) go through Naru's front door. "
    "Recovery is the engine's own: Naru's repairs are not part of it.",
    "Swarm may start a crashed instance on another node, and so without what its local volume holds: that is what the "
    "volume of Swarm lost by a crash, and by losing its node.",
    "On your own targets: `naru compare TARGET TARGET --repeats 6 --out DIR`, or the console's page of comparisons. "
    "Nodes are broken only here, where there is power over them.",
)
NODES = 3
OWNER = "naru-comparison"
MARK = "engines"
JOINED = 60.0


async def measure(repeats: int, docker: Path) -> Comparison:
    """Run the comparison; nothing is left behind."""
    with tempfile.TemporaryDirectory(prefix="naru-compare-") as home, ExitStack() as stack:
        store = ImageStore(Path(home, "images"))
        image = await study_image(store)
        nodes = await asyncio.to_thread(stack.enter_context, swarms.swarm(NODES))
        ports = free_ports(3)
        door = CaddyDoor(
            CaddySettings(Path(home, "door"), http_port=ports[0], https_port=ports[1], interface="127.0.0.1")
        )
        await door.open()
        async with store.export(image) as archive, asyncio.TaskGroup() as tasks:
            for node in nodes:
                await asyncio.to_thread(node.load, archive)
            async with (
                open_docker(f"unix://{docker}", tasks, owner=OWNER) as local,
                open_swarm(nodes[0].url, tasks, owner=OWNER) as cluster,
            ):
                subjects = (
                    Subject("docker", Guarded(local), Means((docker,), _timed(lambda: swarms.engines(1)))),
                    Subject("swarm", Guarded(cluster), _means(nodes)),
                )
                plan = Plan(repeats, MARK, image, archive, None, Address(port=ports[2]))
                try:
                    comparison = await _run(subjects, door, plan)
                finally:
                    await door.stop()
                    await door.close()
    return comparison


async def _run(subjects: Sequence[Subject], door: CaddyDoor, plan: Plan) -> Comparison:
    async def tell(step: str) -> None:
        print(f"{datetime.now():%H:%M:%S} {step}", flush=True)  # noqa: DTZ005 - for whoever watches

    started = datetime.now(UTC)
    results: tuple[Result, ...] = ()
    async for results in compare(subjects, door, plan, lambda: datetime.now(UTC), tell):
        for one in results:
            print(f"    {one.target} {one.measure}: {one.values[-1:]} {one.note}", flush=True)
    return Comparison(
        id="docker-swarm",
        names=tuple(subject.name for subject in subjects),
        repeats=plan.repeats,
        state=ComparisonState.DONE,
        requested_by="bench",
        started_at=started,
        machine=daemons.machine(),
        targets=tuple([await describe(subject) for subject in subjects]),
        results=results,
        ended_at=datetime.now(UTC),
    )


def _means(nodes: Sequence[swarms.Node]) -> Means:
    names = {node.name: node for node in nodes}
    manager = nodes[0]

    @asynccontextmanager
    async def cut(name: str) -> AsyncIterator[None]:
        node = names[name]
        await asyncio.to_thread(node.cut)
        try:
            yield
        finally:
            await asyncio.to_thread(node.mend)
            await asyncio.to_thread(_wait_until_ready, manager, node)

    @asynccontextmanager
    async def kill(name: str) -> AsyncIterator[None]:
        """Go dark first: to the others a node that is shut down in order would say farewell."""
        node = names[name]
        await asyncio.to_thread(node.cut)
        stopping = asyncio.create_task(asyncio.to_thread(node.stop))
        try:
            yield
        finally:
            await stopping
            await asyncio.to_thread(node.mend)
            await asyncio.to_thread(node.start)
            await asyncio.to_thread(_wait_until_ready, manager, node)

    bring_up = _timed(lambda: swarms.swarm(NODES))
    return Means(tuple(n.socket for n in nodes), bring_up, kill, cut, vital=frozenset({manager.name}))


def _timed(made: Callable[[], AbstractContextManager[Sequence[swarms.Node]]]) -> Callable[[], Awaitable[float]]:
    def take() -> float:
        began = time.monotonic()
        with made():
            return time.monotonic() - began

    return lambda: asyncio.to_thread(take)


def _wait_until_ready(manager: swarms.Node, node: swarms.Node) -> None:
    deadline = time.monotonic() + JOINED
    while time.monotonic() < deadline:
        listed = manager.ask("GET", "/nodes")
        assert isinstance(listed, list)
        if any(one["Description"]["Hostname"] == node.name and one["Status"]["State"] == "ready" for one in listed):
            return
        time.sleep(0.1)
    raise RuntimeError(f"{node.name} did not come back")


def main() -> None:
    """Measure, keep the values, render the page."""
    parser = argparse.ArgumentParser(prog="python -m bench.comparison", description=__doc__)
    parser.add_argument("--repeats", type=int, default=6)
    parser.add_argument("--docker", type=Path, default=Path("/var/run/docker.sock"))
    parser.add_argument("--render", action="store_true", help="only render the page from the kept values")
    asked = parser.parse_args()
    adapter = TypeAdapter(Comparison)
    if not asked.render:
        comparison = asyncio.run(measure(asked.repeats, asked.docker))
        KEPT.parent.mkdir(parents=True, exist_ok=True)
        KEPT.write_text(json.dumps(adapter.dump_python(comparison, mode="json"), indent=1) + "\n")
    render(adapter.validate_json(KEPT.read_bytes()))


def render(comparison: Comparison) -> None:
    """Write the page and its plots."""
    PLOTS.mkdir(parents=True, exist_ok=True)
    for name, drawn in report.plots(comparison).items():
        (PLOTS / name).write_text(drawn)
    PAGE.write_text(report.markdown(comparison, folder=PLOTS.name, again=AGAIN, remarks=REMARKS))


if __name__ == "__main__":
    main()
