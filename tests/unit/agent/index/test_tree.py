"""Layers are merged as a naive extraction on disk would, and no member leads out or costs more than it may."""

import io
import stat
import tarfile
from collections.abc import Iterable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from naru.agent.index.tree import Inode, Tree, walk
from naru.domain.errors import Invalid
from naru.oci.tar import LAYER, TarStream

DIRECTORY, SYMLINK, LINK = tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE
Made = tuple[tarfile.TarInfo, bytes]


def made(path: str, content: bytes | None = None, kind: bytes = tarfile.REGTYPE, **fields: object) -> Made:
    info = tarfile.TarInfo(path)
    info.type, info.size, info.mode = kind, len(content or b""), 0o755 if kind == DIRECTORY else 0o644
    for name, value in fields.items():
        setattr(info, name, value)
    return info, content or b""


def layer(*members: Made) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT, errors="surrogateescape") as archive:
        for info, content in members:
            archive.addfile(info, io.BytesIO(content))
    return file.getvalue()


def merged(*layers: bytes, max_entries: int = 1000) -> Inode:
    tree = Tree(max_entries)
    for content in layers:
        tree.begin_layer()
        tar = TarStream(io.BytesIO(content), max_members=1000, dialect=LAYER)
        for member in tar:
            if (inode := tree.add(member)) is not None:
                inode.digest = b"".join(tar.content())  # the content itself: tests read it
    return tree.root


def paths(root: Inode) -> dict[str, str]:
    """What is where: a directory as "/", a link as "-> target", a file as its content."""
    found = {}
    for path, inode in walk(root):
        match stat.S_IFMT(inode.mode):
            case stat.S_IFDIR:
                found[path.decode()] = "/"
            case stat.S_IFLNK:
                found[path.decode()] = f"-> {inode.target.decode()}"
            case _:
                found[path.decode()] = inode.digest.decode()
    del found[""]
    return found


def at(root: Inode, path: str) -> Inode:
    return dict(walk(root))[path.encode()]


def test_an_upper_layer_replaces_and_adds() -> None:
    root = merged(layer(made("a", b"1"), made("d/b", b"2")), layer(made("a", b"3"), made("d/c", b"4")))
    assert paths(root) == {"a": "3", "d": "/", "d/b": "2", "d/c": "4"}


def test_a_whiteout_hides_what_is_below() -> None:
    root = merged(layer(made("d/a", b"1"), made("d/b", b"2"), made("e/f", b"3")), layer(made("d/.wh.a"), made(".wh.e")))
    assert paths(root) == {"d": "/", "d/b": "2"}


@pytest.mark.parametrize("order", [1, -1])
def test_a_whiteout_hides_nothing_of_its_own_layer_in_either_order(order: int) -> None:
    upper = [made(".wh.d"), made("d/new", b"2")]
    root = merged(layer(made("d", kind=DIRECTORY, mode=0o700), made("d/old", b"1")), layer(*upper[::order]))
    assert paths(root) == {"d": "/", "d/new": "2"}
    assert stat.S_IMODE(at(root, "d").mode) == 0o755


@pytest.mark.parametrize("order", [1, -1])
def test_an_opaque_directory_hides_all_that_is_below_and_nothing_of_its_own(order: int) -> None:
    upper = [made("d/.wh..wh..opq"), made("d/s/new", b"2")]
    root = merged(layer(made("d/s/old", b"1"), made("d/t", b"3"), made("e", b"4")), layer(*upper[::order]))
    assert paths(root) == {"d": "/", "d/s": "/", "d/s/new": "2", "e": "4"}


def test_an_opaque_root_hides_everything_below() -> None:
    assert paths(merged(layer(made("a", b"1")), layer(made(".wh..wh..opq"), made("b", b"2")))) == {"b": "2"}


def test_a_device_that_overlayfs_takes_for_a_whiteout_is_one() -> None:
    root = merged(layer(made("a", b"1")), layer(made("a", kind=tarfile.CHRTYPE)))
    assert paths(root) == {}


def test_a_hard_link_shares_its_inode_across_layers() -> None:
    root = merged(layer(made("d/a", b"1")), layer(made("b", kind=LINK, linkname="/d/a"), made("d/.wh.a")))
    assert paths(root) == {"b": "1", "d": "/"}
    both = merged(layer(made("a", b"1")), layer(made("b", kind=LINK, linkname="./a")))
    assert at(both, "a") is at(both, "b")


def test_replacing_one_name_of_a_hard_link_leaves_the_other() -> None:
    root = merged(layer(made("a", b"1"), made("b", kind=LINK, linkname="a")), layer(made("a", b"2")))
    assert paths(root) == {"a": "2", "b": "1"}


def test_a_directory_becomes_a_file_and_a_directory_again() -> None:
    first, second = layer(made("a/b", b"1")), layer(made("a", b"2"))
    assert paths(merged(first, second)) == {"a": "2"}
    assert paths(merged(first, second, layer(made("a", kind=DIRECTORY), made("a/c", b"3")))) == {"a": "/", "a/c": "3"}


def test_a_directory_that_is_described_again_keeps_its_children() -> None:
    root = merged(layer(made("a/b", b"1")), layer(made("a", kind=DIRECTORY, mode=0o700, uid=7)))
    assert (paths(root), stat.S_IMODE(at(root, "a").mode), at(root, "a").uid) == ({"a": "/", "a/b": "1"}, 0o700, 7)


def test_entries_below_a_symbolic_link_go_where_it_leads_and_never_out() -> None:
    links = layer(
        made("usr/lib", kind=DIRECTORY),
        made("lib", kind=SYMLINK, linkname="usr/lib"),
        made("out", kind=SYMLINK, linkname="../../../usr/./lib"),
        made("all", kind=SYMLINK, linkname="/"),
    )
    root = merged(links, layer(made("lib/a", b"1"), made("out/b", b"2"), made("all/c", b"3"), made("lib/.wh.x")))
    assert {path: what for path, what in paths(root).items() if what in "123"} == {
        "usr/lib/a": "1",
        "usr/lib/b": "2",
        "c": "3",
    }


def test_attributes_are_kept() -> None:
    records = {"SCHILY.xattr.user.a": "x", "SCHILY.xattr.trusted.overlay.opaque": "y", "SCHILY.xattr.other": "z"}
    root = merged(
        layer(made("./", kind=DIRECTORY, mode=0o711), made("a", b"1", mode=0o4755, uid=3_000_000, gid=4, mtime=1.5)),
        layer(made("x", pax_headers=records), made("n", kind=tarfile.BLKTYPE, devmajor=8, devminor=300)),
    )
    a = at(root, "a")
    assert (stat.S_IMODE(root.mode), stat.S_IMODE(a.mode), a.uid, a.gid, a.mtime) == (
        0o711,
        0o4755,
        3_000_000,
        4,
        1500000000,
    )
    assert at(root, "x").xattrs == ((b"user.a", b"x"),)
    assert at(root, "n").device == (8, 300)


def test_names_are_bytes_and_case_matters() -> None:
    root = merged(layer(made("caf\udce9", b"1"), made("A", b"2"), made("a", b"3")))
    assert sorted(root.children) == [b"A", b"a", b"caf\xe9"]


def test_what_aufs_kept_for_itself_is_left_out() -> None:
    assert paths(merged(layer(made(".wh..wh.plnk/1.2", b"x"), made(".wh..wh.aufs", b"y")))) == {}


@pytest.mark.parametrize(
    "members",
    [
        [made("../a", b"x")],
        [made("a/../../b", b"x")],
        [made("a", b"x"), made("a/b", b"y")],
        [made("b", kind=LINK, linkname="../../etc/passwd")],
        [made("b", kind=LINK, linkname="nowhere")],
        [made("d", kind=DIRECTORY), made("b", kind=LINK, linkname="d")],
        [made("b", kind=LINK, linkname="/")],
        [made(".wh.")],
        [made(".wh..")],
        [made(".wh...")],
        [made(".wh.a/b", b"x")],
        [made(".", b"x")],
        [made("n" * 256, b"x")],
        [made("n" * 256 + "/a", b"x")],
        [made("a", kind=SYMLINK)],
        [made("l", kind=SYMLINK, linkname="l"), made("l/a", b"x")],
        [made("l", kind=SYMLINK, linkname="m"), made("m", kind=SYMLINK, linkname="l"), made("l/a", b"x")],
        [made("s", kind=tarfile.GNUTYPE_SPARSE)],
        [
            made(
                "s",
                b"1\n0\n1\n",
                pax_headers={"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "s"},
            )
        ],
        [made("s", b"x", pax_headers={"GNU.sparse.map": "0,1", "GNU.sparse.size": str(1 << 50)})],
        [made("a", b"x", uid=1 << 40)],
        [made("c", kind=tarfile.CHRTYPE, devmajor=4096)],
        [made("/".join(["d"] * 1500) + "/a", b"x")],
    ],
)
def test_what_no_honest_layer_holds_is_refused(members: list[Made]) -> None:
    with pytest.raises(Invalid):
        merged(layer(*members))


def test_more_entries_than_allowed_are_refused() -> None:
    with pytest.raises(Invalid, match="more than 10 entries"):
        merged(layer(*(made(str(n)) for n in range(11))), max_entries=10)


def test_parents_that_are_made_count_as_entries() -> None:
    with pytest.raises(Invalid, match="more than 10 entries"):
        merged(layer(made("/".join("abcdefghijkl"))), max_entries=10)


# A naive model: a dictionary of paths, layer by layer, with whiteouts applied to a copy of what was below.

_names = st.sampled_from("abc")
_where = st.lists(_names, min_size=1, max_size=3).map("/".join)
_what = st.one_of(
    st.tuples(st.just("file"), st.binary(max_size=3).map(bytes.hex)),
    st.tuples(st.just("directory"), st.just("")),
    st.tuples(st.just("whiteout"), st.just("")),
    st.tuples(st.just("opaque"), st.just("")),
)
_layers = st.lists(st.lists(st.tuples(_where, _what), max_size=6), max_size=4)


def naive(layers: Iterable[list[tuple[str, tuple[str, str]]]]) -> dict[str, str]:
    below: dict[str, str] = {}
    for members in layers:
        hidden, own = dict(below), dict[str, str]()
        for path, (kind, content) in members:
            match kind:
                case "whiteout":
                    _forget(hidden, path)
                    own.update(dict.fromkeys(_parents(path), "/"))
                case "opaque":
                    _forget(hidden, path + "/")
                    own.update(dict.fromkeys([*_parents(path), path], "/"))
                case "file":
                    _forget(own, path)
                    _forget(hidden, path)
                    own.update(dict.fromkeys(_parents(path), "/"))
                    own[path] = content
                case "directory":
                    own.update(dict.fromkeys([*_parents(path), path], "/"))
        below = {
            path: what for path, what in hidden.items() if all(own.get(p, "/") == "/" for p in _parents(path))
        } | own
    return below


def _parents(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts))]


def _forget(tree: dict[str, str], path: str) -> None:
    for known in list(tree):
        if known == path or known.startswith(path.rstrip("/") + "/"):
            del tree[known]


def _consistent(layers: Iterable[list[tuple[str, tuple[str, str]]]]) -> Iterator[list[tuple[str, tuple[str, str]]]]:
    """Leave out members that need a directory where their own or a lower layer has a file: those are refused."""
    files: set[str] = set()
    for members in layers:
        kept: list[tuple[str, tuple[str, str]]] = []
        for path, (kind, content) in members:
            above = {*_parents(path), *([path] if kind in ("opaque",) else [])}
            if above & files or (kind in ("whiteout", "opaque") and _entangled(path, kind, kept)):
                continue
            kept.append((path, (kind, content)))
            if kind == "file":
                files.add(path)
                files -= {known for known in files if known.startswith(path + "/")}
            if kind == "directory":
                files.discard(path)
        yield kept


def _entangled(path: str, kind: str, others: list[tuple[str, tuple[str, str]]]) -> bool:
    """Whether a marker hides the directory that another marker of its layer stands in: no file system writes that."""

    def hides(marker: tuple[str, str], other: tuple[str, str]) -> bool:
        place = other[0] if other[1] == "opaque" else other[0].rpartition("/")[0]
        return place.startswith(marker[0] + "/") or (marker[1] == "whiteout" and place == marker[0])

    return any(
        what in ("whiteout", "opaque") and (hides((path, kind), (other, what)) or hides((other, what), (path, kind)))
        for other, (what, _) in others
    )


@given(_layers)
def test_a_merge_is_what_a_naive_model_says(layers: list[list[tuple[str, tuple[str, str]]]]) -> None:
    consistent = list(_consistent(layers))
    archives = []
    for members in consistent:
        written = []
        for path, (kind, content) in members:
            above, _, name = path.rpartition("/")
            match kind:
                case "file":
                    written.append(made(path, content.encode()))
                case "directory":
                    written.append(made(path, kind=DIRECTORY))
                case "whiteout":
                    written.append(made(f"{above}/.wh.{name}" if above else f".wh.{name}"))
                case "opaque":
                    written.append(made(f"{path}/.wh..wh..opq"))
        archives.append(layer(*written))
    assert paths(merged(*archives)) == naive(consistent)
