"""Which engines there are: one line each, by the scheme of their URL."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from naru.domain.errors import Invalid
from naru.engines.base import OpenEngine
from naru.engines.docker import open_docker
from naru.engines.kubernetes import open_kubernetes
from naru.engines.marathon import open_marathon
from naru.engines.swarm import open_swarm

Opener = Callable[..., AbstractAsyncContextManager[OpenEngine]]

ENGINES: dict[str, Opener] = {
    "unix": open_docker,
    "tcp": open_docker,
    "kubernetes": open_kubernetes,
    "marathon+http": open_marathon,
    "marathon+https": open_marathon,
    "swarm+unix": open_swarm,
    "swarm+tcp": open_swarm,
}


def open_engine(
    url: str, tasks: asyncio.TaskGroup, *, site: str, owner: str, name: str = ""
) -> AbstractAsyncContextManager[OpenEngine]:
    """Open the engine at a URL for the Naru called `owner`; raise Invalid when no engine has its scheme.

    Without a name of its own the engine is called after its kind.
    """
    scheme = url.partition(":")[0]
    opener = ENGINES.get(scheme)
    if opener is None:
        # The rest of the URL may hold a password.
        raise Invalid(f"no engine is reached by {scheme}:…", f"use one of {', '.join(f'{one}:…' for one in ENGINES)}")
    return opener(url, tasks, site=site, owner=owner, **({"name": name} if name else {}))
