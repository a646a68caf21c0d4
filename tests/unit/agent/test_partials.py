"""Parts of big objects that outlive whoever took them in: believed only as far as their digests go, and bounded."""

import hashlib
import os
import time
from pathlib import Path

import pytest

from naru.agent.index.index import CHUNK, Index, Object
from naru.agent.objects import ObjectStore
from naru.domain.errors import Unavailable

CONTENT = b"".join(bytes([number]) * CHUNK for number in range(1, 4)) + b"end"
BIG = Object(
    hashlib.sha256(CONTENT).digest(),
    len(CONTENT),
    tuple(hashlib.sha256(CONTENT[at : at + CHUNK]).digest() for at in range(0, len(CONTENT), CHUNK)),
)
INDEX = Index(f"sha256:{'a' * 64}", b"meta", (BIG,))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "store"


def begun(root: Path, *chunks: int, budget: int | None = None) -> ObjectStore:
    """A store in which these chunks had come before it was opened."""
    store = ObjectStore(root, budget=budget)
    arriving = store.receive(BIG.digest, BIG.size, BIG.chunks)
    for chunk in chunks:
        arriving.write(CONTENT[chunk * CHUNK : (chunk + 1) * CHUNK], chunk * CHUNK)
    store.close()
    return ObjectStore(root, budget=budget)


def test_what_came_before_a_restart_need_not_come_again(root: Path) -> None:
    store = begun(root, 0, 2)
    assert store.left() == [BIG.digest]
    arriving = store.receive(BIG.digest, BIG.size, BIG.chunks)
    assert [offset for offset, _ in arriving.lacking()] == [CHUNK, 3 * CHUNK]
    assert arriving.read(2 * CHUNK, 10) == CONTENT[2 * CHUNK :][:10]
    arriving.write(CONTENT[CHUNK : 2 * CHUNK], CHUNK)
    arriving.write(b"end", 3 * CHUNK)
    arriving.commit()
    assert store.read(BIG.digest) == CONTENT
    assert (store.left(), os.listdir(root / "partial")) == ([], [])


def test_bytes_that_were_torn_do_not_count(root: Path) -> None:
    store = begun(root, 0, 1)
    part = root / "partial" / BIG.digest.hex()
    with part.open("r+b") as file:
        file.seek(CHUNK + 7)
        file.write(b"torn")
        file.seek(BIG.size + 100)
        file.write(b"more than there is")
    arriving = store.receive(BIG.digest, BIG.size, BIG.chunks)
    assert arriving.has(0, CHUNK)
    assert not arriving.has(CHUNK, CHUNK)
    arriving.write(CONTENT, 0)
    arriving.commit()
    assert store.read(BIG.digest) == CONTENT


def test_an_object_whose_chunks_nobody_knows_begins_again(root: Path) -> None:
    store = ObjectStore(root)
    arriving = store.receive(BIG.digest, BIG.size)
    arriving.write(CONTENT[:CHUNK], 0)
    store.close()
    store = ObjectStore(root)
    assert store.left() == []
    assert len(list(store.receive(BIG.digest, BIG.size).lacking())) == 4


def test_two_processes_do_not_write_into_one_part(root: Path) -> None:
    one, other = ObjectStore(root), ObjectStore(root)
    first = one.receive(BIG.digest, BIG.size, BIG.chunks)
    second = other.receive(BIG.digest, BIG.size, BIG.chunks)
    first.write(CONTENT, 0)
    assert len(list(second.lacking())) == 4
    first.commit()
    second.write(CONTENT, 0)
    second.commit()
    assert other.read(BIG.digest) == CONTENT
    assert os.listdir(root / "partial") == []


def test_an_object_that_came_whole_by_another_way_leaves_no_part(root: Path) -> None:
    store = begun(root, 0)
    store.put(BIG.digest, CONTENT)
    assert (store.left(), os.listdir(root / "partial")) == ([], [])


def test_parts_that_no_index_names_are_collected_and_those_of_images_stay(root: Path) -> None:
    store = begun(root, 0)
    store.save_index(INDEX)
    assert store.gc().objects == 0
    assert store.left() == [BIG.digest]
    store.forget(INDEX.image)
    assert store.gc().objects == 1
    assert (store.left(), os.listdir(root / "partial"), store.usage().partial) == ([], [], 0)


def test_a_part_that_nobody_went_on_with_for_a_week_goes(root: Path) -> None:
    begun(root, 0).close()
    week_ago = time.time() - 7 * 86_400 - 60
    os.utime(root / "partial" / BIG.digest.hex(), (week_ago, week_ago))
    assert ObjectStore(root).left() == []
    assert os.listdir(root / "partial") == []


def test_parts_count_in_the_budget_and_make_room(root: Path) -> None:
    store = begun(root, 0, 1, budget=BIG.size)
    assert store.usage().partial == 2 * CHUNK
    content = b"x" * (2 * CHUNK)
    store.put(hashlib.sha256(content).digest(), content)
    assert (store.left(), store.usage().partial) == ([], 0)


def test_parts_of_a_pinned_image_stay_and_are_gone_on_with(root: Path) -> None:
    store = begun(root, 0, 1, budget=BIG.size)
    store.save_index(INDEX)
    store.pin(INDEX.image, "container")
    content = b"x" * (2 * CHUNK)
    with pytest.raises(Unavailable, match="pinned images need"):
        store.put(hashlib.sha256(content).digest(), content)
    arriving = store.receive(BIG.digest, BIG.size, BIG.chunks)
    assert arriving.has(0, 2 * CHUNK)
