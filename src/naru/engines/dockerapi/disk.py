"""The disk that an engine on this machine keeps its data on."""

import shutil
from pathlib import Path


def disk_free(root: Path) -> int:
    """Bytes free where the engine keeps its data, or, where that is hidden from us, above it."""
    while not root.exists() and root != root.parent:
        root = root.parent
    return shutil.disk_usage(root).free
