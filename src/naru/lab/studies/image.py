"""What the comparison deploys: a busybox web server that can be told to die, and that notes a word in a volume."""

from datetime import UTC, datetime
from typing import Final

from naru.domain.image import Image
from naru.oci.build import Entry, File, Folder, Link, build
from naru.oci.layout import ImageStore
from naru.oci.manifest import ImageConfig
from naru.oci.reference import Reference
from naru.oci.sample import BUSYBOX

STUDY: Final = Reference("naru.local", "study", "1")
PORT: Final = 8080
VOLUME: Final = "/data"
CRASH: Final = "/cgi-bin/crash"
"""Ends the container's first process, and with it the container, with exit code 3."""
NOTE: Final = "/cgi-bin/note"
"""Writes its query into the volume when there is one, and answers with what the volume holds."""

_SERVE: Final = f"trap 'exit 3' USR1; trap 'kill $!; exit 0' TERM INT; httpd -f -p {PORT} -h /www & wait $!"
_CRASH: Final = "#!/bin/sh\nprintf 'Content-Type: text/plain\\r\\n\\r\\n'\nkill -USR1 1\n"
_NOTE: Final = f"""#!/bin/sh
printf 'Content-Type: text/plain\\r\\n\\r\\n'
[ -z "$QUERY_STRING" ] || echo "$QUERY_STRING" > {VOLUME}/note
[ ! -e {VOLUME}/note ] || cat {VOLUME}/note
"""


async def study_image(store: ImageStore) -> Image:
    """Store the image; an equal busybox gives an equal digest."""
    entries: list[Entry] = [
        File("/bin/busybox", BUSYBOX, 0o755),
        *(Link(f"/bin/{tool}", "busybox") for tool in ("cat", "httpd", "sh")),
        File("/etc/passwd", b"root:x:0:0:root:/:/bin/sh\n"),
        Folder(VOLUME),
        File("/www/index.html", b"here\n"),
        File(f"/www{CRASH}", _CRASH.encode(), 0o755),
        File(f"/www{NOTE}", _NOTE.encode(), 0o755),
    ]
    config = ImageConfig(
        entrypoint=("/bin/sh", "-c", _SERVE),
        environment={"PATH": "/bin"},
        exposed_ports=(PORT,),
        working_dir="/www",
        labels={"org.opencontainers.image.title": "Naru study"},
    )
    return await build(store, STUDY, entries, config, created=datetime(2026, 1, 1, tzinfo=UTC))
