"""Images from files, and the sample app among them."""

import io
import tarfile
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.oci.archives import AMD64

from naru.domain.errors import Invalid, NotFound
from naru.oci.build import File, Folder, Link, build, layer
from naru.oci.layout import ImageStore
from naru.oci.manifest import ImageConfig
from naru.oci.reference import Reference
from naru.oci.sample import page, sample_image

CREATED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
SHOP = Reference.parse("shop:1")


def read(entries):
    return tarfile.open(fileobj=io.BytesIO(b"".join(layer(entries, CREATED))))


@pytest.fixture
def busybox(tmp_path: Path) -> Path:
    (tmp_path / "busybox").write_bytes(b"\x7fELF not really")
    return tmp_path / "busybox"


def test_a_layer_holds_what_was_given_with_the_directories_above(tmp_path):
    (tmp_path / "big").write_bytes(bytes(3_000_000))
    entries = [
        File("/srv/app/run", b"#!", 0o755),
        File("/srv/big", tmp_path / "big"),
        Link("/bin", "srv/app"),
        Folder("/tmp", 0o1777),
    ]
    with read(entries) as tar:
        found = {member.name: member for member in tar}
        assert tar.extractfile("srv/app/run").read() == b"#!"
    assert list(found) == ["bin", "srv", "srv/app", "srv/app/run", "srv/big", "tmp"]
    assert found["srv/big"].size == 3_000_000
    assert found["srv/app/run"].mode == 0o755
    assert found["tmp"].mode == 0o1777
    assert found["bin"].linkname == "srv/app"
    assert {(member.uid, member.gid, member.mtime) for member in found.values()} == {(0, 0, CREATED.timestamp())}


@pytest.mark.parametrize(
    "entries",
    [
        [File("relative", b"")],
        [File("/../up", b"")],
        [File("/", b"")],
        [File("/a", b""), File("/a", b"")],
        [File("/a", b""), File("/a/b", b"")],
        [Link("/a", "x"), File("/a/b", b"")],
    ],
)
def test_entries_that_contradict_are_refused(entries):
    with pytest.raises(Invalid):
        layer(entries, CREATED)


_paths = st.lists(st.text("abc", min_size=1, max_size=60), min_size=1, max_size=5).map(
    lambda parts: "/" + "/".join(parts)
)


@given(st.dictionaries(_paths, st.binary(max_size=2000), max_size=5), st.randoms())
def test_the_order_of_entries_does_not_matter(files, chance):
    entries = [File(path + "/file", content) for path, content in files.items()]
    once = b"".join(layer(entries, CREATED))
    chance.shuffle(entries)
    assert b"".join(layer(entries, CREATED)) == once
    with read(entries) as tar:
        assert {f"/{m.name}": tar.extractfile(m).read() for m in tar if m.isfile()} == {
            path + "/file": content for path, content in files.items()
        }


async def test_an_image_says_when_it_was_created_and_how_it_runs(tmp_path):
    store = ImageStore(tmp_path / "store")
    config = ImageConfig(platform=AMD64, user="1000", entrypoint=("/run",), exposed_ports=(80,), labels={"a": "b"})
    image = await build(store, SHOP, [File("/run", b"")], config, created=CREATED)
    found = (await store.inspect(image)).config
    assert found.created == "2026-01-02T03:04:05Z"
    assert (found.user, found.entrypoint, found.exposed_ports, found.labels) == ("1000", ("/run",), (80,), {"a": "b"})


async def test_two_stores_build_the_same_sample(tmp_path, busybox):
    one = await sample_image(ImageStore(tmp_path / "one"), busybox=busybox)
    other = await sample_image(ImageStore(tmp_path / "other"), busybox=busybox)
    assert one == other
    assert one.reference == "naru.local/hello:1"


async def test_another_version_is_another_image(tmp_path, busybox):
    store = ImageStore(tmp_path / "store")
    one = await sample_image(store, busybox=busybox)
    two = await sample_image(store, busybox=busybox, version="2", reference=Reference.parse("naru.local/hello:2"))
    assert one.digest != two.digest
    assert len(await store.images()) == 2


async def test_the_sample_has_no_rights_and_says_its_port(tmp_path, busybox):
    store = ImageStore(tmp_path / "store")
    config = (await store.inspect(await sample_image(store, busybox=busybox))).config
    assert config.user == "10001:10001"
    assert config.exposed_ports == (8080,)


async def test_without_a_busybox_the_package_is_named(tmp_path):
    with pytest.raises(NotFound, match="busybox-static"):
        await sample_image(ImageStore(tmp_path / "store"), busybox=tmp_path / "none")


def test_the_page_shows_text_as_text_and_asks_nobody_else():
    shown = page("<script>alert(1)</script>", "2&")
    HTMLParser().feed(shown)
    assert "<script>alert" not in shown
    assert "2&amp;" in shown
    assert "@" not in shown.replace("@media", "").replace("@keyframes", "")
    assert "http:" not in shown
    assert "https:" not in shown
    assert page("x", "1") != page("x", "2")
