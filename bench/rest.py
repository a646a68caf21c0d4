"""When this machine is at rest, so that what made a measure's scene does not share processors with what is measured.

Files that were written go to the disk, and memory that was freed goes back to where it came from, some time later.
"""

import os
import time
from pathlib import Path
from typing import Final

WINDOW_SECONDS: Final = 0.5
IDLE: Final = 0.8
"""What part of a window processors are idle at rest; agents of a fleet ping each other."""
PATIENCE: Final = 60.0


def rest() -> None:
    """Return when processors have been idle for a second, or at least have had a minute for it."""
    os.sync()
    deadline = time.monotonic() + PATIENCE
    quiet = 0
    while quiet < 2 and time.monotonic() < deadline:
        before = _idle()
        time.sleep(WINDOW_SECONDS)
        quiet = quiet + 1 if _idle() - before > IDLE * WINDOW_SECONDS * (os.cpu_count() or 1) else 0


def _idle() -> float:
    """Return the seconds that all processors together have been idle so far, from /proc/stat (proc(5))."""
    fields = Path("/proc/stat").read_text().split(maxsplit=6)
    return (int(fields[4]) + int(fields[5])) / os.sysconf("SC_CLK_TCK")
