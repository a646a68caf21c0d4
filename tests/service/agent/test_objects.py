"""The object store against kills and full disks."""

import hashlib
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from naru.agent.adopt import Adopted, adopt
from naru.agent.index.index import CHUNK, Index, Object
from naru.agent.objects import ObjectStore
from naru.domain.errors import Unavailable

WRITER = """
import hashlib, random, sys
from pathlib import Path
from naru.agent.index.index import CHUNK, Index, Object
from naru.agent.objects import ObjectStore

store, chance = ObjectStore(Path(sys.argv[1])), random.Random(int(sys.argv[2]))
print("ready", flush=True)
while True:
    objects = []
    for size in (10, 5_000, CHUNK - 1):
        content = chance.randbytes(size)
        store.put(hashlib.sha256(content).digest(), content)
        objects.append(Object(hashlib.sha256(content).digest(), size))
    content = chance.randbytes(3 * CHUNK)
    chunks = tuple(hashlib.sha256(content[at : at + CHUNK]).digest() for at in range(0, len(content), CHUNK))
    incoming = store.receive(hashlib.sha256(content).digest(), len(content), chunks)
    for at in range(0, len(content), 100_000):
        incoming.write(content[at : at + 100_000], at)
    incoming.commit()
    image = f"sha256:{chance.randbytes(32).hex()}"
    store.save_index(Index(image, b"meta", tuple(sorted(objects, key=lambda obj: obj.digest))))
    store.pin(image, "container")
    store.sync()
    store.unpin(image, "container")
    store.evict(3 * CHUNK)
    store.gc(keep=store.indexes()[-3:])
"""


def test_a_kill_at_any_moment_leaves_whole_objects_only(tmp_path: Path) -> None:
    chance = random.Random(5)
    for attempt in range(12):
        command = [sys.executable, "-c", WRITER, str(tmp_path / "store"), str(attempt)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            assert writer.stdout.readline() == b"ready\n"
            time.sleep(chance.uniform(0, 0.15))  # the moment of the kill is what varies here
            writer.kill()

        store = ObjectStore(tmp_path / "store")
        for path in store.objects.glob("*/*"):
            assert hashlib.sha256(path.read_bytes()).hexdigest() == path.parent.name + path.name
        assert store.scrub().rotten == ()
        assert all(store.index(image) is not None for image in store.indexes())
        assert len(list((tmp_path / "store" / "incoming").iterdir())) == 1
        store.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", disk], capture_output=True, check=False)
    if mount.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {mount.stderr.decode()}")
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


def test_a_full_disk_refuses_clearly_and_loses_nothing(small_disk: Path) -> None:
    store, chance = ObjectStore(small_disk / "store"), random.Random(6)
    held = []

    def fill() -> None:
        while True:
            content = chance.randbytes(300_000)
            store.put(hashlib.sha256(content).digest(), content)
            held.append(hashlib.sha256(content).digest())

    with pytest.raises(Unavailable, match="is full"):
        fill()
    content = chance.randbytes(2 * CHUNK)
    incoming = store.receive(hashlib.sha256(content).digest(), len(content))
    with pytest.raises(Unavailable, match="is full"):
        incoming.write(content, 0)
    incoming.abort()
    with pytest.raises(Unavailable, match="is full"):
        store.add(iter([content]), len(content))
    with pytest.raises(Unavailable, match="is full"):
        store.save_index(Index(f"sha256:{'1' * 64}", chance.randbytes(600_000), ()))

    assert len(held) > 10
    assert store.missing(held) == []
    assert store.scrub().rotten == ()
    assert store.usage().size == 300_000 * len(held)
    assert [path.name for folder in (small_disk / "store" / "incoming").iterdir() for path in folder.iterdir()] == [
        "lock"
    ]
    store.gc()
    store.put(hashlib.sha256(b"again").digest(), b"again")
    store.close()


def test_what_an_engine_holds_is_taken_and_nothing_else(tmp_path: Path) -> None:
    store, held = ObjectStore(tmp_path / "store"), tmp_path / "root"
    (held / "usr").mkdir(parents=True)
    large = bytes(CHUNK) + b"tail"
    chunks = (hashlib.sha256(large[:CHUNK]).digest(), hashlib.sha256(b"tail").digest())
    (held / "usr" / "small").write_bytes(b"small")
    (held / "usr" / "large").write_bytes(large)
    (held / "usr" / "wrong").write_bytes(b"SMALL")
    (held / "usr" / "outside").symlink_to("/etc/passwd")
    contents = {b"small": (), large: chunks, b"elsewhere": ()}
    objects = [Object(hashlib.sha256(content).digest(), len(content), parts) for content, parts in contents.items()]
    index = Index(f"sha256:{'1' * 64}", b"", tuple(sorted(objects, key=lambda obj: obj.digest)))

    assert adopt(store, index, held) == Adopted(2, 5 + len(large))
    assert store.missing(index.numbers) == [hashlib.sha256(b"elsewhere").digest()]
    assert adopt(store, index, held) == Adopted(0, 0)
    assert store.usage().objects == 2
    store.close()
