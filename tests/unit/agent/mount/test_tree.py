"""The names of the FUSE tree."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from naru.agent.index.index import Index, Object
from naru.agent.mount.fuse import ROOT, Attributes
from naru.agent.mount.tree import Ambiguous, Named, Tree, is_directory, node_of

objects = st.dictionaries(st.binary(min_size=32, max_size=32), st.integers(1, 1 << 20), max_size=30)


def index_of(sizes: dict[bytes, int], name: str = "image") -> Index:
    image = f"sha256:{hashlib.sha256(name.encode()).hexdigest()}"
    return Index(image, b"", tuple(Object(digest, sizes[digest]) for digest in sorted(sizes)))


def find(tree: Tree, digest: bytes) -> Attributes | None:
    shard = tree.lookup(ROOT, digest.hex()[:2].encode())
    assert shard
    assert shard.directory
    return tree.lookup(shard.node, digest.hex()[2:].encode())


@given(objects, objects)
def test_every_listed_object_is_found_by_name_and_by_node_with_its_size(first, second):
    second = {digest: first.get(digest, size) for digest, size in second.items()}
    tree = Tree()
    tree.add(index_of(first, "first"))
    tree.add(index_of(second, "second"))

    for digest, size in {**first, **second}.items():
        assert find(tree, digest) == Attributes(node_of(digest), size)
        assert tree.object(node_of(digest)) == Named(digest, size)
        assert len(tree.images(node_of(digest))) == (digest in first) + (digest in second)
        assert not is_directory(node_of(digest))


@given(objects, st.binary(max_size=70))
def test_other_names_are_not_there(sizes, name):
    tree = Tree()
    tree.add(index_of(sizes))

    assert find(tree, hashlib.sha256(name).digest()) is None
    for directory in (ROOT, 2, 257):
        found = tree.lookup(directory, name)
        assert found is None or found.directory or bytes.fromhex(name.decode())


def test_an_image_that_is_removed_takes_only_its_own_names():
    shared, own = hashlib.sha256(b"shared").digest(), hashlib.sha256(b"own").digest()
    tree = Tree()
    first, second = index_of({shared: 6, own: 3}, "first"), index_of({shared: 6}, "second")
    tree.add(first)
    tree.add(second)

    tree.remove(first.image)

    assert find(tree, own) is None
    assert find(tree, shared) is not None
    assert tree.all_images == (second.image,)


def test_objects_that_share_a_number_are_neither_served():
    digest = hashlib.sha256(b"honest").digest()
    twin = digest[:8] + bytes(24)
    tree = Tree()
    tree.add(index_of({digest: 6}, "honest"))
    assert find(tree, digest)

    tree.add(index_of({twin: 9}, "hostile"))

    for one in (digest, twin):
        with pytest.raises(Ambiguous):
            find(tree, one)


def test_directories_keep_their_nodes_whatever_is_added():
    tree = Tree()

    assert tree.lookup(ROOT, b"00") == Attributes(2, directory=True)
    assert tree.lookup(ROOT, b"ff") == Attributes(257, directory=True)
    assert tree.attributes(ROOT) == Attributes(ROOT, directory=True)
    assert tree.attributes(258) is None
