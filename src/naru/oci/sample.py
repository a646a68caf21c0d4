"""The sample app: a page served by a static busybox, so that a first deployment needs no image registry."""

import asyncio
import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from html import escape
from pathlib import Path
from typing import Final

from naru.domain.errors import NotFound
from naru.domain.image import Image, Platform
from naru.oci.build import Entry, File, Folder, Link, build
from naru.oci.layout import ImageStore
from naru.oci.manifest import ImageConfig
from naru.oci.reference import Reference

SAMPLE: Final = Reference("naru.local", "hello", "1")
SAMPLE_PORT: Final = 8080
BUSYBOX: Final = Path("/bin/busybox")

_USER: Final = "10001:10001"
_PASSWD: Final = b"root:x:0:0:root:/:/bin/sh\nnaru:x:10001:10001:naru:/www:/bin/sh\n"
# The first process of a container ignores signals that it has no handler for, and busybox httpd has none: without
# the trap every stop would last its whole grace period.
_SERVE: Final = f"trap 'kill $!; exit 0' TERM INT; httpd -f -p {SAMPLE_PORT} -h /www & wait $!"


async def sample_image(
    store: ImageStore,
    *,
    busybox: Path = BUSYBOX,
    reference: Reference = SAMPLE,
    version: str = "1",
    greeting: str = "Hello from Naru",
    platform: Platform | None = None,
) -> Image:
    """Store the sample app; equal arguments and an equal busybox give the same digest.

    It listens on port 8080 as a user without rights: `/` is a page, `/healthz` says ok, `/cgi-bin/whoami` tells the
    instance's host name and the version as JSON. Raises NotFound without a busybox, which must be linked
    statically and be for `platform`, by default linux/amd64.
    """
    if not await asyncio.to_thread(busybox.is_file):
        raise NotFound(f"there is no busybox at {busybox}", "install the package busybox-static")
    entries: list[Entry] = [
        File("/bin/busybox", busybox, 0o755),
        Link("/bin/sh", "busybox"),
        Link("/bin/httpd", "busybox"),
        File("/etc/passwd", _PASSWD),
        File("/etc/group", b"root:x:0:\nnaru:x:10001:\n"),
        Folder("/tmp", 0o1777),  # noqa: S108 - a path inside the image
        File("/www/index.html", page(greeting, version).encode()),
        File("/www/healthz", b"ok\n"),
        File("/www/cgi-bin/whoami", _whoami(version).encode(), 0o755),
    ]
    config = ImageConfig(
        platform=platform or Platform(),
        user=_USER,
        entrypoint=("/bin/sh", "-c", _SERVE),
        environment={"PATH": "/bin"},
        exposed_ports=(SAMPLE_PORT,),
        working_dir="/www",
        labels=_labels(version),
    )
    return await build(store, reference, entries, config, created=_created(version))


def page(greeting: str, version: str) -> str:
    """Return the sample's page. Its colour follows the version, so an update can be seen."""
    hue = (105 + _drawn(version, 360)) % 360
    return (
        _PAGE.replace("@GREETING@", escape(greeting)).replace("@VERSION@", escape(version)).replace("@HUE@", str(hue))
    )


def _created(version: str) -> datetime:
    """Date each version differently: busybox makes its ETags from time and size, and browsers keep pages by them."""
    return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=_drawn(version, 86_400))


def _drawn(version: str, below: int) -> int:
    return int.from_bytes(hashlib.sha256(version.encode()).digest()[:4], "big") % below


def _labels(version: str) -> Mapping[str, str]:
    return {
        "org.opencontainers.image.title": "Naru sample",
        "org.opencontainers.image.description": "A page that says which instance served it",
        "org.opencontainers.image.version": version,
    }


def _whoami(version: str) -> str:
    """Write a script that answers as JSON, with the shell's own words only: no process is started for it."""
    shown = json.dumps(version).replace("'", r"\u0027")
    return (
        "#!/bin/sh\n"
        "read -r name < /proc/sys/kernel/hostname\n"
        r"printf 'Content-Type: application/json\r\nCache-Control: no-store\r\n\r\n'" + "\n"
        f'printf \'{{"instance":"%s","version":%s}}\\n\' "$name" \'{shown}\'\n'
    )


_PAGE: Final = """\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>@GREETING@</title>
<link rel="icon" href="data:,">
<style>
  :root { color-scheme: light dark; --ink: hsl(@HUE@ 45% 24%); --sky: hsl(@HUE@ 70% 96%); --water: hsl(@HUE@ 60% 52%) }
  @media (prefers-color-scheme: dark) { :root { --ink: hsl(@HUE@ 50% 90%); --sky: hsl(@HUE@ 35% 11%) } }
  * { box-sizing: border-box; margin: 0 }
  body { min-height: 100vh; display: grid; place-items: center; overflow: hidden; background: var(--sky);
         color: var(--ink); font: 1.05rem/1.6 system-ui, sans-serif }
  main { position: relative; z-index: 1; padding: 2rem; text-align: center }
  svg.boat { width: 9rem; animation: rock 4s ease-in-out infinite alternate; transform-origin: 50% 90% }
  h1 { margin: 1rem 0 .25rem; font-size: clamp(1.8rem, 6vw, 3rem); line-height: 1.15; letter-spacing: -.02em }
  dl { display: inline-grid; grid-template-columns: auto auto; gap: .25rem 1rem; margin-top: 1.5rem; text-align: left }
  dt { opacity: .7 } dd { font: 600 1rem/1.6 ui-monospace, monospace }
  footer { margin-top: 2rem; font-size: .85rem; opacity: .75 }
  .water { position: fixed; inset: auto 0 0; height: 30vh; background: var(--water); opacity: .16;
           border-radius: 55% 45% 0 0 / 18% 12% 0 0 }
  .water + .water { height: 24vh; opacity: .24; border-radius: 40% 60% 0 0 / 12% 20% 0 0 }
  @keyframes rock { from { transform: rotate(-3deg) } to { transform: rotate(3deg) } }
  @media (prefers-reduced-motion: reduce) { svg.boat { animation: none } }
</style>
<main>
  <svg class="boat" viewBox="0 0 120 90" role="img" aria-label="A ferry with three containers">
    <g fill="var(--water)"><rect x="34" y="34" width="16" height="14" rx="2"/><rect x="53" y="34" width="16" height="14"
    rx="2" opacity=".75"/><rect x="72" y="34" width="16" height="14" rx="2" opacity=".5"/></g>
    <path d="M53 30V12l17 9z" fill="var(--water)" opacity=".6"/>
    <path d="M14 52h92l-14 24a8 8 0 0 1-7 4H35a8 8 0 0 1-7-4z" fill="var(--ink)"/>
  </svg>
  <h1>@GREETING@</h1>
  <p>Your image made the crossing.</p>
  <dl>
    <dt>Version</dt><dd>@VERSION@</dd>
    <dt>Instance</dt><dd id="instance">…</dd>
  </dl>
  <footer>Naru (나루) means a ferry landing.</footer>
</main>
<div class="water"></div><div class="water"></div>
<script>
  fetch("/cgi-bin/whoami").then(answer => answer.json())
    .then(me => { document.getElementById("instance").textContent = me.instance })
    .catch(() => { document.getElementById("instance").textContent = "unknown" })
</script>
</html>
"""
