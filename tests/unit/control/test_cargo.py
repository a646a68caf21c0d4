"""What passes by is counted, whole and whatever its order; failures of either side are told as they are."""

import asyncio
import io
import tarfile
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from naru.control.cargo import cargo, counted, shipped
from naru.domain.errors import Invalid, Unavailable

NAMES = st.text("abc/é\udc80", min_size=1, max_size=12).map(lambda name: name.strip("/") or "a")


def entry(
    name: str, kind: bytes = tarfile.REGTYPE, content: bytes = b"", **more: object
) -> tuple[tarfile.TarInfo, bytes]:
    made = tarfile.TarInfo(name)
    made.type, made.size = kind, len(content)
    for field, value in more.items():
        setattr(made, field, value)
    return made, content


def packed(*entries: tuple[tarfile.TarInfo, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT, errors="surrogateescape") as archive:
        for made, content in entries:
            archive.addfile(made, io.BytesIO(content))
    return out.getvalue()


def digest(*entries: tuple[tarfile.TarInfo, bytes]) -> str:
    return cargo(io.BytesIO(packed(*entries))).digest


async def pieces(archive: bytes, size: int = 300) -> AsyncIterator[bytes]:
    for at in range(0, len(archive), size):
        await asyncio.sleep(0)
        yield archive[at : at + size]


@given(st.dictionaries(NAMES, st.binary(max_size=600), min_size=2), st.randoms())
def test_the_order_of_files_says_nothing(files, random):
    entries = [entry(name, content=content) for name, content in files.items()]
    before = digest(*entries)
    random.shuffle(entries)
    assert digest(*entries) == before


@pytest.mark.parametrize(
    "other",
    [
        entry("a", content=b"two"),
        entry("b", content=b"one"),
        entry("a", content=b"one", mode=0o600),
        entry("a", content=b"one", uid=5),
        entry("a", content=b"one", mtime=7),
        entry("a", content=b"one", pax_headers={"SCHILY.xattr.security.capability": "x"}),
        entry("a", tarfile.SYMTYPE, linkname="one"),
    ],
    ids=["content", "name", "mode", "owner", "time", "attribute", "kind"],
)
def test_whatever_differs_shows(other):
    assert digest(other) != digest(entry("a", content=b"one"))


def test_two_files_whose_contents_are_exchanged_show():
    one, two = (
        (entry("a", content=b"1"), entry("b", content=b"2")),
        (entry("a", content=b"2"), entry("b", content=b"1")),
    )
    assert digest(*one) != digest(*two)


def test_whichever_of_several_hard_links_comes_first_they_are_the_same():
    first = digest(entry("./a", content=b"one"), entry("./b", tarfile.LNKTYPE, linkname="./a"))
    second = digest(entry("b", content=b"one"), entry("a", tarfile.LNKTYPE, linkname="b"))
    other = digest(entry("a", content=b"two"), entry("b", tarfile.LNKTYPE, linkname="a"))
    assert first == second != other


async def test_what_is_delivered_is_what_came_and_all_of_it_is_counted():
    archive = packed(entry("a", content=b"x" * 5000)) + bytes(20480)
    got: list[bytes] = []

    async def deliver(chunks: AsyncIterator[bytes]) -> None:
        async for chunk in chunks:
            got.append(chunk)

    sent = await shipped(pieces(archive), deliver)

    assert (b"".join(got), sent.entries, sent.size) == (archive, 1, 5000)


async def test_who_leaves_the_padding_has_taken_all():
    archive = packed(entry("a", content=b"x")) + bytes(200_000)

    async def deliver(chunks: AsyncIterator[bytes]) -> None:
        await anext(chunks)

    assert await shipped(pieces(archive), deliver) == await counted(pieces(archive))


async def test_a_source_that_fails_is_named_whatever_the_other_side_makes_of_it():
    closed: list[bool] = []

    async def source() -> AsyncIterator[bytes]:
        try:
            yield bytes(512)
            raise Unavailable("the source is away")
        finally:
            closed.append(True)

    async def deliver(chunks: AsyncIterator[bytes]) -> None:
        try:
            async for _ in chunks:
                pass
        except Unavailable:
            raise Invalid("the archive broke off") from None

    with pytest.raises(Unavailable, match="the source is away"):
        await shipped(source(), deliver)
    assert closed


@pytest.mark.parametrize("read", [0, 1, 30])
async def test_a_side_that_cannot_write_ends_it_and_the_source_is_closed(read):
    closed: list[bool] = []

    async def endless() -> AsyncIterator[bytes]:
        try:
            while True:
                await asyncio.sleep(0)
                yield packed(entry("a", content=b"x" * 4000))[:5120]
        finally:
            closed.append(True)

    async def deliver(chunks: AsyncIterator[bytes]) -> None:
        for _ in range(read):
            await anext(chunks)
        raise Unavailable("the disk is full")

    with pytest.raises(Unavailable, match="the disk is full"):
        await shipped(endless(), deliver)
    assert closed or not read


async def test_more_copies_at_once_than_there_are_shared_threads_wait_for_none():
    archive = packed(entry("a", content=b"x" * 100_000))
    gate = asyncio.Event()

    async def late() -> AsyncIterator[bytes]:
        yield archive[:512]
        await gate.wait()
        yield archive[512:]

    copying = [asyncio.create_task(counted(late())) for _ in range(64)]
    await asyncio.sleep(0)
    assert await asyncio.to_thread(lambda: "free") == "free"
    gate.set()
    assert len({(await one).digest for one in copying}) == 1


async def test_a_copy_that_is_cancelled_closes_its_source():
    begun, closed = asyncio.Event(), asyncio.Event()

    async def waiting() -> AsyncIterator[bytes]:
        try:
            yield bytes(512)
            begun.set()
            await asyncio.Event().wait()
        finally:
            closed.set()

    copying = asyncio.create_task(counted(waiting()))
    await begun.wait()
    copying.cancel()
    with pytest.raises(asyncio.CancelledError):
        await copying
    assert closed.is_set()


@pytest.mark.parametrize("cut", [0, 100, 512, 700, 3000])
async def test_an_archive_that_is_cut_off_is_damaged(cut):
    with pytest.raises(Invalid):
        await counted(pieces(packed(entry("a", content=b"x" * 3000))[:cut]))
