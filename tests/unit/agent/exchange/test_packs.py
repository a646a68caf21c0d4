"""Compressed pieces on the disk: they are what was kept, or nothing, whatever becomes of the files."""

from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given
from hypothesis import strategies as st

from naru.agent.exchange.frames import Packing
from naru.agent.exchange.pack import Packer
from naru.agent.exchange.packs import Packs

KEPT = {sha256(bytes([n])).digest(): bytes([n]) * (n * 7 % 50) for n in range(40)}


def kept(directory: Path, most: int = 1 << 20) -> Packs:
    packs = Packs(directory, most)
    for digest, body in KEPT.items():
        packs.save(digest, body)
    return packs


def test_what_was_kept_is_found_again_also_by_the_next_agent(tmp_path):
    packs = kept(tmp_path / "packed")
    assert {digest: packs.load(digest) for digest in KEPT} == KEPT
    packs.close()

    again = Packs(tmp_path / "packed")
    assert {digest: again.load(digest) for digest in KEPT} == KEPT
    assert again.load(bytes(32)) is None
    again.close()


def test_an_agent_that_may_keep_less_than_before_lets_go_of_what_is_too_much(tmp_path):
    kept(tmp_path / "packed").close()

    packs = kept(tmp_path / "packed", most=1000)

    assert sum(file.stat().st_size for file in (tmp_path / "packed").iterdir()) <= 1000
    assert packs.load(list(KEPT)[-1]) is not None
    packs.close()


def test_a_piece_that_is_larger_than_all_that_may_be_kept_is_not(tmp_path):
    packs = kept(tmp_path / "packed", most=50)

    packs.save(bytes(32), bytes(1000))

    assert packs.load(bytes(32)) is None
    assert sum(file.stat().st_size for file in (tmp_path / "packed").iterdir()) <= 50
    packs.close()


@given(cut=st.integers(0, 3000), flipped=st.integers(0, 3000), mask=st.integers(0, 255))
def test_torn_and_rotten_files_give_what_was_kept_or_nothing(cut, flipped, mask):
    with TemporaryDirectory() as home:
        kept(Path(home, "packed")).close()
        file = max(Path(home, "packed").iterdir(), key=lambda one: one.stat().st_size)
        content = bytearray(file.read_bytes())
        content[flipped % len(content)] ^= mask
        file.write_bytes(content[: max(0, len(content) - cut)])

        packs = Packs(Path(home, "packed"))
        assert all(packs.load(digest) in (None, body) for digest, body in KEPT.items())
        for digest, body in KEPT.items():
            packs.save(digest, body)
        assert {digest: packs.load(digest) for digest in KEPT} == KEPT
        packs.close()


def test_the_elder_half_goes_when_there_is_no_room(tmp_path):
    packs = kept(tmp_path / "packed", most=2000)

    found = [digest for digest in KEPT if packs.load(digest) is not None]

    assert sum(file.stat().st_size for file in (tmp_path / "packed").iterdir()) <= 2000
    assert found == list(KEPT)[-len(found) :]
    assert len(found) >= 10
    packs.close()


def test_a_disk_that_refuses_costs_speed_only(tmp_path):
    (tmp_path / "packed").write_text("no directory")
    packs = kept(tmp_path / "packed")

    assert packs.load(next(iter(KEPT))) is None


def test_a_piece_for_slow_links_is_read_and_compressed_once(tmp_path):
    content, reads = b"naru " * 2000, []

    def load() -> bytes:
        reads.append(1)
        return content

    packs = Packs(tmp_path / "packed")
    first = Packer(kept=0, packs=packs).pack(b"d" * 32, Packing.SMALL, load)
    again = Packer(kept=0, packs=packs).pack(b"d" * 32, Packing.SMALL, load)

    assert first == again
    assert first[0]
    assert len(reads) == 1
    packs.close()
