"""Can Swarm's own ingress mesh route? It needs IPVS in the kernel; Naru's instances do without it.

Naru publishes each instance on the node where it runs, and its own front door chooses among the ready ones, so an app
does not depend on the mesh. Others' services may: that is why it is told.
"""

import os
from pathlib import Path

NO_IPVS = (
    "the kernel of this machine has no IPVS, so the ingress mesh of Docker Swarm does not route;"
    " instances of Naru are published on their nodes and are not affected"
)


def ingress_problem(proc: Path = Path("/proc"), modules: Path = Path("/lib/modules")) -> str:
    """Say why the ingress mesh cannot route on this machine; empty when it can."""
    if (proc / "net/ip_vs").exists():
        return ""
    home = modules / os.uname().release
    for name in ("modules.builtin", "modules.dep"):
        try:
            if "/ip_vs.ko" in (home / name).read_text():
                return ""
        except OSError:
            continue
    return NO_IPVS
