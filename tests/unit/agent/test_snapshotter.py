"""The snapshotter against a model of it, and its rules one by one."""

import asyncio
import tempfile
from collections.abc import Coroutine
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from naru.agent.snapshotter.labels import IMAGE, LAYERS, MANIFEST, TARGET, claim
from naru.agent.snapshotter.roots import NoRoots
from naru.agent.snapshotter.snapshotter import Snapshotter
from naru.agent.snapshotter.values import AlreadyExists, Claim, InUse, Kind, Lower
from naru.domain.errors import Invalid, NaruError, NotFound, Unavailable

T = TypeVar("T")
KEYS = st.sampled_from(["a", "b", "c", "../../d", "ns/1/ extract é", "x" * 300])
PARENTS = st.one_of(st.just(""), KEYS)
CHAINS = st.sampled_from([f"sha256:{digit * 64}" for digit in "123"])
START = datetime(2026, 1, 1, tzinfo=UTC)
LAYER = {IMAGE: "example.org/shop:1", MANIFEST: f"sha256:{'a' * 64}", TARGET: f"sha256:{'1' * 64}", LAYERS: "sha256:a"}


@dataclass
class Given:
    """A node that has every image, or none."""

    offer: bool = True
    away: bool = False
    held: set[str] = field(default_factory=set)

    async def offers(self, claim: Claim) -> bool:
        return self.offer

    async def lower(self, claim: Claim) -> Lower:
        if self.away:
            raise Unavailable("nobody who has it answers")
        self.held.add(claim.chain)
        return Lower(f"/roots/{claim.chain[-4:]}::/objects", "/nowhere", ("metacopy=on",))

    async def used(self, claim: Claim, upper: Path) -> None:
        pass

    async def release(self, claim: Claim) -> None:
        self.held.discard(claim.chain)


@dataclass
class Known:
    """What the model knows of a snapshot."""

    kind: Kind
    parent: str
    labels: dict[str, str]
    chain: str = ""


class SnapshotsBehaveAsTheirModel(RuleBasedStateMachine):
    """Random deeds, also over a restart after each: the same answers and the same snapshots as a dictionary gives."""

    def __init__(self) -> None:
        super().__init__()
        self.home = tempfile.TemporaryDirectory(prefix="naru-snapshots-")
        self.roots = Given()
        self.now = START
        self.known: dict[str, Known] = {}
        self.open()

    def open(self) -> None:
        self.snapshotter = Snapshotter(Path(self.home.name), self.roots, clock=self.tick)

    def tick(self) -> datetime:
        self.now += timedelta(seconds=1)
        return self.now

    def teardown(self) -> None:
        self.snapshotter.close()
        self.home.cleanup()

    def expected(self, key: str, parent: str) -> type[NaruError] | None:
        if parent:
            if parent not in self.known:
                return NotFound
            if self.known[parent].kind is not Kind.COMMITTED:
                return Invalid
        return AlreadyExists if key in self.known else None

    @rule(key=KEYS, parent=PARENTS)
    def prepare(self, key: str, parent: str) -> None:
        self.judge(self.snapshotter.prepare(key, parent, {"l": "1"}), self.expected(key, parent))
        self.known.setdefault(key, Known(Kind.ACTIVE, parent, {"l": "1"})) if not self.refused else None

    @rule(key=KEYS, parent=PARENTS)
    def view(self, key: str, parent: str) -> None:
        self.judge(self.snapshotter.view(key, parent, {}), self.expected(key, parent))
        if not self.refused:
            self.known[key] = Known(Kind.VIEW, parent, {})

    @rule(key=KEYS, parent=PARENTS, chain=CHAINS)
    def prepare_a_layer(self, key: str, parent: str, chain: str) -> None:
        labels = LAYER | {TARGET: chain}
        there = [one for one in self.known.values() if one.kind is Kind.COMMITTED and one.parent == parent]
        wrong = self.expected("", parent)
        if any(one.labels.get(TARGET) == chain for one in there):
            self.judge(self.snapshotter.prepare(key, parent, labels), wrong or AlreadyExists)
            return
        self.judge(self.snapshotter.prepare(key, parent, labels), wrong or AlreadyExists)
        if not wrong and key not in self.known:
            self.known[key] = Known(Kind.COMMITTED, parent, labels, chain)

    @rule(name=KEYS, key=KEYS)
    def commit(self, name: str, key: str) -> None:
        wrong: type[NaruError] | None = None
        if key not in self.known:
            wrong = NotFound
        elif self.known[key].kind is not Kind.ACTIVE:
            wrong = InUse
        elif name in self.known:
            wrong = AlreadyExists
        self.judge(self.snapshotter.commit(name, key, {"c": name}), wrong)
        if not wrong:
            self.known[name] = Known(Kind.COMMITTED, self.known.pop(key).parent, {"c": name})

    @rule(key=KEYS)
    def remove(self, key: str) -> None:
        wrong: type[NaruError] | None = None
        if key not in self.known:
            wrong = NotFound
        elif any(one.parent == key for one in self.known.values()):
            wrong = InUse
        self.judge(self.snapshotter.remove(key), wrong)
        if not wrong:
            del self.known[key]

    @rule(key=KEYS)
    def mounts(self, key: str) -> None:
        wrong: type[NaruError] | None = None
        if key not in self.known:
            wrong = NotFound
        elif self.known[key].kind is Kind.COMMITTED:
            wrong = InUse
        self.judge(self.snapshotter.mounts(key), wrong)

    @rule(key=KEYS, value=st.text(max_size=4), path=st.sampled_from(["", "labels", "labels.l", "labels.x", "parent"]))
    def update(self, key: str, value: str, path: str) -> None:
        wrong: type[NaruError] | None = NotFound if key not in self.known else Invalid if path == "parent" else None
        self.judge(self.snapshotter.update(key, {"l": value}, [path] if path else []), wrong)
        if not wrong:
            labels = self.known[key].labels
            match path:
                case "labels.x":
                    labels.pop("x", None)
                case "labels.l":
                    labels["l"] = value
                case _:
                    self.known[key].labels = {"l": value}

    @rule()
    def die_and_start_again(self) -> None:
        self.snapshotter.close()
        self.open()
        asyncio.run(self.snapshotter.recover())

    @invariant()
    def all_is_as_known(self) -> None:
        found = {one.key: one for one in asyncio.run(self.snapshotter.find())}
        assert {key: (one.kind, one.parent, dict(one.labels)) for key, one in found.items()} == {
            key: (one.kind, one.parent, one.labels) for key, one in self.known.items()
        }
        directories = {int(one.name) for one in Path(self.home.name, "snapshots").iterdir()}
        assert directories == {one.id for one in found.values() if one.claim is None}
        assert self.roots.held <= {one.chain for one in self.known.values() if one.chain}

    def judge(self, deed: Coroutine[object, object, T], wrong: type[NaruError] | None) -> None:
        self.refused = wrong is not None
        if wrong is None:
            asyncio.run(deed)
            return
        with pytest.raises(wrong):
            asyncio.run(deed)


SnapshotsBehaveAsTheirModel.TestCase.settings = settings(
    max_examples=25, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
)
TestSnapshotsBehaveAsTheirModel = SnapshotsBehaveAsTheirModel.TestCase


@pytest.fixture
def roots() -> Given:
    return Given()


@pytest.fixture
def snapshotter(tmp_path: Path, roots: Given):
    made = Snapshotter(tmp_path, roots)
    yield made
    made.close()


async def test_a_claimed_layer_is_found_by_the_label_it_was_asked_with(snapshotter):
    with pytest.raises(AlreadyExists):
        await snapshotter.prepare("extract-1", "", LAYER)

    (found,) = await snapshotter.find([f'labels."containerd.io/snapshot.ref"=={LAYER[TARGET]},parent==""'])

    assert found.claim == Claim("example.org/shop:1", LAYER[MANIFEST], LAYER[TARGET], 1, whole=True)


async def test_a_container_on_a_claimed_layer_gets_one_overlay_of_all(snapshotter, tmp_path):
    with pytest.raises(AlreadyExists):
        await snapshotter.prepare("extract-1", "", LAYER)
    await snapshotter.prepare("layer", "extract-1", {})
    await snapshotter.commit("unpacked", "layer", {})

    (mount,) = await snapshotter.prepare("container", "unpacked", {})

    own = tmp_path / "snapshots/3"
    lower = f"lowerdir={tmp_path}/snapshots/2/fs:/roots/1111::/objects"
    assert mount.options == ("metacopy=on", "index=off", f"workdir={own}/work", f"upperdir={own}/fs", lower)


async def test_nothing_is_prepared_on_files_that_cannot_be_given(snapshotter, roots):
    with pytest.raises(AlreadyExists):
        await snapshotter.prepare("extract-1", "", LAYER)
    roots.away = True

    with pytest.raises(Unavailable):
        await snapshotter.prepare("container", "extract-1", {})

    assert [one.key for one in await snapshotter.find()] == ["extract-1"]


async def test_a_node_without_indexes_leaves_unpacking_to_containerd(tmp_path):
    snapshotter = Snapshotter(tmp_path, NoRoots())

    (mount,) = await snapshotter.prepare("extract-1", "", LAYER)

    assert (mount.type, mount.source) == ("bind", str(tmp_path / "snapshots/1/fs"))
    snapshotter.close()


async def test_callers_that_give_up_disturb_nobody(snapshotter):
    """containerd's clients end their calls at any moment, while a change is on its way to the disk."""
    for number in range(40):
        calls = [asyncio.create_task(snapshotter.prepare(f"{number}-{one}", "", {})) for one in range(5)]
        for turn in range(number % 4):
            await asyncio.sleep(0.0005 * turn)
        for call in calls[::2]:
            call.cancel()
        ended = await asyncio.gather(*calls, return_exceptions=True)
        assert not [one for one in ended[1::2] if isinstance(one, BaseException)]

    keys = {one.key for one in await snapshotter.find()}
    assert keys >= {f"{number}-{one}" for number in range(40) for one in (1, 3)}
    for key in keys:
        await snapshotter.remove(key)
    await snapshotter.cleanup()
    assert await snapshotter.find() == []


async def test_rubbish_of_a_crash_is_swept_away_at_the_start(snapshotter, tmp_path):
    (tmp_path / "snapshots/77/fs").mkdir(parents=True)
    (tmp_path / "snapshots/77/fs/left").write_text("over")

    await snapshotter.recover()

    assert list((tmp_path / "snapshots").iterdir()) == []


async def test_hard_links_are_measured_once(snapshotter, tmp_path):
    await snapshotter.prepare("one", "", {})
    first = tmp_path / "snapshots/1/fs/first"
    first.write_bytes(b"x" * 100_000)
    (tmp_path / "snapshots/1/fs/second").hardlink_to(first)

    usage = await snapshotter.usage("one")

    assert usage.inodes == 2
    assert 100_000 <= usage.size < 120_000


@pytest.mark.parametrize(
    "hostile",
    [
        {MANIFEST: "sha256:../../etc"},
        {MANIFEST: "md5:abc"},
        {TARGET: "sha256:" + "G" * 64},
        {TARGET: "chain"},
        {IMAGE: "../../../etc/passwd"},
        {IMAGE: "EXAMPLE.org//x"},
        {IMAGE: "a" * 5000},
        {IMAGE: "host:99999999/x"},
        {IMAGE: ""},
        {LAYERS: ""},
    ],
)
def test_labels_that_name_no_image_claim_nothing(hostile):
    assert claim(LAYER | hostile, 1) is None


def test_a_directory_that_overlayfs_cannot_name_is_refused(tmp_path):
    with pytest.raises(Invalid, match="overlayfs cannot use"):
        Snapshotter(tmp_path / "a:b", NoRoots())
