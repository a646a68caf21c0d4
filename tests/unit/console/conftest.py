"""The console over a real platform: a store in a file, the engine and the front door in memory, nobody's sockets."""

import asyncio
import re
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path

import httpx
import pytest
from cryptography.fernet import Fernet
from starlette.applications import Starlette
from tests.contract.fake_door import FakeDoor
from tests.contract.fake_engine import FakeEngine

from naru import console
from naru.control.accounts import ADMIN, SESSION_COOKIE
from naru.control.bulletin import Bulletin
from naru.control.comparisons import Bench
from naru.control.deploy import Pipeline
from naru.control.nodes import Nodes
from naru.control.platform import Platform
from naru.control.resolve import Resolver
from naru.control.worlds import Configured, Worlds
from naru.domain.account import Subject
from naru.domain.app import Endpoint
from naru.domain.errors import Invalid
from naru.domain.image import Image, Origin
from naru.domain.image import Platform as ImagePlatform
from naru.domain.proof import Answer, ProbeRequest
from naru.domain.rollout import Rollout
from naru.domain.workload import Workload
from naru.gate.decide import Policy
from naru.gate.gate import Gate
from naru.oci.layout import ImageStore
from naru.oci.reference import Reference
from naru.store import open_store

HOST = "console.test"
ADMIN_SUBJECT = Subject(ADMIN)


class Echo:
    """A prober that answers what the test says, without a network."""

    def __init__(self) -> None:
        self.answer = Answer(200, (("content-type", "text/plain"),), "hello", 5, 0.012)
        self.sent: list[ProbeRequest] = []

    async def send(self, endpoint: Endpoint, request: ProbeRequest) -> Answer:
        self.sent.append(request)
        return self.answer


@dataclass
class Stage:
    """A platform at work, and the levers of its fakes."""

    platform: Platform
    engine: FakeEngine
    prober: Echo

    async def deploy(self, app: str = "shop", image: str = "shop:1", **how: object) -> Rollout:
        """Deploy and wait for the end."""
        self.build(image)
        workload = replace(Workload(app=app, image=image, port=80, replicas=2), **how)
        return await self.end_of(await self.platform.apps.deploy(workload, subject=ADMIN_SUBJECT))

    async def end_of(self, rollout: Rollout) -> Rollout:
        async with asyncio.timeout(20):
            async for seen in self.platform.apps.follow(rollout.id):
                if seen.state.ended:
                    return seen
        raise AssertionError(f"{rollout.id} was lost sight of")

    def build(self, image: str) -> None:
        """Let the engine have an image of its own under this name."""
        reference = str(Reference.parse(image))
        digest = f"sha256:{abs(hash(reference)):064x}"
        built = Image(reference, digest, digest, ImagePlatform(), Origin.ENGINE, 1000)
        self.engine.own_images[reference] = built
        self.engine.hold_image(built)


@asynccontextmanager
async def open_fake(url: str, tasks: asyncio.TaskGroup, *, name: str, site: str) -> AsyncIterator[FakeEngine]:
    """Open any engine there is: fake://NAME; one that ends in `away` does not answer."""
    if not url.startswith("fake:"):
        raise Invalid(f"no engine is reached by {url}", "use fake:…")
    engine = FakeEngine(name, site=site)
    if url.endswith("away"):
        engine.go_away()
    yield engine


def _now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture
def bench() -> Bench | None:
    """With what studies are made; a test that compares targets says it."""
    return None


@pytest.fixture
async def stage(tmp_path: Path, bench: Bench | None) -> AsyncIterator[Stage]:
    async with open_store(f"sqlite:///{tmp_path / 'naru.db'}", Fernet.generate_key()) as store:
        engine, prober, bulletin = FakeEngine(), Echo(), Bulletin()
        images = ImageStore(tmp_path / "images")
        worlds = Worlds(store.targets, open_fake, bulletin, _now, Configured(engine, "fake://fake", "home"))
        pipeline = Pipeline(
            store=store,
            images=images,
            resolver=Resolver(images, None, store.registries.get),
            gate=Gate(Policy(("*",))),
            worlds=worlds,
            door=FakeDoor(),
            prober=prober,
            bulletin=bulletin,
            nodes=Nodes(store, worlds, bulletin, _now),
        )
        platform = Platform(pipeline, bulletin, _now, owner="test", free_port=_first_free, bench=bench)
        await platform.prepare()
        working = asyncio.create_task(platform.keep())
        yield Stage(platform, engine, prober)
        working.cancel()
        await asyncio.wait([working])


@pytest.fixture
def site(stage: Stage) -> Starlette:
    return Starlette(routes=console.routes(stage.platform))


@pytest.fixture
async def guest(site: Starlette) -> AsyncIterator[httpx.AsyncClient]:
    """Somebody who is not signed in."""
    transport = httpx.ASGITransport(site)
    async with httpx.AsyncClient(transport=transport, base_url=f"http://{HOST}") as client:
        yield client


class Browser:
    """Somebody who is signed in and sends forms as a browser does: with the token of the page."""

    def __init__(self, client: httpx.AsyncClient, csrf: str) -> None:
        self.client = client
        self.csrf = csrf

    async def get(self, path: str, **headers: str) -> httpx.Response:
        return await self.client.get(path, headers=headers)

    async def post(self, path: str, form: dict[str, object] | None = None, **headers: str) -> httpx.Response:
        sent = {"csrf": self.csrf, **(form or {})}
        return await self.client.post(path, data=sent, headers={"Sec-Fetch-Site": "same-origin", **headers})


@pytest.fixture
async def browser(guest: httpx.AsyncClient, stage: Stage) -> Browser:
    session = await stage.platform.accounts.sign_in_by_link(await stage.platform.accounts.login_link())
    guest.cookies.set(SESSION_COOKIE, session, domain=HOST)
    return Browser(guest, stage.platform.accounts.csrf_token(session))


class Outline(HTMLParser):
    """What a page would run or style by itself, and which of its fields have no name for those who cannot see it."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.inline: list[str] = []
        self.tags: list[str] = []
        self.unnamed: list[str] = []
        self._labels = 0
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        named = dict(attrs)
        self._labels += tag == "label"
        field = tag in ("select", "textarea") or (tag == "input" and named.get("type") != "hidden")
        if field and "hidden" not in named and not self._labels and "aria-label" not in named:
            self.unnamed.append(f"{tag} {named.get('name')}")
        if tag == "style" or (tag == "script" and "src" not in named):
            self.inline.append(tag)
        self.inline += [name for name in named if name == "style" or name.startswith("on")]
        self.inline += [
            name for name in ("href", "src", "action") if (named.get(name) or "").lower().startswith("javascript:")
        ]
        self.inline += [name for name in named if name.startswith("hx-") and (named[name] or "").startswith("js:")]

    def handle_endtag(self, tag: str) -> None:
        self._labels -= tag == "label"


def words(page: str) -> str:
    """The text of a page, on one line."""
    return " ".join(re.sub(r"<[^>]+>", " ", page).split())


def _first_free(taken: Iterable[int]) -> int:
    return next(port for port in range(20000, 21000) if port not in set(taken))
