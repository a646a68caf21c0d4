"""Puts the rooms together: this file alone knows which store, engine and front door there are."""

import asyncio
import contextlib
import fcntl
import hashlib
import logging
import os
import socket
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from cryptography.fernet import Fernet
from starlette.applications import Starlette
from starlette.routing import Mount

from naru import console
from naru.api.application import PREFIX, api
from naru.config import Settings
from naru.control.accounts import ADMIN
from naru.control.bulletin import Bulletin
from naru.control.comparisons import Bench
from naru.control.deploy import Pipeline
from naru.control.nodes import Nodes
from naru.control.platform import Platform
from naru.control.prove import Prober
from naru.control.resolve import Resolver
from naru.control.worlds import Configured, Worlds
from naru.domain.account import Subject
from naru.domain.errors import Conflict, Invalid, SignInRequired, Unavailable
from naru.engines.catalogue import open_engine
from naru.engines.guard import Guarded
from naru.gate.decide import Policy
from naru.gate.gate import Gate
from naru.main.sockets import candidates, find_engine
from naru.oci.exchange import Exchange
from naru.oci.layout import ImageStore
from naru.oci.registry import RegistryClient
from naru.routing import ports
from naru.routing.base import Door
from naru.routing.caddy.door import CaddyDoor
from naru.routing.caddy.settings import CaddySettings
from naru.store import Store, open_store

LOCAL_TOKEN = "this machine"  # noqa: S105 - the name of a token
TOKEN_FILE = "cli-token"  # noqa: S105 - the name of a file

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class House:
    """A platform with the parts that have to be started and stopped."""

    platform: Platform
    door: CaddyDoor
    images: ImageStore
    application: Starlette


@asynccontextmanager
async def house(settings: Settings, tasks: asyncio.TaskGroup) -> AsyncIterator[House]:
    """Open everything that `settings` names, at work until the end; raises errors that name cause and mend."""
    async with AsyncExitStack() as stack:
        _own(settings.state, stack)
        key = _key(settings.state / "key")
        store = await stack.enter_async_context(open_store(settings.database, key))
        bulletin = Bulletin()
        worlds = await _worlds(settings, store, _owner(key), bulletin, tasks, stack)
        door = CaddyDoor(_door_settings(settings))
        await door.open()
        stack.push_async_callback(door.close)
        prober = Prober(root=lambda: door.root_certificate)
        stack.push_async_callback(prober.close)
        registry = RegistryClient(Exchange(insecure=settings.insecure_registries))
        stack.push_async_callback(registry.close)
        images = ImageStore(settings.state / "images")
        await images.collect()
        pipeline = Pipeline(
            store=store,
            images=images,
            resolver=Resolver(images, registry, store.registries.get),
            gate=Gate(Policy(settings.registries)),
            worlds=worlds,
            door=door,
            prober=prober,
            bulletin=bulletin,
            nodes=Nodes(store, worlds, bulletin, _clock),
        )

        def free_port(taken: Iterable[int]) -> int:
            used = set(taken)
            return ports.free(port for port in settings.app_ports if port not in used)

        study_port = _study_ports()
        student = _owner(key, b"study")
        bench = Bench(
            student, partial(open_engine, owner=student), partial(_study_door, settings, study_port), study_port
        )
        platform = Platform(pipeline, bulletin, _clock, owner=_name(settings), free_port=free_port, bench=bench)
        await platform.prepare()
        await _keep_local_token(platform, settings.state / TOKEN_FILE)
        for work in (platform.keep(), door.keep()):
            stack.callback(tasks.create_task(work).cancel)
        yield House(platform, door, images, _application(platform))


async def _worlds(
    settings: Settings, store: Store, owner: str, bulletin: Bulletin, tasks: asyncio.TaskGroup, stack: AsyncExitStack
) -> Worlds:
    """Open the configured target, or the one of this machine; without either, those that were added must do."""
    opener = partial(open_engine, owner=owner)
    try:
        url = settings.engine or await find_engine(candidates())
    except Unavailable as error:
        if not await store.targets.all():
            raise
        log.warning("%s; going on with the targets that were added", error.cause)
        return Worlds(store.targets, opener, bulletin, _clock)
    engine = await stack.enter_async_context(opener(url, tasks, site=settings.site))
    configured = Configured(Guarded(engine), url, settings.site)
    return Worlds(store.targets, opener, bulletin, _clock, configured)


@asynccontextmanager
async def _study_door(settings: Settings, port: Callable[[], int]) -> AsyncIterator[Door]:
    """Open a front door for studies alone, and stop it at the end."""
    door = CaddyDoor(
        CaddySettings(settings.state / "study", http_port=port(), https_port=port(), interface="127.0.0.1")
    )
    await door.open()
    try:
        yield door
    finally:
        await door.stop()
        await door.close()


def _study_ports() -> Callable[[], int]:
    """Return what names a port that is free now and was not named before: not all are listened on at once."""
    named = set[int]()

    def port() -> int:
        while True:
            with socket.create_server(("127.0.0.1", 0)) as probe:
                found = int(probe.getsockname()[1])
            if found not in named:
                named.add(found)
                return found

    return port


def _clock() -> datetime:
    return datetime.now(UTC)


def _application(platform: Platform) -> Starlette:
    return Starlette(routes=[Mount(PREFIX, api(platform)), *console.routes(platform)])


def _door_settings(settings: Settings) -> CaddySettings:
    return CaddySettings(
        state=settings.state / "door",
        http_port=settings.http_port,
        https_port=settings.https_port,
        machine=settings.machine,
        acme_directory=settings.acme_directory,
        acme_email=settings.acme_email,
    )


def _own(state: Path, stack: AsyncExitStack) -> None:
    """Take the state directory for this process alone, until the end."""
    try:
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = stack.enter_context((state / "lock").open("w"))
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise Conflict(
            f"another Naru server uses {state}", "stop it, or name another directory with NARU_STATE"
        ) from error
    except OSError as error:
        raise Unavailable(
            f"{state} cannot be used: {error.strerror}", "name another directory with NARU_STATE"
        ) from error


def _key(path: Path) -> bytes:
    """Return the key that encrypts secrets at rest, made on first use and readable by its owner alone."""
    try:
        key = path.read_bytes().strip()
    except FileNotFoundError:
        key = Fernet.generate_key()
        _write_private(path, key)
    if len(key) != 44:
        raise Invalid(f"{path} holds no key", "bring it back from a backup; without it stored secrets are lost")
    return key


def _owner(key: bytes, what: bytes = b"owner") -> str:
    """Name this installation on the engines that it shares with others: whoever has its key is it."""
    return hashlib.sha256(what + key).hexdigest()[:12]


def _write_private(path: Path, content: bytes) -> None:
    draft = path.with_suffix(".draft")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


async def _keep_local_token(platform: Platform, path: Path) -> None:
    """Give the command line of this machine's user a token of its own.

    One that still works is kept, so that a rollout is followed and events are read through a restart.
    """
    with contextlib.suppress(OSError, SignInRequired):
        await platform.accounts.who_bears(_kept(path))
        return
    admin = Subject(ADMIN)
    for token in await platform.accounts.tokens():
        if token.name == LOCAL_TOKEN:
            await platform.accounts.revoke_token(token.id, subject=admin)
    _, value = await platform.accounts.create_token(LOCAL_TOKEN, subject=admin)
    _write_private(path, value.encode())


def _kept(path: Path) -> str:
    return path.read_text("ascii").strip()


def _name(settings: Settings) -> str:
    """Name this process in leases: the lock on the state directory makes the name its own."""
    return f"{socket.gethostname()}:{settings.state}"
