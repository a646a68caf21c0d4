"""What running containers see when the agent is killed, and what the next agent makes good."""

import asyncio
import errno
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.service.agent import root_server
from tests.service.agent.lazy_roots import content_of, digest_of, index_of, until

from naru.agent.index.index import CHUNK
from naru.agent.mount import keeper, keeping, kernel, support
from naru.agent.mount.server import BIG
from naru.agent.mount.support import Mode
from naru.agent.objects import ObjectStore

pytestmark = pytest.mark.needs("lazy roots")

FILES = {"first": b"first\n" * 1000, "second": b"second\n" * 1000, "third": b"third\n", "big": os.urandom(BIG + CHUNK)}


@dataclass
class Node:
    """A machine whose agent can be killed. The root file system of one image is mounted at `root`."""

    place: Path
    mode: Mode
    agents: list[Process] = field(default_factory=list)

    @property
    def root(self) -> Path:
        return self.place / "root"

    @property
    def remote(self) -> Path:
        return self.place / "roots" / "remote"

    async def start(self, *images: str) -> list[str]:
        places = (str(self.place / name) for name in ("store", "roots", "origin"))
        program = Path(root_server.__file__)
        agent = await asyncio.create_subprocess_exec(
            sys.executable, str(program), *places, self.mode, *images, stdout=PIPE
        )
        self.agents.append(agent)
        assert agent.stdout
        ready = await asyncio.wait_for(agent.stdout.readline(), 20)
        assert ready.startswith(b"ready")
        return ready.decode().split()[1:]

    async def kill(self) -> None:
        self.agents[-1].kill()
        await self.agents[-1].wait()

    def waiting(self) -> int:
        """How many requests to the FUSE tree have no answer yet."""
        device = next(line.split()[2] for line in mountinfo() if line.split()[4] == str(self.remote))
        return int((self.place / "connections" / device.removeprefix("0:") / "waiting").read_text())

    def arrive(self, name: str) -> None:
        content = FILES[name]
        new = self.place / "origin" / "new"
        new.write_bytes(content)
        new.rename(new.with_name(digest_of(content).hex()))


@pytest.fixture(params=[Mode.PASSTHROUGH, Mode.READS])
async def node(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Node]:
    if request.param not in (here := support.probe(tmp_path)).modes:
        pytest.skip(f"this kernel does not allow the mode {request.param}: {here}")
    node = Node(tmp_path, request.param)
    for name in ("root", "origin", "connections"):
        (tmp_path / name).mkdir()
    kernel.mount(kernel.Mount("fusectl", "fusectl"), tmp_path / "connections")
    index = index_of(FILES)
    store = ObjectStore(tmp_path / "store")
    store.save_index(index)
    store.close()
    try:
        await node.start(index.image)
        meta = tmp_path / "roots" / "meta" / index.image.removeprefix("sha256:")
        layers = kernel.overlay([meta], [tmp_path / "store" / "objects", node.remote])
        await asyncio.to_thread(kernel.mount, layers, node.root)
        yield node
    finally:
        for agent in node.agents:
            if agent.returncode is None:
                agent.kill()
                await agent.wait()
        await asyncio.to_thread(tear_down, tmp_path)


def mountinfo() -> list[str]:
    return Path("/proc/self/mountinfo").read_text().splitlines()


def tear_down(place: Path) -> None:
    for one in reversed(kernel.mounted()):
        if one.where.is_relative_to(place):
            kernel.unmount(one.where, detach=True)
    keeping.dismiss(place / "roots" / "keeper.sock")


async def test_a_reader_of_a_missing_file_waits_through_the_death_of_the_agent(node: Node):
    reading = asyncio.create_task(content_of(node.root / "first"))
    await until(node.waiting)

    await node.kill()
    late = asyncio.create_task(content_of(node.root / "second"))
    assert not reading.done()
    await node.start()
    node.arrive("first")
    node.arrive("second")

    assert await asyncio.wait_for(reading, 10) == FILES["first"]
    assert await asyncio.wait_for(late, 10) == FILES["second"]


async def test_what_was_fetched_is_read_while_no_agent_lives(node: Node):
    node.arrive("first")
    assert await content_of(node.root / "first") == FILES["first"]
    with await asyncio.to_thread((node.root / "first").open, "rb") as file:
        await node.kill()

        assert await asyncio.to_thread(file.read) == FILES["first"]


async def test_an_open_file_is_opened_again_after_the_agent_came_back(node: Node):
    node.arrive("first")
    with await asyncio.to_thread((node.root / "first").open, "rb") as file:
        await node.kill()
        await node.start()

        assert await content_of(node.root / "first") == FILES["first"]
        assert await asyncio.to_thread(file.read) == FILES["first"]
    assert await content_of(node.root / "first") == FILES["first"]


async def test_a_big_file_is_read_on_after_the_agent_came_back(node: Node):
    with await asyncio.to_thread((node.root / "big").open, "rb", 0) as file:
        await node.kill()
        reading = asyncio.create_task(asyncio.to_thread(file.readall))
        await node.start()
        node.arrive("big")

        assert await asyncio.wait_for(reading, 20) == FILES["big"]


async def test_agents_that_die_again_and_again_lose_no_reader(node: Node):
    readings = {name: asyncio.create_task(content_of(node.root / name)) for name in FILES if name != "big"}
    for name in readings:
        await node.kill()
        await node.start()
        node.arrive(name)

    for name, reading in readings.items():
        assert await asyncio.wait_for(reading, 10) == FILES[name]


async def test_a_killed_reader_dies_even_while_no_agent_lives(node: Node):
    await node.kill()
    reader = await asyncio.create_subprocess_exec("cat", node.root / "first", stdout=PIPE)
    await until(node.waiting)

    reader.kill()

    assert await asyncio.wait_for(reader.wait(), 5) == -signal.SIGKILL


async def test_a_reader_whom_the_dead_agent_had_heard_can_be_killed(node: Node):
    reader = await asyncio.create_subprocess_exec("cat", node.root / "first", stdout=PIPE)
    await until(node.waiting)
    node.arrive("second")
    await content_of(node.root / "second")  # requests are read in their order
    await node.kill()
    for _ in range(2):  # the keeper that answers twice has looked at everything that happened before
        for file in await asyncio.to_thread(keeping.recover, node.place / "roots" / "keeper.sock"):
            os.close(file)

    reader.kill()

    assert await asyncio.wait_for(reader.wait(), 5) == -signal.SIGKILL


async def test_the_image_is_known_to_the_agent_that_comes_back(node: Node):
    before = (node.place / "roots" / "meta").iterdir()
    await node.kill()

    assert {f"sha256:{place.stem}" for place in before} == set(await node.start())


async def test_after_a_reboot_nothing_of_the_last_boot_is_left(node: Node):
    await node.kill()
    await asyncio.to_thread(tear_down, node.place)

    assert await node.start() == []
    assert list((node.place / "roots" / "meta").iterdir()) == []
    assert list((node.place / "store" / "meta").iterdir()) == []


async def test_without_the_keeper_missing_files_fail_and_a_new_mount_heals_the_next_container(node: Node):
    keeping.dismiss(node.place / "roots" / "keeper.sock")
    await node.kill()
    with pytest.raises(OSError, match="onnect") as raised:
        await content_of(node.root / "first")
    assert raised.value.errno in (errno.ENOTCONN, errno.ECONNABORTED)

    await node.start()
    node.arrive("first")
    layers = next(kernel.lowers(one) for one in kernel.mounted() if one.where == node.root)
    second = node.place / "second"
    second.mkdir()
    await asyncio.to_thread(kernel.mount, kernel.overlay(layers[:1], layers[1:]), second)

    assert await content_of(second / "first") == FILES["first"]
    assert await content_of(node.root / "first") == FILES["first"]


def test_the_keeper_ends_when_the_mount_does(tmp_path: Path):
    device = os.open("/dev/fuse", os.O_RDWR)
    where, path = tmp_path / "remote", tmp_path / "keeper.sock"
    where.mkdir()
    kernel.mount(kernel.fuse(device), where)
    keeping.keep(path, [device]).close()
    os.close(device)
    (held,) = keeping.recover(path)
    os.close(held)

    kernel.unmount(where, detach=True)

    async def gone() -> None:
        await until(lambda: not path.exists())

    asyncio.run(gone())
    assert keeping.recover(path) == []


def test_the_keeper_needs_nothing_but_the_standard_library():
    assert "naru" not in Path(keeper.__file__).read_text().split('"""')[2]
