"""The tar reader reads what others write, and takes damage for damage."""

import gzip
import io
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from naru.domain.errors import Invalid
from naru.oci.compression import Decompressed, compression
from naru.oci.tar import Kind, TarStream

_part = st.text("ab.-é나𐀀", min_size=1, max_size=40)
_paths = st.lists(_part, min_size=1, max_size=5).map("/".join)
_trees = st.dictionaries(_paths, st.binary(max_size=600) | _paths, max_size=4)


def read(content: bytes) -> dict[str, bytes | str]:
    tar = TarStream(io.BytesIO(content), max_members=1000)
    found: dict[str, bytes | str] = {}
    for member in tar:
        match member.kind:
            case Kind.FILE:
                found[member.path] = b"".join(tar.content())
                assert len(found[member.path]) == member.size
            case Kind.SYMLINK:
                found[member.path] = member.target
    return found


def written(tree, kind):
    """Write a tree in one of the formats; a string is the target of a symbolic link."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=kind) as archive:
        for path, content in tree.items():
            info = tarfile.TarInfo(path)
            if isinstance(content, str):
                info.type, info.linkname = tarfile.SYMTYPE, content
                archive.addfile(info)
            else:
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return file.getvalue()


@given(_trees, st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]))
def test_long_names_and_links_are_read_in_both_formats(tree, kind):
    assert read(written(tree, kind)) == tree


def test_a_name_split_over_two_fields_is_read():
    path = "a" * 90 + "/" + "b" * 90
    assert read(written({path: b"x"}, tarfile.USTAR_FORMAT)) == {path: b"x"}


@given(st.integers(0, 20_000))
def test_an_archive_cut_anywhere_is_refused(place):
    content = written({"a": bytes(5000), "b" * 200: b"x"}, tarfile.PAX_FORMAT)[:-8192]
    if place < len(content) - 1024:
        with pytest.raises(Invalid):
            read(content[:place])


@given(st.binary(max_size=4096))
def test_noise_is_refused(noise):
    with pytest.raises(Invalid):
        read(noise)


@given(st.lists(st.tuples(st.integers(0, 511), st.integers(0, 255)), max_size=8), st.sampled_from(["x", "b" * 200]))
def test_a_changed_header_with_a_proper_sum_never_reads_on(changes, path):
    content = bytearray(written({path: b"content"}, tarfile.PAX_FORMAT))
    for place, value in changes:
        content[place] = value
    content[148:156] = b"%06o\0 " % (sum(content[:148]) + 8 * 32 + sum(content[156:512]))
    try:
        found = read(bytes(content))
    except Invalid:
        return
    assert sum(len(value) for value in found.values()) <= len(content)


@pytest.mark.parametrize(
    "record", [b"5 a=b\n", b"999 path=x\n", b"0 path=x\n", b"-9 path=x\n", b"path=x\n", b"9 path=x", b"11 size=-99\n"]
)
def test_a_damaged_extended_header_is_refused(record):
    header, member = tarfile.TarInfo("pax"), tarfile.TarInfo("member")
    header.type, header.size = tarfile.XHDTYPE, len(record)
    content = header.tobuf() + record.ljust(512, b"\0") + member.tobuf() + bytes(1024)
    with pytest.raises(Invalid):
        read(content)


@given(st.binary(max_size=200), st.sampled_from([b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b""]))
def test_broken_compression_is_refused_and_what_is_plain_passes_through(noise, magic):
    content = magic + noise
    try:
        passed = b"".join(Decompressed(io.BytesIO(content), "it", 10_000).chunks())
    except Invalid:
        assert compression(content)
        return
    assert compression(content) or passed == content


@given(st.lists(st.binary(max_size=3000), min_size=1, max_size=4), st.integers(1, 900), st.integers(1, 5000))
def test_gzip_members_are_read_one_after_another_in_any_pieces(parts, arriving, asked):
    class Pieces(io.BytesIO):
        def read(self, size=-1, /):
            return super().read(min(size, arriving))

    content = b"".join(gzip.compress(part) for part in parts) + bytes(arriving)
    plain = Decompressed(Pieces(content), "it")
    found = b"".join(iter(lambda: plain.read(asked), b""))
    assert found == b"".join(parts)
