"""Openers for the engine contract: one lab per engine, which makes releases and lets accidents happen."""

import asyncio
import json
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from enum import Enum, auto
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar
from uuid import uuid4

import pytest
from aiodocker import Docker
from tests.contract.fake_behaviour import Behaviour, Exits, NeverReady, Ready
from tests.contract.fake_engine import FakeEngine
from tests.images import SERVE

from naru.domain.image import Image, Origin, Platform
from naru.domain.instance import ExecResult, Instance
from naru.domain.kind import WorkloadKind
from naru.domain.release import Release, ReleaseState
from naru.domain.target import Feature
from naru.domain.workload import Health, HttpCheck, Resources, Restart, TcpCheck, Workload
from naru.engines.base import OpenEngine
from naru.engines.docker import DockerEngine, open_docker

T = TypeVar("T")

PLAIN = frozenset(Feature) - {
    Feature.RESTARTS,
    Feature.JOBS,
    Feature.SCHEDULES,
    Feature.AUTOSCALE,
    Feature.OWN_VOLUMES,
    Feature.PROJECT_NETWORKS,
    Feature.VOLUME_COPIES,
}
"""What every engine that starts containers by itself can do; a lab adds what its own can."""
OF_DOCKERS = PLAIN | {
    Feature.RESTARTS,
    Feature.JOBS,
    Feature.OWN_VOLUMES,
    Feature.PROJECT_NETWORKS,
    Feature.VOLUME_COPIES,
}
"""What every engine that speaks Docker's API can do, Podman but for one."""
PATIENCE = 30.0
QUICK = Health(HttpCheck("/cgi-bin/health"), interval=0.2, timeout=2.0, retries=2, start_period=0.0)


class Kind(Enum):
    """What a release's instances do."""

    SERVES = auto()
    """Answers on 8080 and writes `one` to stdout and `two` to stderr first."""
    SICK = auto()
    """Answers 500 to its check."""
    DEAF = auto()
    """Is said to listen on 8081 and listens on 8080."""
    EXITS = auto()
    """Ends with 3."""
    HUNGRY = auto()
    """Takes more memory than it may."""
    IDLES = auto()
    """Runs, listens nowhere and answers nobody."""
    ENDS = auto()
    """Ends well."""


class EngineLab:
    """An engine under test and the means to break things around it."""

    engine: OpenEngine
    image: Image

    def __init__(self) -> None:
        self.app = f"t{uuid4().hex[:8]}"
        self.apps = {self.app}

    def release(self, kind: Kind = Kind.SERVES, /, *, number: int = 1, **changes: object) -> Release:
        """Make a release of the lab's app, or of `app`."""
        workload = replace(_WORKLOADS[kind], **{"app": self.app, **changes})  # type: ignore[arg-type]
        self.apps.add(workload.app)
        self.prepare(kind)
        return Release(
            app=workload.app,
            number=number,
            workload=workload,
            image=self.image,
            state=ReleaseState.PENDING,
            created_by="test",
            created_at=datetime.now(UTC),
        )

    async def apply(
        self, release: Release, replicas: int, secrets: Mapping[str, bytes] = {}, retire: tuple[str, ...] = ()
    ) -> None:
        """Apply with fewer words."""
        await self.engine.apply(release, replicas, secrets=secrets, retire=retire)

    async def settled(self, count: int, what: Callable[[Instance], bool] = lambda one: one.ready) -> list[Instance]:
        """Wait until the app has exactly `count` instances and all are `what`; return them."""
        return await self.until(lambda seen: len(seen) == count and all(what(one) for one in seen))

    async def until(self, holds: Callable[[list[Instance]], bool], app: str = "") -> list[Instance]:
        """Wait until something holds of the instances of the lab's app, or of `app`; return them."""
        deadline = time.monotonic() + PATIENCE
        while not holds(seen := list(await self.engine.observe(app or self.app))):
            assert time.monotonic() < deadline, f"after {PATIENCE} s: {seen}"
            await asyncio.sleep(self.pause)
        return seen

    async def ask(self, instance: Instance, host: str) -> str:
        """Return what a host answers on port 8080 when the instance asks; empty when it is not known or not there.

        In words of a static busybox, whose wget cannot look names up.
        """
        address = host
        if not host.replace(".", "").isdecimal():
            found = await self.engine.execute(instance.id, ("/bin/busybox", "nslookup", host))
            lines = found.stdout.decode().partition("Name:")[2].splitlines()
            address = next((line.split()[-1] for line in lines if line.startswith("Address")), "")
        if not address:
            return ""
        asking = ("/bin/nc", "-w", "2", address, "8080")
        answer = await self.engine.execute(instance.id, asking, stdin=b"GET / HTTP/1.0\r\n\r\n")
        return answer.stdout.decode().partition("\r\n\r\n")[2]

    pause = 0.05
    tells_out_of_memory = True
    features: frozenset[Feature] = PLAIN
    """What the engine must be able to do; tests of anything else are skipped."""
    pulls_beforehand = True
    """Whether an image is there before instances are made of it."""
    tells_pull_failures = False
    """Whether instances whose image cannot be pulled say so."""
    sees_ports = True
    """Whether the engine can tell on which ports a container listens."""
    restarts_always = False
    """Whether what ends is started again whatever the release says."""
    splits_streams = True
    """Whether its logs tell stdout from stderr."""
    isolates_addresses = False
    """Whether an instance's address is of a private network, which other projects cannot reach."""
    one_by_one = True
    """Whether instances of one revision can be changed one by one, and not only together."""

    def takes(self, *features: Feature) -> None:
        """Skip a test that takes what the engine cannot do."""
        if lacking := sorted(set(features) - self.features):
            pytest.skip(f"{self.engine.name} cannot do {', '.join(lacking)}")

    def prepare(self, kind: Kind) -> None:
        """Get ready for instances of a kind."""

    async def kill(self, instance: Instance) -> None:
        """Let its process die of SIGKILL."""
        raise NotImplementedError

    async def vanish(self, instance: Instance) -> None:
        """Remove it behind Naru's back."""
        raise NotImplementedError

    async def sicken(self, instance: Instance) -> None:
        """Let its checks fail from now on."""
        raise NotImplementedError

    async def meddle(self, instance: Instance) -> str:
        """Change its shape behind Naru's back, and say what its drift must name."""
        raise NotImplementedError

    async def go_away(self) -> None:
        """Let the engine stop answering."""
        raise NotImplementedError


_SAY = "echo one; echo two >&2; exec "
_PAGE = Workload(
    app="app",
    image="naru-test/busybox:1",
    port=8080,
    replicas=1,
    command=("/bin/sh", "-c", _SAY + " ".join(SERVE)),
    health=QUICK,
    stop_grace=0,
)
_WORKLOADS = {
    Kind.SERVES: _PAGE,
    Kind.SICK: replace(_PAGE, command=("/bin/sh", "-c", "touch /tmp/sick; exec " + " ".join(SERVE))),
    Kind.DEAF: replace(_PAGE, port=8081, health=replace(QUICK, check=TcpCheck())),
    Kind.EXITS: replace(_PAGE, command=("/bin/sh", "-c", "echo going; exit 3"), restart=Restart.NEVER),
    Kind.HUNGRY: replace(
        _PAGE,
        # An engine may hear nothing of a process that is killed before it has begun to listen.
        command=("/bin/sh", "-c", "sleep 0.5; exec dd if=/dev/zero of=/dev/null bs=200M count=1"),
        resources=Resources(memory=16 << 20),
        restart=Restart.NEVER,
    ),
    Kind.IDLES: replace(
        _PAGE,
        kind=WorkloadKind.WORKER,
        port=0,
        health=Health(),
        command=("/bin/sh", "-c", "echo one; echo two >&2; exec sleep 1000"),
    ),
    Kind.ENDS: replace(
        _PAGE,
        kind=WorkloadKind.BATCH,
        port=0,
        health=Health(),
        command=("/bin/sh", "-c", "echo one; echo two >&2; exit 0"),
    ),
}
_BEHAVIOURS: dict[Kind, Behaviour] = {
    Kind.SERVES: Ready(),
    Kind.SICK: NeverReady("GET /cgi-bin/health on 10.0.0.1:8080 answered 500", after=0.1),
    Kind.DEAF: NeverReady("nothing listens on port 8081; the container listens on 8080", after=0.1),
    Kind.EXITS: Exits(3),
    Kind.HUNGRY: Exits(137, oom=True),
    Kind.IDLES: Ready(),
    Kind.ENDS: Exits(0),
}

SPEAK = ("/bin/sh", "-c", "echo out; echo err >&2; exit 3")
REPEAT = ("/bin/cat",)


class FakeLab(EngineLab):
    """The engine in memory."""

    pause = 0.001
    features = PLAIN | {Feature.RESTARTS, Feature.JOBS, Feature.SCHEDULES, Feature.VOLUME_COPIES}

    def __init__(self) -> None:
        super().__init__()
        self.engine: FakeEngine = FakeEngine()
        self.image = Image(
            _PAGE.image, "sha256:" + "a" * 64, "sha256:" + "b" * 64, Platform(), Origin.STORED, size=1000
        )
        self.engine.hold_image(self.image)
        self.engine.answers[SPEAK] = ExecResult(3, b"out\n", b"err\n")
        self.engine.answers[REPEAT] = ExecResult(0, b"spoken", b"")

    def prepare(self, kind: Kind) -> None:
        self.engine.behave(_BEHAVIOURS[kind])

    async def settled(self, count: int, what: Callable[[Instance], bool] = lambda one: one.ready) -> list[Instance]:
        seen = await super().settled(count, what)
        for one in seen:
            if not self.engine.log.lines[one.id]:
                self.engine.write(one.id, "one")
                self.engine.write(one.id, "two", stream="stderr")
        return seen

    async def kill(self, instance: Instance) -> None:
        self.engine.exit(instance.id, code=137)

    async def vanish(self, instance: Instance) -> None:
        self.engine.vanish(instance.id)

    async def sicken(self, instance: Instance) -> None:
        self.engine.sicken(instance.id)

    async def meddle(self, instance: Instance) -> str:
        self.engine.drift(instance.id, "its memory limit is 64 MiB, not unlimited")
        return "memory"

    async def go_away(self) -> None:
        self.engine.go_away()


class SocketLab(EngineLab):
    """A real engine behind its socket. The engine under test speaks through a forwarder that can be cut."""

    features = OF_DOCKERS

    def __init__(self, engine: DockerEngine, image: Image, docker: Docker, forwarder: "Forwarder") -> None:
        super().__init__()
        self.engine: DockerEngine = engine
        self.image = image
        self.docker = docker
        self.forwarder = forwarder
        self.docker_itself = engine.name == "docker"
        self.isolates_addresses = self.docker_itself
        if not self.docker_itself:
            self.features = self.features - {Feature.PROJECT_NETWORKS}
        self.tells_out_of_memory = self.docker_itself  # Podman 4.3 does not on cgroup v1

    async def kill(self, instance: Instance) -> None:
        seen = await self.docker.containers.container(instance.id).show()
        os.kill(seen["State"]["Pid"], signal.SIGKILL)

    async def vanish(self, instance: Instance) -> None:
        await self.docker.containers.container(instance.id).delete(force=True)

    async def sicken(self, instance: Instance) -> None:
        await self.engine.execute(instance.id, ("/bin/touch", "/tmp/sick"))

    async def meddle(self, instance: Instance) -> str:
        if not self.docker_itself:
            await self.docker.containers.container(instance.id).rename(f"{instance.app}-renamed")
            return "renamed"
        limits = {"Memory": 64 << 20, "MemorySwap": 64 << 20}
        async with self.docker._query(f"containers/{instance.id}/update", "POST", data=json.dumps(limits)):
            return "memory"

    async def go_away(self) -> None:
        await self.forwarder.cut()


class Forwarder:
    """Passes bytes between a socket of its own and another, until it is cut."""

    def __init__(self, path: Path, target: Path) -> None:
        self.path = path
        self._target = target
        self._pipes: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        self._server = await self._listen()

    async def cut(self) -> None:
        if self._server:
            self._server.close()
            self._server = None
        for pipe in self._pipes:
            pipe.cancel()
        await asyncio.gather(*self._pipes, return_exceptions=True)

    async def _listen(self) -> asyncio.Server:
        self.path.unlink(missing_ok=True)
        return await asyncio.start_unix_server(self._accept, self.path)

    async def _reach(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_unix_connection(self._target)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        pipe = asyncio.create_task(self._join(reader, writer))
        self._pipes.add(pipe)
        pipe.add_done_callback(self._pipes.discard)
        pipe.add_done_callback(lambda _: writer.close())  # also of a pipe that was cut before it began

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await self._reach()
        try:
            await asyncio.gather(_pass(reader, back), _pass(there, writer))
        except OSError:
            pass
        finally:
            back.close()


async def _pass(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    while chunk := await source.read(1 << 16):
        sink.write(chunk)
        await sink.drain()
    sink.write_eof()


@asynccontextmanager
async def socket_lab(url: str, image: Image, archive: Path, name: str = "docker") -> AsyncIterator[SocketLab]:
    """Open a lab on the engine at a socket's URL; afterwards nothing of its apps is left."""
    with TemporaryDirectory(prefix="naru-lab-") as home:
        forwarder = Forwarder(Path(home, "engine.sock"), Path(url.removeprefix("unix://")))
        await forwarder.open()
        async with (
            Docker(url) as docker,
            asyncio.TaskGroup() as tasks,
            open_docker(f"unix://{forwarder.path}", tasks, name=name) as engine,
        ):
            lab = SocketLab(engine, image, docker, forwarder)
            await everything(engine.fetch(image, archive=archive))
            try:
                yield lab
            finally:
                await forwarder.cut()
                await forwarder.open()
                for app in lab.apps:
                    await engine.remove(app, volumes=True)
                await forwarder.cut()


async def first(stream: AsyncIterator[T], within: float = PATIENCE) -> T:
    """Return the first thing that a stream yields, and close it."""
    async with asyncio.timeout(within), aclosing(stream) as open_stream:  # type: ignore[type-var]
        return await anext(open_stream)


async def everything(stream: AsyncIterator[T], within: float = PATIENCE) -> list[T]:
    """Read a stream to its end."""
    async with asyncio.timeout(within):
        return [one async for one in stream]
