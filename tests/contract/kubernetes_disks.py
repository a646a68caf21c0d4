"""What the volumes of the simulated cluster hold, as far as tar and a shell in its pods are concerned."""

import io
import tarfile
from collections.abc import Sequence

from tests.contract.kubernetes_objects import Json, Objects

ABOUT = b"tar (GNU tar) 1.34\n"
_LEFT = 12
"""Files that a shell leaves, whatever it is told."""


class Disks:
    """Keeps an archive for each claim, by its uid: one that is made anew is empty."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._held: dict[str, bytes] = {}
        self.about = ABOUT
        """What the images' tar says of itself."""

    def run(self, pod: Json, command: Sequence[str], given: bytes) -> tuple[int, bytes, bytes] | None:
        """Do what a command does to the pod's volume; None for one that touches none."""
        if command == ("tar", "--version"):
            return 0, self.about, b""
        if not (volume := self._volume(pod)):
            return None
        match command[0]:
            case "tar" if "-cf" in command:
                return 0, self._held.get(volume, archive(0)), b""
            case "tar":
                if not given.endswith(bytes(512)):
                    return 2, b"", b"tar: Unexpected EOF in archive\n"
                self._held[volume] = given
            case "/bin/sh":
                self._held[volume] = archive(_LEFT)
            case _:
                return None
        return 0, b"", b""

    def _volume(self, pod: Json) -> str:
        for volume in pod["spec"].get("volumes", ()):
            if source := volume.get("persistentVolumeClaim"):
                key = ("persistentvolumeclaims", pod["metadata"]["namespace"], source["claimName"])
                return str(self._objects.held[key].value["metadata"]["uid"])
        return ""


def archive(files: int) -> bytes:
    """Make an archive of a root with so many small files."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        root = tarfile.TarInfo("./")
        root.type, root.mode = tarfile.DIRTYPE, 0o755
        tar.addfile(root)
        for number in range(files):
            entry = tarfile.TarInfo(f"./{number}")
            entry.size = 1
            tar.addfile(entry, io.BytesIO(b"x"))
    return out.getvalue()
