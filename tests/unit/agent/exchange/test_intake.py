import asyncio
import hashlib
from collections.abc import Sequence
from pathlib import Path
from threading import Event

import pytest
import zstandard

from naru.agent.exchange.frames import Packing, Piece
from naru.agent.exchange.intake import Intake, Kept
from naru.agent.exchange.keep import Keep
from naru.agent.exchange.pack import Packer
from naru.agent.exchange.pieces import Pieces
from naru.agent.index.index import Index, Object
from naru.agent.objects import ObjectStore
from naru.domain.errors import Invalid

CONTENTS = tuple(sorted((bytes([n]) * 60_000 for n in range(6)), key=lambda content: hashlib.sha256(content).digest()))
INDEX = Index("sha256:" + "ab" * 32, b"", tuple(Object(hashlib.sha256(one).digest(), len(one)) for one in CONTENTS))


def keep_in(tmp_path: Path) -> Keep:
    return Keep(ObjectStore(tmp_path), Pieces(INDEX), Packer())


async def test_what_comes_while_a_batch_is_kept_is_the_next_batch(tmp_path: Path) -> None:
    batches: list[Sequence[Kept]] = []
    intake = Intake(keep_in(tmp_path), batches.append)

    for number, content in enumerate(CONTENTS):
        await intake.put("peer", (Piece(number, False, content),))
        assert intake.holds("peer", number)
    assert intake._task
    await intake._task

    assert len(batches) < len(CONTENTS)
    assert [one.number for batch in batches for one in batch] == [0, 1, 2, 3, 4, 5]
    assert not any(intake.holds("peer", number) for number in range(6))


async def test_who_brings_more_than_there_is_room_for_waits(tmp_path: Path) -> None:
    class Slow(Keep):
        may = Event()

        def store(self, number: int, zstd: bool, body: bytes | memoryview) -> range:
            assert self.may.wait(30)
            return range(number, number + 1)

    kept: list[Kept] = []
    intake = Intake(Slow(ObjectStore(tmp_path), Pieces(INDEX), Packer()), kept.extend)
    big = bytes(3 << 20)
    await intake.put("peer", (Piece(0, False, big),))
    await asyncio.sleep(0)  # the first batch is begun
    await intake.put("peer", (Piece(1, False, big),))
    waiting = asyncio.create_task(intake.put("peer", (Piece(2, False, big),)))
    await asyncio.sleep(0)
    assert not waiting.done()

    Slow.may.set()
    await asyncio.wait_for(waiting, 30)
    assert intake._task is None or await asyncio.wait_for(intake._task, 30) is None
    assert len(kept) == 3


async def test_a_wrong_piece_is_named_with_who_sent_it_and_the_others_are_kept(tmp_path: Path) -> None:
    kept: list[Kept] = []
    intake = Intake(keep_in(tmp_path), kept.extend)

    await intake.put("liar", (Piece(0, False, b"x" * 60_000), Piece(1, False, CONTENTS[1])))
    assert intake._task
    await intake._task

    assert kept[0].node == "liar"
    assert isinstance(kept[0].result, Invalid)
    assert kept[1].result == range(1, 2)


def test_what_came_compressed_is_passed_on_as_it_came_but_not_as_the_smallest(tmp_path: Path) -> None:
    keep = keep_in(tmp_path)
    came = zstandard.ZstdCompressor(level=3).compress(CONTENTS[2])

    keep.store(2, True, memoryview(came))

    assert keep.at_hand((2,), Packing.PLAIN) == {2: (True, came)}
    assert keep.at_hand((2,), Packing.SMALL) is None
    assert keep.at_hand((2, 3), Packing.FAST) is None
    assert keep.packed((2, 3), Packing.FAST) == {2: (True, came)}


def test_a_wrong_piece_is_not_passed_on(tmp_path: Path) -> None:
    keep = keep_in(tmp_path)
    with pytest.raises(Invalid):
        keep.store(2, True, zstandard.compress(CONTENTS[3]))
    assert keep.at_hand((2,), Packing.FAST) is None
