"""What the wheel holds and the repository does not is made anew exactly when its source has changed."""

import os
from gettext import GNUTranslations
from pathlib import Path

import hatch_build

KOREAN = """\
msgid ""
msgstr "Content-Type: text/plain; charset=UTF-8\\n"

msgid "apps"
msgstr "{word}"
"""


def catalogue(root: Path, word: str, age: int) -> Path:
    source = root / "src/naru/console/locale/ko/LC_MESSAGES/messages.po"
    source.parent.mkdir(parents=True, exist_ok=True)
    source.write_text(KOREAN.format(word=word))
    os.utime(source, (age, age))
    return source.with_suffix(".mo")


def translated(compiled: Path) -> str:
    with compiled.open("rb") as binary:
        return GNUTranslations(binary).gettext("apps")


def test_a_catalogue_is_compiled_so_that_gettext_reads_it(tmp_path: Path) -> None:
    compiled = catalogue(tmp_path, "앱", age=1)

    hatch_build.compile_catalogues(tmp_path)

    assert translated(compiled) == "앱"


def test_a_catalogue_is_compiled_again_only_when_it_is_newer(tmp_path: Path) -> None:
    compiled = catalogue(tmp_path, "앱", age=1)
    hatch_build.compile_catalogues(tmp_path)
    os.utime(compiled, (10, 10))

    catalogue(tmp_path, "older", age=9)
    hatch_build.compile_catalogues(tmp_path)
    assert translated(compiled) == "앱"

    catalogue(tmp_path, "newer", age=11)
    hatch_build.compile_catalogues(tmp_path)
    assert translated(compiled) == "newer"


def test_vendored_javascript_of_the_same_pins_is_left_alone(tmp_path: Path) -> None:
    vendor = tmp_path / "src/naru/console/static/vendor"
    vendor.mkdir(parents=True)
    for name in hatch_build.PINS:
        (tmp_path / name).write_text("pins")
    for name in hatch_build.VENDOR:
        (vendor / name).write_text("kept")
    (vendor / ".stamp").write_text(hatch_build.fingerprint(tmp_path))

    hatch_build.vendor_javascript(tmp_path)

    assert {(vendor / name).read_text() for name in hatch_build.VENDOR} == {"kept"}


def test_other_pins_make_the_vendored_javascript_stale(tmp_path: Path) -> None:
    for name in hatch_build.PINS:
        (tmp_path / name).write_text("pins")
    before = hatch_build.fingerprint(tmp_path)

    (tmp_path / "package-lock.json").write_text("other pins")

    assert hatch_build.fingerprint(tmp_path) != before
