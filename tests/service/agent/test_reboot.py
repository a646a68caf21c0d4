"""A node that loses its power while an image arrives: what the disk kept is used, what it tore is fetched again."""

import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from tests.agents import agent, unmount_below
from tests.service.agent.exchange.clusters import Sample, sample

from naru.agent.index.index import CHUNK
from naru.agent.objects import ObjectStore

pytestmark = pytest.mark.needs("lazy roots")

IMAGE = sample(100, 2000, 3 * CHUNK + 5, 30_000, seed=4)
BIG = max(IMAGE.index.objects, key=lambda one: one.size)
_ARRIVED = [one for one in IMAGE.digests if one != BIG.digest]


@pytest.fixture
def home() -> Iterator[Path]:
    with TemporaryDirectory(prefix="nb-", ignore_cleanup_errors=True) as name:
        yield Path(name)


def interrupted(root: Path, image: Sample) -> None:
    """Leave a store as a loss of power does: its last files torn, a part with a hole, and a boot that is over."""
    store = ObjectStore(root)
    image.fill(store, _ARRIVED)
    store.pin(image.index.image, "snapshotter")
    arriving = store.receive(BIG.digest, BIG.size, BIG.chunks)
    arriving.write(image.content[BIG.digest][: 2 * CHUNK], 0)
    store.close()
    torn = store.path(_ARRIVED[0])
    torn.chmod(0o600)
    torn.write_bytes(bytes(torn.stat().st_size))
    with (root / "partial" / BIG.digest.hex()).open("r+b") as part:
        part.write(bytes(4096))
    (root / "boot").write_text("another boot")


def test_after_a_loss_of_power_what_was_torn_is_lacking_and_the_rest_is_there(home: Path) -> None:
    interrupted(home / "agent/state/store", IMAGE)

    with agent(home / "agent", NARU_AGENT_ORIGIN="no") as running:
        (told,) = running.asked.status().images
        assert "1 torn" in running.log()
        assert (told.objects - told.present, told.holders) == (2, ("snapshotter",))
        running.kill()
        unmount_below(home / "agent")  # as a reboot does
        running.start()
        assert running.asked.status().images == (told,)
        running.stop()

    store = ObjectStore(home / "agent/state/store")
    arriving = store.receive(BIG.digest, BIG.size, BIG.chunks)
    assert [offset // CHUNK for offset, _ in arriving.lacking()] == [0, 2, 3]
    arriving.write(IMAGE.content[BIG.digest], 0)
    arriving.commit()
    store.put(_ARRIVED[0], IMAGE.content[_ARRIVED[0]])
    assert store.missing(IMAGE.digests) == []
    assert store.scrub().rotten == ()
    assert os.listdir(home / "agent/state/store/partial") == []
    store.close()
