"""A whole platform on a fake engine, a fake front door and a real store, which can be killed and started again."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

from cryptography.fernet import Fernet
from tests.contract.fake_door import FakeDoor
from tests.contract.fake_engine import FakeEngine

from naru.control.bulletin import Bulletin
from naru.control.deploy import Pipeline
from naru.control.nodes import Nodes
from naru.control.platform import Platform
from naru.control.prove import judge
from naru.control.resolve import Resolver
from naru.control.worlds import Configured, Worlds
from naru.domain.account import Subject
from naru.domain.app import AppState, Endpoint
from naru.domain.errors import Invalid, NotFound, Unavailable
from naru.domain.image import Image, Origin
from naru.domain.image import Platform as Machine
from naru.domain.proof import Answer, ProbeRequest, ProofPolicy
from naru.domain.release import ReleaseState
from naru.domain.rollout import Rollout, RolloutState, StepName, StepState
from naru.domain.workload import Address, Workload
from naru.gate.decide import Policy
from naru.gate.gate import Gate
from naru.oci.layout import ImageStore
from naru.oci.reference import Reference
from naru.store import open_store

ME = Subject("admin", "tests")
KEY = Fernet.generate_key()
PATIENCE = 20.0
PROOF = ProofPolicy(count=3, interval=0.005, steady=0.05)


class Killed(BaseException):
    """The process is dead from here on."""


class Clock:
    """The real time, moved on by the test."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead

    def advance(self, seconds: float) -> None:
        self.ahead += timedelta(seconds=seconds)


def image(name: str, digit: str = "") -> Image:
    """Make an image of a registry: other names have other digests."""
    reference = Reference.parse(name)
    digest = f"{sum(map(ord, name + digit)):x}".rjust(64, digit or "0")
    return Image(str(reference), f"sha256:{digest}", f"sha256:{digest[::-1]}", Machine(), Origin.REGISTRY, 1000)


class FakeRegistry:
    """Resolves the images that it was given."""

    def __init__(self) -> None:
        self.images: dict[str, Image] = {}
        self.logins: list[object] = []

    def push(self, name: str, digit: str = "") -> Image:
        """Offer an image; with another digit the tag moves."""
        made = image(name, digit)
        self.images[made.reference] = made
        return made

    async def resolve(self, reference: Reference, platform: Machine, login: object = None) -> Image:
        await asyncio.sleep(0)
        self.logins.append(login)
        if found := self.images.get(str(reference)):
            return found
        raise NotFound(f"the registry has no {reference.familiar}", "check the name and the tag")


class FakeProber:
    """Asks the fake door. `ill` says which status the instances of an image answer with."""

    def __init__(self, engines: Callable[[], Collection[FakeEngine]], door: FakeDoor) -> None:
        self._engines = engines
        self._door = door
        self.ill: dict[str, int] = {}
        self.ill_at: dict[str, int] = {}
        """Which status those on an engine answer with."""
        self.statuses: list[int] = []

    async def send(self, endpoint: Endpoint, request: ProbeRequest) -> Answer:
        url = urlsplit(endpoint.url)
        address = Address(port=url.port) if url.port else Address(host=url.hostname or "")
        reply = await self._door.request(address)
        status, body = reply.status, reply.body
        if reply.upstream:
            status = self._status(reply.upstream)
        self.statuses.append(status)
        return judge(request, Answer(status, (), body, len(body), 0.001))

    def _status(self, upstream: str) -> int:
        for engine in self._engines():
            for one in engine.instances():
                if one.address == upstream:
                    return self.ill_at.get(engine.name) or self.ill.get(engine.releases[one.id].image.reference, 200)
        return 502


class Mortal:
    """Stands before an object and counts its calls on the fuse; a dead process calls nothing any more."""

    def __init__(self, inner: object, fuse: "Fuse", name: str) -> None:
        self._inner = inner
        self._fuse = fuse
        self._name = name

    def __getattr__(self, name: str) -> object:
        found = getattr(self._inner, name)
        return self._fuse.guard(found, f"{self._name}.{name}") if callable(found) else found


DEEDS = frozenset(
    {
        *("engine.apply", "engine.fetch", "engine.remove", "engine.unpack", "door.apply", "door.drain", "door.remove"),
        *("rollouts.claim", "rollouts.save", "rollouts.put_steps", "rollouts.release_lease", "journal.append"),
        *("releases.add", "releases.go_live", "releases.set_state", "releases.set_verdict", "apps.update"),
    }
)
"""The calls that change something: to die before any other is to die before the next of these."""


class Fuse:
    """Kills the process at the deed number `at`, counted from 1 over all that the fuse guards."""

    def __init__(self) -> None:
        self.at = 0
        self.calls: list[str] = []
        self.dead = False
        self.full = False
        """Whether the disk is full, so that the store keeps nothing any more."""
        self.burnt = asyncio.Event()

    def light(self, at: int) -> None:
        self.at, self.calls = at, []

    def guard(self, call: Callable[..., object], name: str) -> Callable[..., object]:
        def counted(*args: object, **more: object) -> object:
            if self.dead:
                raise Killed
            if name not in DEEDS:
                return call(*args, **more)
            if self.full and not name.startswith(("engine.", "door.")):
                raise Unavailable("the disk is full, so nothing can be stored", "free some space")
            self.calls.append(name)
            if self.at and len(self.calls) >= self.at:
                self.dead = True
                self.burnt.set()
                if name == "engine.apply":
                    return self._half(call, *args, **more)
                raise Killed
            return call(*args, **more)

        return counted

    async def _half(self, call: Callable[..., Awaitable[object]], release: object, replicas: int, **more: object):
        """Die in the middle of the work: one instance fewer is made than was asked for."""
        await call(release, max(0, replicas - 1), **more)
        raise Killed


@dataclass
class Site:
    """The outside world, which outlives the platform."""

    store: object
    images: ImageStore
    clock: Clock = field(default_factory=Clock)
    registry: FakeRegistry = field(default_factory=FakeRegistry)
    policy: Policy = field(default_factory=lambda: Policy(("*",)))
    fuse: Fuse = field(default_factory=Fuse)

    def __post_init__(self) -> None:
        self.engine = FakeEngine(clock=self.clock)
        self.engines = {"fake": self.engine}
        """Every engine there is, by name; each but the first is reached at fake://NAME."""
        self.door = FakeDoor()
        self.prober = FakeProber(self.engines.values, self.door)
        self.platform: Platform = None  # type: ignore[assignment]
        self._keeping: asyncio.Task[None] | None = None
        for name in ("shop:1", "shop:2", "shop:3"):
            self.registry.push(name)

    # --- the process ------------------------------------------------------------------------------------------

    def build(self, owner: str = "test") -> Platform:
        """Wire a platform as naru.main does."""
        self.fuse = Fuse()
        door = Mortal(self.door, self.fuse, "door")
        names = [f for f in type(self.store).__dataclass_fields__ if f not in ("accounts", "sessions", "tokens")]
        store = replace(self.store, **{name: Mortal(getattr(self.store, name), self.fuse, name) for name in names})
        bulletin = Bulletin()
        configured = Configured(Mortal(self.engine, self.fuse, "engine"), "fake://fake", "home")
        worlds = Worlds(store.targets, self._open, bulletin, self.clock, configured)
        pipeline = Pipeline(
            store=store,
            images=self.images,
            resolver=Resolver(self.images, self.registry, self.store.registries.get),
            gate=Gate(self.policy),
            worlds=worlds,
            door=door,
            prober=self.prober,
            bulletin=bulletin,
            nodes=Nodes(store, worlds, bulletin, self.clock),
        )
        return Platform(
            pipeline,
            bulletin,
            self.clock,
            owner=owner,
            free_port=lambda taken: next(p for p in range(20000, 21000) if p not in set(taken)),
        )

    def engine_at(self, name: str) -> FakeEngine:
        """Bring an engine up; it is a target once it is added."""
        self.engines[name] = FakeEngine(name, clock=self.clock, site=name, network=10 + len(self.engines))
        return self.engines[name]

    async def target(self, name: str) -> FakeEngine:
        """Bring an engine up and add it as a target."""
        engine = self.engine_at(name)
        await self.platform.fleet.add(name, f"fake://{name}", subject=ME)
        return engine

    @asynccontextmanager
    async def _open(self, url: str, tasks: asyncio.TaskGroup, *, name: str, site: str) -> AsyncIterator[FakeEngine]:
        """Open an engine as naru.engines.catalogue does."""
        parts = urlsplit(url)
        if parts.scheme != "fake":
            raise Invalid(f"no engine is reached by {parts.scheme}:…", "use fake:…")
        if parts.hostname not in self.engines:
            raise Invalid(f"there is no {parts.hostname}", "bring it up first")
        yield Mortal(self.engines[parts.hostname], self.fuse, "engine")

    async def start(self, owner: str = "test") -> None:
        """Start a server process."""
        self.platform = self.build(owner)
        await self.platform.prepare()
        self._keeping = asyncio.create_task(self.platform.keep())

    async def stop(self) -> None:
        """End the process: as SIGKILL once the fuse is burnt, else as SIGTERM."""
        keeping, self._keeping = self._keeping, None
        if keeping:
            keeping.cancel()
            await asyncio.wait([keeping])
            if not keeping.cancelled() and (error := keeping.exception()) and not self.fuse.dead:
                raise error

    async def kill(self) -> None:
        """End the process as SIGKILL does: whatever it would still like to do is not done."""
        self.fuse.dead = True
        await self.stop()

    # --- what operators do ------------------------------------------------------------------------------------

    @property
    def apps(self):
        return self.platform.apps

    async def deploy(self, name: str = "shop", image: str = "shop:1", replicas: int = 3, **more: object) -> Rollout:
        """Deploy and wait for the end."""
        return await self.end(await self.apps.deploy(workload(name, image, replicas, **more), subject=ME))

    async def end(self, rollout: Rollout) -> Rollout:
        """Wait for the end of a rollout."""
        seen = rollout
        async with asyncio.timeout(PATIENCE):
            async for now in self.apps.follow(rollout.id):
                seen = now
        return seen

    async def until_step(self, rollout: Rollout, name: StepName, state: StepState = StepState.RUNNING) -> Rollout:
        """Wait until a step of the rollout is in a state."""
        async with asyncio.timeout(PATIENCE):
            async for seen in self.apps.follow(rollout.id):
                if any(s.name is name and s.state is state for s in seen.steps):
                    return seen
        raise AssertionError(f"{name} never was {state}: {seen}")

    # --- what must hold ---------------------------------------------------------------------------------------

    async def until(self, holds: Callable[[], bool], what: str = "") -> None:
        """Wait until something holds."""
        try:
            async with asyncio.timeout(PATIENCE):
                while not holds():  # noqa: ASYNC110 - what is waited for is in the fakes, which tell nobody
                    await asyncio.sleep(0.005)
        except TimeoutError:
            raise AssertionError(what or "it never held") from None

    async def settled(self, name: str = "shop") -> None:
        """Wait until the app is exactly as its live release says, with nothing half-done and nothing left over."""
        problem = "not looked yet"
        for _ in range(int(PATIENCE / 0.01)):
            problem = await self._unsettled(name)
            if not problem:
                return
            await asyncio.sleep(0.01)
        raise AssertionError(problem)

    async def _unsettled(self, name: str) -> str:
        app = await self.store.apps.get(name, include_removed=True)
        rollouts = await self.store.rollouts.page(name, limit=100)
        releases = await self.store.releases.page(name, limit=100)
        instances, route = self.engines[app.target or "fake"].instances(name), self.door._routes.get(name)
        strays = [i for e in self.engines.values() if e.name != (app.target or "fake") for i in e.instances(name)]
        if unended := [r.id for r in rollouts if not r.state.ended]:
            return f"unended: {unended}"
        if running := [(r.id, s) for r in rollouts for s in r.steps if s.state is StepState.RUNNING]:
            return f"steps under way of ended rollouts: {running}"
        if pending := [r.number for r in releases if r.state is ReleaseState.PENDING]:
            return f"releases that are neither live nor failed: {pending}"
        if [r.number for r in releases if r.state is ReleaseState.LIVE] != ([app.live] if app.live else []):
            return f"live is {app.live} of {[(r.number, r.state) for r in releases]}"
        if strays:
            return f"instances on other targets: {strays}"
        if not app.live:
            return f"left over: {instances} {route}" if instances or route else ""
        live = next(r for r in releases if r.number == app.live)
        if app.state is not AppState.LIVE or app.address != live.workload.address or not app.target:
            return f"the app is not as its live release: {app}"
        if [(i.revision, i.sound) for i in instances] != [(live.revision, True)] * live.workload.count:
            return f"instances: {instances}"
        if not live.workload.served and (route or app.address.given):
            return f"a route of what is not served: {route}, {app}"
        upstreams = sorted(u.address for u in route.upstreams) if route else None
        if live.workload.served and upstreams != sorted(i.address for i in instances):
            return f"route: {route} for {instances}"
        done = next((r for r in rollouts if r.state is RolloutState.SUCCEEDED and not r.kind.takes_away), None)
        if done and done.release != app.live:
            return f"{done.id} succeeded with release {done.release}, but {app.live} is live"
        return ""


def workload(name: str = "shop", image: str = "shop:1", replicas: int = 3, **more: object) -> Workload:
    fields = {"port": 8080, "proof": PROOF, "stop_grace": 1.0, **more}
    return Workload(name, image, replicas=replicas, **fields)  # type: ignore[arg-type]


@asynccontextmanager
async def site(home: Path) -> AsyncIterator[Site]:
    """Open a site with a new store, and stop what runs at the end."""
    async with open_store(f"sqlite:///{home / 'naru.db'}", KEY) as store:
        made = Site(store, ImageStore(home / "images"))
        try:
            yield made
        finally:
            await made.stop()
