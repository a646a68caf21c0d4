"""The object store as a state machine: whole objects, within its budget, what is pinned, and counts that are right."""

import hashlib
import os
import shutil
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from naru.agent.incoming import Incoming
from naru.agent.index.index import CHUNK, Index, Object
from naru.agent.objects import ObjectStore
from naru.domain.errors import Conflict, Invalid, NotFound, Unavailable

CONTENTS = [bytes([number]) * size for number, size in enumerate((1, 40, 60, 100, 100, 250, CHUNK + 3))]
BUDGET = CHUNK + 400
IMAGES = [f"sha256:{number:064x}" for number in range(3)]

_numbers = st.sampled_from(range(len(CONTENTS)))  # short in what is shown of a failure
_images = st.sampled_from(IMAGES)


def sha(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()


def obj(content: bytes) -> Object:
    parts = [content[at : at + CHUNK] for at in range(0, len(content), CHUNK)]
    return Object(sha(content), len(content), tuple(sha(part) for part in parts) if len(parts) > 1 else ())


class Stores(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp(prefix="naru-store-"))
        self.store = ObjectStore(self.root, budget=BUDGET)
        self.indexes: dict[str, Index] = {}
        self.pinned: set[str] = set()
        self.safe: set[bytes] = set()  # what is held and pinned
        self.incoming: dict[bytes, tuple[Incoming, bytes]] = {}
        self.counted: set[str] = set()

    def teardown(self) -> None:
        self.store.close()
        shutil.rmtree(self.root)

    @rule(number=_numbers)
    def put(self, number: int) -> None:
        content = CONTENTS[number]
        try:
            self.store.put(sha(content), content)
            assert self.store.has(sha(content))
        except Unavailable:
            assert self._pinned_or_arriving() + len(content) > BUDGET

    @rule(number=_numbers)
    def put_other_bytes(self, number: int) -> None:
        content = CONTENTS[number]
        try:
            self.store.put(sha(content), content + b"x")
        except Invalid:
            return
        raise AssertionError("other bytes were taken")

    @rule(number=_numbers)
    def add(self, number: int) -> None:
        content = CONTENTS[number]
        try:
            assert self.store.add(iter([content[:3], content[3:]]), len(content)) == obj(content)
        except Unavailable:
            assert self._pinned_or_arriving() + len(content) > BUDGET

    @rule(number=_numbers)
    def receive(self, number: int) -> None:
        content = CONTENTS[number]
        wanted = obj(content)
        try:
            incoming = self.store.receive(wanted.digest, wanted.size, wanted.chunks)
        except Conflict:
            assert wanted.digest in self.incoming
        except Unavailable:
            assert self._pinned_or_arriving() + len(content) > BUDGET
        else:
            self.incoming[wanted.digest] = incoming, content
            for start in range(0, wanted.size, CHUNK):  # what came before a restart
                if incoming.has(start, CHUNK):
                    assert incoming.read(start, CHUNK) == content[start : start + CHUNK]

    @precondition(lambda self: self.incoming)
    @rule(data=st.data())
    def arrive(self, data: st.DataObject) -> None:
        incoming, content = self.incoming[sorted(self.incoming)[data.draw(st.integers(0, len(self.incoming) - 1))]]
        start = data.draw(st.integers(0, len(content) - 1))
        end = data.draw(st.integers(start, len(content)))
        incoming.write(content[start:end], start)
        if incoming.has(start, end - start):
            assert incoming.read(start, end - start) == content[start:end]

    @precondition(lambda self: self.incoming)
    @rule(data=st.data(), how=st.sampled_from(["abort", "leave", "commit"]), rest=st.booleans())
    def end(self, data: st.DataObject, how: str, rest: bool) -> None:
        digest = sorted(self.incoming)[data.draw(st.integers(0, len(self.incoming) - 1))]
        incoming, content = self.incoming.pop(digest)
        if how == "abort":
            incoming.abort()
            return
        if rest:
            incoming.write(content, 0)
        if how == "leave":
            incoming.leave()
            return
        whole = not list(incoming.lacking())
        try:
            incoming.commit()
            assert whole
            assert self.store.read(digest) == content
        except Invalid:
            assert not whole

    @rule(image=_images, numbers=st.sets(_numbers, max_size=3))
    def save(self, image: str, numbers: set[int]) -> None:
        if image not in self.pinned:
            index = Index(
                image, b"meta", tuple(sorted((obj(CONTENTS[number]) for number in numbers), key=lambda one: one.digest))
            )
            self.store.save_index(index)
            self.indexes[image] = index

    @rule(image=_images)
    def pin(self, image: str) -> None:
        try:
            self.store.pin(image, "container")
            self.pinned.add(image)
        except NotFound:
            assert image not in self.indexes

    @rule(image=_images)
    def unpin(self, image: str) -> None:
        self.store.unpin(image, "container")
        self.pinned.discard(image)

    @rule(size=st.integers(0, 2 * CHUNK))
    def evict(self, size: int) -> None:
        self.store.evict(size)

    @rule(keep=st.none() | st.sets(_images))
    def gc(self, keep: set[str] | None) -> None:
        self.store.gc(keep)
        if keep is not None:
            self.indexes = {image: found for image, found in self.indexes.items() if image in keep | self.pinned}
        named = {one.digest for index in self.indexes.values() for one in index.objects}
        assert all(self.store.has(digest) <= (digest in named) for digest in map(sha, CONTENTS))

    @rule()
    def sync(self) -> None:
        self.store.sync()

    @rule(orderly=st.booleans())
    def restart(self, orderly: bool) -> None:
        if orderly:
            self.store.close()
        else:
            for incoming, _ in self.incoming.values():
                os.close(incoming._file)  # a killed process loses its locks like this
            os.close(self.store._staging._lock)
        self.incoming.clear()
        self.store = ObjectStore(self.root, budget=BUDGET)

    @invariant()
    def every_object_is_whole(self) -> None:
        for content in CONTENTS:
            if self.store.has(sha(content)):
                assert self.store.path(sha(content)).read_bytes() == content

    @invariant()
    def the_budget_holds(self) -> None:
        held = sum(len(content) for content in CONTENTS if self.store.has(sha(content)))
        arriving = sum(len(content) for _, content in self.incoming.values())
        usage = self.store.usage()
        assert held + arriving + usage.partial <= BUDGET
        assert (usage.size, self.store._room.reserved) == (held, arriving)

    @rule(image=_images)
    def count(self, image: str) -> None:
        assert (self.store.tally(image) is None) == (image not in self.indexes)
        self.counted.add(image)

    @rule()
    def scrub(self) -> None:
        assert self.store.scrub().rotten == ()

    @invariant()
    def counts_agree_with_the_files(self) -> None:
        for image in self.counted & self.indexes.keys():
            tally, listed = self.store.tally(image), self.indexes[image].objects
            here = [one for one in listed if self.store.path(one.digest).exists()]
            assert tally is not None
            assert (tally.objects, tally.size) == (len(listed), sum(one.size for one in listed))
            assert (tally.present, tally.present_size) == (len(here), sum(one.size for one in here))
            assert [tally.lacks(one.digest) for one in listed] == [one not in here for one in listed]
        assert not self.store.recount()

    @invariant()
    def what_is_pinned_stays(self) -> None:
        needed = {one.digest for image in self.pinned for one in self.indexes[image].objects}
        assert all(self.store.has(digest) for digest in self.safe & needed)
        self.safe = {digest for digest in needed if self.store.has(digest)}

    @invariant()
    def indexes_and_pins_are_what_was_saved(self) -> None:
        assert {image: self.store.index(image) for image in self.store.indexes()} == self.indexes
        assert set(self.store.pins()) == self.pinned

    def _pinned_or_arriving(self) -> int:
        needed = {one.digest: one.size for image in self.pinned for one in self.indexes[image].objects}
        held = sum(size for digest, size in needed.items() if self.store.has(digest) or digest in self.store.left())
        return held + sum(len(content) for _, content in self.incoming.values())


TestStores = Stores.TestCase
TestStores.settings = settings(max_examples=12, stateful_step_count=25, deadline=None)
