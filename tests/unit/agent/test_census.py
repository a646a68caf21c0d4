"""What a node has of its images, counted cheaply."""

import hashlib
from pathlib import Path

import pytest

from naru.agent.census import Census
from naru.agent.index.index import Index, Object
from naru.agent.objects import ObjectStore
from naru.agent.profile import Profiles

FILES = tuple(bytes([number]) * (number + 1) for number in range(5))
DIGESTS = tuple(hashlib.sha256(content).digest() for content in FILES)
IMAGE = f"sha256:{'a' * 64}"
INDEX = Index(IMAGE, b"meta", tuple(Object(digest, len(FILES[DIGESTS.index(digest)])) for digest in sorted(DIGESTS)))


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    made = ObjectStore(tmp_path / "store")
    made.save_index(INDEX)
    return made


@pytest.fixture
def census(store: ObjectStore, tmp_path: Path) -> Census:
    return Census(store, Profiles(tmp_path / "profiles"))


def test_what_is_here_is_counted(store: ObjectStore, census: Census) -> None:
    store.put(DIGESTS[0], FILES[0])
    counted = census.take()[IMAGE]
    assert (counted.objects, counted.present, counted.size, counted.present_size) == (5, 1, 15, 1)
    assert counted.index == f"sha256:{INDEX.digest.hex()}"


def test_what_comes_and_goes_is_counted_again(store: ObjectStore, census: Census) -> None:
    for digest, content in zip(DIGESTS, FILES, strict=True):
        store.put(digest, content)
        assert census.take()[IMAGE].present == DIGESTS.index(digest) + 1
    store.path(DIGESTS[0]).write_bytes(b"?")
    store.scrub()
    assert census.take()[IMAGE].present == 4


def test_an_index_that_is_replaced_is_read_again(store: ObjectStore, census: Census) -> None:
    census.take()
    store.forget(IMAGE)
    assert census.take() == {}
    store.save_index(Index(IMAGE, b"other", INDEX.objects[:2]))
    assert census.take()[IMAGE].objects == 2


def test_an_index_is_read_once(store: ObjectStore, census: Census, monkeypatch: pytest.MonkeyPatch) -> None:
    census.take()
    reads: list[str] = []
    monkeypatch.setattr(store, "index", reads.append)
    store.put(DIGESTS[0], FILES[0])
    assert census.take()[IMAGE].present == 1
    assert reads == []


def test_a_blob_is_no_image(store: ObjectStore, census: Census) -> None:
    store.save_index(Index(f"sha256:{'b' * 64}", b"", INDEX.objects[:1]))
    assert list(census.take()) == [IMAGE]
    assert list(census.take()) == [IMAGE]
