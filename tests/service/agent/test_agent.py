"""The agent as a process under a real containerd: lazy images, SIGKILL, restarts."""

import asyncio
import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from tests import cri
from tests.agents import Running, agent, shared
from tests.containerds import KUBERNETES, Containerd, Pods, containerd
from tests.layered import base, layer, push

from naru.agent.exchange.pieces import Pieces
from naru.agent.objects import ObjectStore
from naru.agent.profile import Profile

pytestmark = [
    pytest.mark.needs("containerd", "runc", "docker-registry", "busybox"),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can run containers"),
]


@dataclass
class Rig:
    engine: Containerd
    agent: Running
    registry: str
    home: Path

    def pull(self, reference: str) -> None:
        cri.pull(self.engine.socket, reference)

    def restart(self) -> None:
        """Start the agent again, and wait until containerd, which tries it every few seconds, has found it."""
        self.agent.start()
        words = ("snapshots", "--snapshotter=naru", "prepare", f"probe-{time.monotonic()}")
        deadline = time.monotonic() + 20
        while not self.engine.ctr(*words, check=False).startswith("mount") and time.monotonic() < deadline:
            time.sleep(0.1)

    def run(self, reference: str, *command: str) -> str:
        words = ("run", "--rm", "--snapshotter=naru", "--net-host", reference, "one", *command)
        return self.engine.ctr(*words, namespace=KUBERNETES)

    def content(self) -> set[str]:
        return set(self.engine.ctr("content", "ls", "--quiet", namespace=KUBERNETES).split())


@pytest.fixture
async def rig(open_registry: str) -> Iterator[Rig]:
    with ExitStack() as stack:
        name = stack.enter_context(TemporaryDirectory(prefix="na-", ignore_cleanup_errors=True))
        home = Path(name)
        stack.enter_context(shared(home))
        pods = Pods("naru", f"{open_registry}/pause:1", open_registry)
        await push(home / "store", pods.pause, [base()], "/bin/sleep", "1000")
        with (
            agent(home / "agent", NARU_AGENT_PATIENCE="20") as running,
            containerd(home / "engine", snapshotters={"naru": running.snapshotter}, pods=pods) as engine,
        ):
            yield Rig(engine, running, open_registry, home)


async def test_a_pod_runs_on_files_that_the_agent_brings(rig: Rig):
    reference = f"{rig.registry}/shop:1"
    layers = [base(), layer({"a": b"1", "b": b"2"}), layer({"a": b"three", ".wh.b": b""})]
    image = await push(rig.home / "store", reference, layers)

    rig.pull(reference)
    container = cri.start_pod(rig.engine.socket, rig.home, reference, "/bin/sleep", "1000")

    said = cri.execute(rig.engine.socket, container, "/bin/sh", "-c", "cat /a; ls /; echo x > /a; cat /a")
    assert said.stdout.startswith("three"), said.stderr
    assert "\nb\n" not in said.stdout
    assert said.stdout.endswith("x\n")
    manifest, config = image.digest, image.config_digest
    assert {manifest, config} <= rig.content()
    assert len(rig.content()) == 4  # the manifest and the configuration of this image and of the sandbox's
    told = rig.agent.asked.status()
    assert {one.digest: one.holders for one in told.images}[image.digest] == ("snapshotter",)


async def test_a_container_outlives_an_agent_that_is_killed(rig: Rig):
    reference = f"{rig.registry}/lasting:1"
    await push(rig.home / "store", reference, [base(), layer({"late": b"read after the kill"})])
    rig.pull(reference)
    container = cri.start_pod(rig.engine.socket, rig.home, reference, "/bin/sleep", "1000")

    rig.agent.kill()
    written = cri.execute(rig.engine.socket, container, "/bin/sh", "-c", "echo here > /mine; cat /mine")
    rig.restart()

    assert written.stdout == "here\n"
    assert cri.execute(rig.engine.socket, container, "/bin/cat", "/late").stdout == "read after the kill"
    assert rig.run(reference, "/bin/cat", "/late") == "read after the kill"


async def test_an_image_of_which_there_is_no_index_is_unpacked_as_ever(rig: Rig):
    rig.agent.stop()
    rig.agent.settings = {**rig.agent.settings, "NARU_AGENT_ORIGIN": "no"}
    rig.restart()
    reference = f"{rig.registry}/plain:1"
    layers = [base(), layer({"a": b"plain"})]
    await push(rig.home / "store", reference, layers)

    rig.pull(reference)

    assert rig.run(reference, "/bin/cat", "/a") == "plain"
    assert rig.agent.asked.status().images == ()


async def test_what_a_start_touches_becomes_the_profile_of_its_image(rig: Rig):
    rig.agent.stop()
    rig.agent.settings = {**rig.agent.settings, "NARU_AGENT_RECORD": "0.5"}
    rig.restart()
    reference = f"{rig.registry}/profiled:1"
    image = await push(rig.home / "store", reference, [base(), layer({"touched": b"1", "never": b"2"})])
    rig.pull(reference)

    assert rig.run(reference, "/bin/sh", "-c", "cat /touched; sleep 1") == "1"

    profile = rig.home / "agent/state/profiles" / image.digest.removeprefix("sha256:")
    index = ObjectStore(rig.home / "agent/state/store").index(image.digest)
    deadline = time.monotonic() + 10
    while not profile.exists():
        assert time.monotonic() < deadline, rig.agent.log()
        await asyncio.sleep(0.05)
    pieces = Pieces(index)
    touched = [pieces.piece(n).object.digest for n in Profile.decode(profile.read_bytes(), index).pieces(index)]
    assert hashlib.sha256(b"1").digest() in touched
    assert hashlib.sha256(b"2").digest() not in touched


async def test_images_are_adopted_prefetched_read_again_and_freed_by_commands(rig: Rig):
    reference = f"{rig.registry}/early:1"
    image = await push(rig.home / "store", reference, [base(), layer({"a": b"early"})])

    root = rig.home / "unpacked"
    root.mkdir()
    (root / "a").write_bytes(b"early")
    assert "1 files were here already" not in rig.agent.command("adopt", reference, str(root))  # derived, so complete
    prefetched = rig.agent.asked.prefetch(reference)

    assert prefetched.fetched == 0
    (told,) = (one for one in rig.agent.asked.status().images if one.digest == image.digest)
    assert (told.present, told.reference) == (told.objects, reference)
    assert image.digest[:19] in rig.agent.command("status")
    assert "0 had rotted" in rig.agent.command("gc", "--scrub")
    assert rig.agent.asked.status().store.objects == 0
