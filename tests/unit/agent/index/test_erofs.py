"""The metadata image says what the tree says, read by a reader of the format that shares no code with the writer."""

import stat
import struct
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from naru.agent.index.erofs import erofs_image
from naru.agent.index.index import object_path
from naru.agent.index.tree import Entry, Inode
from naru.domain.errors import Invalid

BLOCK = 4096
PREFIXES = {1: b"user.", 2: b"system.posix_acl_access", 4: b"trusted.", 6: b"security."}
Read = dict[str, object]


class Reader:
    """Reads an image as fs/erofs/erofs_fs.h describes it, and refuses what the kernel would."""

    def __init__(self, image: bytes) -> None:
        self.image = image
        magic, _, _, bits, slots, root, self.inos = struct.unpack_from("<IIIBBHQ", image, 1024)
        self.time = struct.unpack_from("<qI", image, 1048)
        blocks, meta, xattrs = struct.unpack_from("<III", image, 1060)
        assert (magic, bits, slots, meta, blocks * BLOCK) == (0xE0F5E1E2, 12, 0, 0, len(image))
        self.shared = xattrs * BLOCK
        self.root = root

    def read(self, nid: int) -> Read:
        at = nid * 32
        form, count, mode = struct.unpack_from("<HHH", self.image, at)
        if form & 1:
            size, union, _, uid, gid, seconds, nanoseconds, links = struct.unpack_from("<QIIIIqII", self.image, at + 8)
            at += 64
        else:
            links, size, _, union, _, uid, gid = struct.unpack_from("<HIIIIHH", self.image, at + 6)
            seconds, nanoseconds = self.time
            at += 32
        xattrs = dict(self._xattrs(at, count)) if count else {}
        at += 12 + 4 * (count - 1) if count else 0
        layout, content = form >> 1, b""
        if layout == 4:
            assert struct.unpack_from("<I", self.image, -(-at // 4) * 4) == (0xFFFFFFFF,)
            assert size <= BLOCK << (union & 0x1F)
        elif stat.S_ISDIR(mode) or stat.S_ISLNK(mode):
            content = self._content(layout, at, size, union)
        return {
            "mode": mode, "uid": uid, "gid": gid, "time": seconds * 10**9 + nanoseconds, "links": links,
            "size": size, "xattrs": xattrs, "content": content, "union": union,
        }  # fmt: skip

    def entries(self, nid: int) -> list[tuple[bytes, int, int]]:
        """List a directory's names, inodes and types; they must be in order, block by block."""
        content, found = self.read(nid)["content"], []
        assert isinstance(content, bytes)
        for start in range(0, len(content), BLOCK):
            block = content[start : start + BLOCK]
            count = struct.unpack_from("<H", block, 8)[0] // 12
            dirents = [struct.unpack_from("<QHBB", block, 12 * number) for number in range(count)]
            ends = [offset for _, offset, _, _ in dirents[1:]] + [len(block)]
            for (child, offset, kind, _), end in zip(dirents, ends, strict=True):
                found.append((block[offset:end].rstrip(b"\0"), child, kind))
        assert [name for name, _, _ in found] == sorted({name for name, _, _ in found})
        return found

    def _content(self, layout: int, at: int, size: int, block: int) -> bytes:
        whole = size // BLOCK * BLOCK if layout == 2 else size
        content = self.image[block * BLOCK : block * BLOCK + whole]
        if tail := size - whole:
            assert at // BLOCK == (at + tail - 1) // BLOCK, "a tail crosses the border of a block"
            content += self.image[at : at + tail]
        assert len(content) == size
        return content

    def _xattrs(self, at: int, count: int) -> Iterator[tuple[bytes, bytes]]:
        end = at + 12 + 4 * (count - 1)
        shared = self.image[at + 4]
        for number in range(shared):
            (place,) = struct.unpack_from("<I", self.image, at + 12 + 4 * number)
            yield self._xattr(self.shared + 4 * place)[:2]
        at += 12 + 4 * shared
        while at < end:
            name, value, at = self._xattr(at)
            yield name, value
        assert at == end

    def _xattr(self, at: int) -> tuple[bytes, bytes, int]:
        length, prefix, size = struct.unpack_from("<BBH", self.image, at)
        name = PREFIXES[prefix] + self.image[at + 4 : at + 4 + length]
        end = at + 4 + length + size
        return name, self.image[at + 4 + length : end], -(-end // 4) * 4


_xattrs = st.dictionaries(
    st.sampled_from([b"user.a", b"user.b", b"trusted.c", b"security.capability", b"system.posix_acl_access"]),
    st.sampled_from([b"", b"x", b"some value", bytes(300)]),
    max_size=3,
).map(lambda pairs: tuple(sorted(pairs.items())))
_times = st.sampled_from([0, 5 * 10**9, 1_700_000_000_123_456_789, -(10**9) - 1])
_ids = st.sampled_from([0, 1000, 65_536])
_names = st.tuples(st.binary(min_size=1, max_size=3), st.sampled_from([0, 9, 250])).map(
    lambda drawn: drawn[0].translate(bytes([1, *range(1, 46), 65, 65, *range(48, 256)])) + b"n" * drawn[1]
)  # no zeros, dots and slashes


@st.composite
def inodes(draw: st.DrawFn, children: st.SearchStrategy[dict[bytes, Inode]] | None = None) -> Inode:
    kind = (
        stat.S_IFDIR
        if children is not None
        else draw(st.sampled_from([stat.S_IFREG, stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO]))
    )
    inode = Inode(kind | 0o640, draw(_ids), draw(_ids), draw(_times), draw(_xattrs))
    match kind:
        case stat.S_IFREG if size := draw(st.sampled_from([0, 1, 4096, 4097, 1 << 33])):
            inode.size, inode.digest = size, draw(st.binary(min_size=32, max_size=32))
        case stat.S_IFLNK:
            inode.target = b"t" * draw(st.sampled_from([1, 100, 3000, 4000, 4095]))
        case stat.S_IFCHR:
            inode.device = draw(st.sampled_from([(1, 3), (259, 70_000)]))
        case stat.S_IFDIR if children is not None:
            inode.children = {name: Entry(child, 1) for name, child in draw(children).items()}
    return inode


def directories(below: st.SearchStrategy[Inode]) -> st.SearchStrategy[Inode]:
    return inodes(st.dictionaries(_names, below, max_size=25))


_trees = directories(st.recursive(inodes(), directories, max_leaves=12))


def check(reader: Reader, nid: int, parent: int, inode: Inode, seen: dict[int, int]) -> None:
    found = reader.read(nid)
    seen[nid] = seen.get(nid, 0) + 1
    expected = dict(inode.xattrs)
    if inode.size:
        path = object_path(inode.digest).encode()
        expected |= {b"trusted.overlay.metacopy": b"", b"trusted.overlay.redirect": path}
    assert (found["mode"], found["uid"], found["gid"], found["time"]) == (inode.mode, inode.uid, inode.gid, inode.mtime)
    assert found["xattrs"] == expected
    if inode.target:
        assert found["content"] == inode.target
    if inode.device != (0, 0):
        major, minor = inode.device
        assert found["union"] == (minor & 0xFF) | (major << 8) | ((minor & ~0xFF) << 12)
    if not inode.is_directory:
        assert found["size"] == (inode.size or len(inode.target))
        return
    entries = {name: (child, kind) for name, child, kind in reader.entries(nid)}
    assert entries.pop(b".") == (nid, 2)
    assert entries.pop(b"..") == (parent, 2)
    assert entries.keys() == inode.children.keys()
    assert found["links"] == 2 + sum(entry.inode.is_directory for entry in inode.children.values())
    for name, (child, _) in entries.items():
        check(reader, child, nid, inode.children[name].inode, seen)


@settings(max_examples=50)
@given(_trees)
def test_what_is_read_is_what_was_written(root: Inode) -> None:
    reader, seen = Reader(erofs_image(root)), dict[int, int]()
    check(reader, reader.root, reader.root, root, seen)
    assert reader.inos == len(seen)


@settings(max_examples=10)
@given(_trees)
def test_the_same_tree_gives_the_same_bytes(root: Inode) -> None:
    assert erofs_image(root) == erofs_image(root)


def test_hard_links_share_an_inode_that_counts_them() -> None:
    linked = Inode(stat.S_IFREG | 0o644, size=1, digest=bytes(32))
    root = Inode(stat.S_IFDIR | 0o755, children={name: Entry(linked, 1) for name in (b"a", b"b", b"c")})
    reader = Reader(erofs_image(root))

    places = {child for name, child, _ in reader.entries(reader.root) if name not in (b".", b"..")}

    assert [reader.read(nid)["links"] for nid in places] == [3]


def test_a_file_without_its_digest_is_refused() -> None:
    lost = Inode(stat.S_IFREG | 0o644, size=1)
    with pytest.raises(Invalid):
        erofs_image(Inode(stat.S_IFDIR | 0o755, children={b"a": Entry(lost, 1)}))
