"""The snapshotter under a real containerd: its client, its CRI plugin, runc, and SIGKILL."""

import asyncio
import hashlib
import io
import os
import shutil
import tarfile
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import pytest_asyncio
from tests import cri
from tests.containerds import KUBERNETES, NAMESPACE, Containerd, Pods, containerd
from tests.layered import base, layer, push

from naru.agent.snapshotter.roots import Roots
from naru.agent.snapshotter.service import serving
from naru.agent.snapshotter.snapshotter import Snapshotter
from naru.agent.snapshotter.values import Claim, Lower

pytestmark = [
    pytest.mark.needs("containerd", "runc", "docker-registry", "busybox"),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can run containers"),
]


@dataclass
class Unpacked:
    """A node that holds whole root file systems as directories, by manifest digest and number of layers."""

    home: Path
    images: dict[str, list[bytes]] = field(default_factory=dict)
    given: list[Claim] = field(default_factory=list)
    released: list[Claim] = field(default_factory=list)

    async def offers(self, claim: Claim) -> bool:
        return claim.manifest in self.images

    async def lower(self, claim: Claim) -> Lower:
        self.given.append(claim)
        home = self.home / claim.chain.removeprefix("sha256:")
        if not home.exists():
            home.mkdir(parents=True)
            for content in self.images[claim.manifest][: claim.depth]:
                with tarfile.open(fileobj=io.BytesIO(content)) as tar:
                    tar.extraction_filter = lambda member, _: member  # extractall(filter=) is not in Python 3.11.2
                    tar.extractall(home)
        return Lower(str(home), str(home))

    async def used(self, claim: Claim, upper: Path) -> None:
        pass

    async def release(self, claim: Claim) -> None:
        self.released.append(claim)
        shutil.rmtree(self.home / claim.chain.removeprefix("sha256:"))


@dataclass
class Rig:
    engine: Containerd
    snapshotter: Snapshotter
    registry: str
    home: Path
    roots: Unpacked

    async def pull(self, reference: str) -> None:
        """Pull as a kubelet does."""
        await asyncio.to_thread(cri.pull, self.engine.socket, reference)

    async def run(self, reference: str, *command: str, namespace: str = KUBERNETES) -> str:
        """Run a container to its end; return its output."""
        words = ("run", "--rm", "--snapshotter=naru", "--net-host", reference, "one", *command)
        return await asyncio.to_thread(self.engine.ctr, *words, namespace=namespace)

    async def ctr(self, *words: str, namespace: str = KUBERNETES) -> str:
        return await asyncio.to_thread(self.engine.ctr, *words, namespace=namespace)


@pytest_asyncio.fixture
async def rig(open_registry: str) -> AsyncIterator[Rig]:
    with TemporaryDirectory(prefix="nc-", ignore_cleanup_errors=True) as name:
        home = Path(name)
        roots = Unpacked(home / "roots")
        both: Roots = roots
        snapshotter = Snapshotter(home / "agent", both)
        await snapshotter.recover()
        pods = Pods("naru", f"{open_registry}/pause:1", open_registry)
        await push(home / "store", pods.pause, [base()], "/bin/sleep", "1000")
        async with serving(snapshotter, home / "snap.sock"):
            opening = containerd(home, snapshotters={"naru": home / "snap.sock"}, pods=pods)
            engine = await asyncio.to_thread(opening.__enter__)
            try:
                yield Rig(engine, snapshotter, open_registry, home, roots)
            finally:
                await asyncio.to_thread(opening.__exit__, None, None, None)
        snapshotter.close()


def digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


async def test_layers_that_containerd_unpacks_make_the_image(rig: Rig):
    reference = f"{rig.registry}/plain:1"
    await push(rig.home / "store", reference, [base(), layer({"a": b"1", "b": b"2"}), layer({"a": b"3", ".wh.b": b""})])

    await rig.ctr("images", "pull", "--plain-http", "--snapshotter=naru", reference, namespace=NAMESPACE)

    said = await rig.run(reference, "/bin/sh", "-c", "cat /a; ls /; stat -c %a /; echo x > /c", namespace=NAMESPACE)
    assert said.startswith("3")
    assert "b\n" not in said
    assert "755" in said
    assert len(await rig.snapshotter.find(["kind==committed"])) == 3


async def test_an_image_that_the_node_has_is_pulled_without_its_layers(rig: Rig):
    reference = f"{rig.registry}/lazy:1"
    layers = [base(), layer({"a": b"one"}), layer({"b": b"two"})]
    image = await push(rig.home / "store", reference, layers)
    rig.roots.images[image.digest] = layers

    await rig.pull(reference)

    assert not {digest(one) for one in layers} & set((await rig.ctr("content", "ls", "--quiet")).split())
    said = await rig.run(reference, "/bin/sh", "-c", "cat /a /b; touch /c && rm /a && ls /")
    assert said.startswith("onetwo")
    assert "\na\n" not in said
    assert "\nc\n" in said
    assert {claim.depth for claim in rig.roots.given} == {3}


async def test_a_pod_runs_through_the_cri(rig: Rig):
    reference = f"{rig.registry}/pod:1"
    layers = [base(), layer({"greeting": b"hello"})]
    image = await push(rig.home / "store", reference, layers)
    rig.roots.images[image.digest] = layers
    await rig.pull(reference)

    container = await asyncio.to_thread(cri.start_pod, rig.engine.socket, rig.home, reference, "/bin/sleep", "1000")

    said = await asyncio.to_thread(cri.execute, rig.engine.socket, container, "/bin/cat", "/greeting")
    assert said.stdout == "hello"


async def test_a_layer_is_unpacked_on_one_that_was_not(rig: Rig):
    """Two images share their lowest layers, and the node has only one of them."""
    below = [base(), layer({"shared": b"from below"})]
    here, there = f"{rig.registry}/here:1", f"{rig.registry}/there:1"
    known = await push(rig.home / "store", here, [*below, layer({"a": b"1"})])
    await push(rig.home / "store", there, [*below, layer({"b": b"2"})])
    rig.roots.images[known.digest] = [*below, layer({"a": b"1"})]

    for reference in (here, there):
        await rig.pull(reference)

    said = await rig.run(there, "/bin/sh", "-c", "cat /shared /b; ls /")
    assert said.startswith("from below2")
    assert "\na\n" not in said


async def test_what_containerd_forgets_is_let_go(rig: Rig):
    reference = f"{rig.registry}/gone:1"
    layers = [base(), layer({"only": b"here"})]
    image = await push(rig.home / "store", reference, layers)
    rig.roots.images[image.digest] = layers
    await rig.pull(reference)
    await rig.run(reference, "/bin/true")

    await rig.ctr("images", "rm", "--sync", *await _names(rig))

    assert await rig.snapshotter.find() == []
    assert {claim.manifest for claim in rig.roots.released} == {image.digest}
    assert list((rig.home / "agent/snapshots").iterdir()) == []


async def _names(rig: Rig) -> list[str]:
    return (await rig.ctr("images", "ls", "--quiet")).split()
