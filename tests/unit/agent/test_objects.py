import hashlib
import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from naru.agent import files as module
from naru.agent.index.index import CHUNK, Index, Object, object_path
from naru.agent.objects import ObjectStore
from naru.domain.errors import Conflict, Invalid, NotFound, Unavailable


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def store(root: Path) -> Iterator[ObjectStore]:
    opened = ObjectStore(root)
    yield opened
    opened.close()


def sha(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()


def image(number: int) -> str:
    return f"sha256:{number:064x}"


def an_index(number: int, *contents: bytes) -> Index:
    objects = sorted((Object(sha(content), len(content)) for content in contents), key=lambda obj: obj.digest)
    return Index(image(number), b"meta", tuple(objects))


def chunked(content: bytes) -> tuple[bytes, ...]:
    return tuple(sha(content[at : at + CHUNK]) for at in range(0, len(content), CHUNK))


def test_what_is_put_is_a_plain_file_under_its_digest(store: ObjectStore) -> None:
    store.put(sha(b"hello"), b"hello")

    assert Path(f"{store.objects}{object_path(sha(b'hello'))}").read_bytes() == b"hello"
    assert store.has(sha(b"hello"))
    assert store.read(sha(b"hello")) == b"hello"
    assert store.missing([sha(b"hello"), sha(b"other")]) == [sha(b"other")]


def test_other_bytes_than_the_digest_says_are_refused(store: ObjectStore) -> None:
    with pytest.raises(Invalid):
        store.put(sha(b"hello"), b"jello")

    assert not store.has(sha(b"hello"))


def test_an_absent_object_is_not_found(store: ObjectStore) -> None:
    with pytest.raises(NotFound):
        store.read(sha(b"hello"))


def test_a_big_object_is_readable_by_verified_chunks_before_it_is_whole(store: ObjectStore) -> None:
    content = random.Random(1).randbytes(3 * CHUNK + 5)
    incoming = store.receive(sha(content), len(content), chunked(content))

    incoming.write(content[CHUNK : 2 * CHUNK], CHUNK)
    incoming.write(content[3 * CHUNK :], 3 * CHUNK)
    assert incoming.read(CHUNK + 3, 10) == content[CHUNK + 3 : CHUNK + 13]
    assert incoming.read(3 * CHUNK + 3, 100) == content[-2:]
    with pytest.raises(Conflict):
        incoming.read(CHUNK - 1, 10)
    assert list(incoming.lacking()) == [(0, CHUNK), (2 * CHUNK, CHUNK)]
    assert store.incoming(sha(content)) is incoming
    assert not store.has(sha(content))

    for at in reversed(range(0, CHUNK, CHUNK // 4)):
        incoming.write(content[at : at + CHUNK // 4], at)
    incoming.write(memoryview(content)[CHUNK - 7 :], CHUNK - 7)
    incoming.commit()

    assert store.read(sha(content)) == content
    assert store.incoming(sha(content)) is None


def test_a_chunk_with_other_bytes_is_refused_and_can_come_again(store: ObjectStore) -> None:
    content = random.Random(2).randbytes(2 * CHUNK)
    incoming = store.receive(sha(content), len(content), chunked(content))

    incoming.write(b"x" * 10, 0)
    with pytest.raises(Invalid):
        incoming.write(content[10:CHUNK], 10)
    with pytest.raises(Invalid):
        incoming.write(bytes(CHUNK), CHUNK)
    assert not incoming.has(0, 1)

    incoming.write(content, 0)
    incoming.commit()
    assert store.read(sha(content)) == content


def test_a_verified_chunk_cannot_be_overwritten(store: ObjectStore) -> None:
    content = random.Random(3).randbytes(2 * CHUNK)
    incoming = store.receive(sha(content), len(content), chunked(content))
    incoming.write(content[:CHUNK], 0)

    incoming.write(b"evil", 100)

    assert incoming.read(100, 4) == content[100:104]


def test_bytes_beyond_the_end_are_refused(store: ObjectStore) -> None:
    incoming = store.receive(sha(b"hello"), 5)
    with pytest.raises(Invalid):
        incoming.write(b"hello!", 0)


def test_an_object_that_is_not_whole_is_not_committed(store: ObjectStore) -> None:
    incoming = store.receive(sha(b"hello"), 5)
    incoming.write(b"hell", 0)

    with pytest.raises(Invalid, match="completely"):
        incoming.commit()

    assert not store.has(sha(b"hello"))
    assert store.incoming(sha(b"hello")) is None


def test_an_object_without_chunks_is_held_against_its_digest_at_the_end(store: ObjectStore) -> None:
    content = bytes(CHUNK + 9)
    incoming = store.receive(sha(content), len(content))
    incoming.write(content[:-1] + b"x", 0)
    assert not incoming.has(0, 1)

    with pytest.raises(Invalid, match="another digest"):
        incoming.commit()

    assert not store.has(sha(content))


def test_one_object_is_received_once_at_a_time(store: ObjectStore) -> None:
    incoming = store.receive(sha(b"hello"), 5)
    with pytest.raises(Conflict):
        store.receive(sha(b"hello"), 5)

    incoming.abort()
    store.receive(sha(b"hello"), 5).abort()


def test_an_index_is_kept_and_found_again_by_its_image(store: ObjectStore, root: Path) -> None:
    index = an_index(1, b"a", b"b")
    store.save_index(index)

    assert store.index(image(1)) == index
    assert store.index(image(2)) is None
    assert store.indexes() == [image(1)]


def test_a_rotten_index_is_dropped(store: ObjectStore, root: Path) -> None:
    store.save_index(an_index(1, b"a"))
    (root / "indexes" / image(1).removeprefix("sha256:")).write_bytes(b"rot")

    assert store.index(image(1)) is None
    assert store.indexes() == []


def test_sharing_between_images_is_counted(store: ObjectStore) -> None:
    for content in (b"shared" * 10, b"own"):
        store.put(sha(content), content)
    store.save_index(an_index(1, b"shared" * 10))
    store.save_index(an_index(2, b"shared" * 10, b"own", b"not here"))
    store.pin(image(1), "container a")

    usage = store.usage()

    assert (usage.objects, usage.size, usage.saved, usage.pinned) == (2, 63, 60, 60)


def test_what_was_used_longest_ago_makes_room_and_pinned_images_stay(root: Path) -> None:
    store = ObjectStore(root, budget=320)
    contents = [b"0" * 100, b"1" * 120, b"2" * 100, b"3" * 100]
    for number in range(3):
        store.put(sha(contents[number]), contents[number])
        store.save_index(an_index(number, contents[number]))
        os.utime(root / "indexes" / image(number)[7:], (number, number))
    store.pin(image(0), "c")

    store.put(sha(contents[3]), contents[3])

    assert [store.has(sha(content)) for content in contents] == [True, False, True, True]
    store.close()


def test_a_budget_that_is_full_of_pinned_images_refuses_and_loses_nothing(root: Path) -> None:
    store = ObjectStore(root, budget=100)
    store.put(sha(b"a" * 100), b"a" * 100)
    store.save_index(an_index(1, b"a" * 100))
    store.pin(image(1), "c")

    with pytest.raises(Unavailable, match="budget"):
        store.put(sha(b"b"), b"b")
    with pytest.raises(Unavailable, match="budget"):
        store.receive(sha(b"b"), 1)

    assert store.has(sha(b"a" * 100))
    store.unpin(image(1), "c")
    store.put(sha(b"b"), b"b")
    store.close()


def test_pins_survive_a_restart(root: Path) -> None:
    with_pin = ObjectStore(root)
    with_pin.save_index(an_index(1, b"a"))
    with_pin.pin(image(1), "container/../a")
    with_pin.close()

    again = ObjectStore(root)

    assert again.pins() == {image(1): ("container/../a",)}
    again.close()


def test_an_image_without_an_index_cannot_be_pinned(store: ObjectStore) -> None:
    with pytest.raises(NotFound):
        store.pin(image(1), "c")


def test_gc_frees_what_no_index_names_and_keeps_what_is_being_gathered(store: ObjectStore) -> None:
    for content in (b"named", b"orphan"):
        store.put(sha(content), content)
    store.save_index(an_index(1, b"named"))

    with store.gathering():
        store.put(sha(b"gathered"), b"gathered")
        assert store.gc().objects == 1

    assert [store.has(sha(content)) for content in (b"named", b"orphan", b"gathered")] == [True, False, True]
    assert store.gc(keep=()).objects == 2
    assert store.indexes() == []


def test_a_scrub_drops_and_reports_what_rotted(store: ObjectStore) -> None:
    for content in (b"good", b"bad"):
        store.put(sha(content), content)
    store.path(sha(b"bad")).chmod(0o600)
    store.path(sha(b"bad")).write_bytes(b"rot")

    report = store.scrub()

    assert report.rotten == (sha(b"bad"),)
    assert report.objects == 2
    assert store.has(sha(b"good"))
    assert not store.has(sha(b"bad"))


def test_after_a_crash_of_the_kernel_what_was_not_durable_is_verified_again(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = ObjectStore(root)
    before.put(sha(b"durable"), b"durable")
    before.sync()
    for content in (b"whole", b"torn"):
        before.put(sha(content), content)
        os.truncate(before.path(sha(content)), 2 if content == b"torn" else len(content))
    os.truncate(before.path(sha(b"durable")), 3)  # what was synced is not read again: a scrub would find it

    monkeypatch.setattr(module, "boot_id", lambda: "the next boot")
    after = ObjectStore(root)

    assert [after.has(sha(content)) for content in (b"durable", b"whole", b"torn")] == [True, True, False]
    after.close()


def test_leftovers_of_a_process_that_died_are_removed(root: Path) -> None:
    ObjectStore(root).close()
    leftover = root / "incoming" / "tmpdead"
    leftover.mkdir()
    (leftover / "lock").touch()
    (leftover / "0").write_bytes(b"half")

    ObjectStore(root).close()

    assert not leftover.exists()


def test_what_comes_again_while_the_disk_is_synced_is_not_taken_for_durable(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put(sha(b"a"), b"a")
    store.put(sha(b"b"), b"b")

    def meanwhile(root: Path) -> None:
        store.gc()
        store.put(sha(b"a"), b"a")

    monkeypatch.setattr(module, "sync_file_system", meanwhile)
    store.sync()
    assert store.path(sha(b"a")).stat().st_mode & 0o777 == 0o400

    monkeypatch.setattr(module, "sync_file_system", lambda root: None)
    store.sync()
    assert store.path(sha(b"a")).stat().st_mode & 0o777 == 0o444


def test_a_disk_that_cannot_sync_leaves_objects_to_be_verified(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(root: Path) -> None:
        raise OSError(5, "Input/output error")

    store.put(sha(b"a"), b"a")
    with monkeypatch.context() as patched:
        patched.setattr(module, "sync_file_system", broken)
        with pytest.raises(Unavailable, match="cannot be used"):
            store.sync()

    assert store.path(sha(b"a")).stat().st_mode & 0o777 == 0o400
    assert store.sync() == 1
