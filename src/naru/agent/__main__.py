"""The agent as a program of its own: `python -m naru.agent`, which `naru agent run` becomes."""

import asyncio
import sys

from naru.agent.run import run
from naru.agent.settings import read_environment
from naru.domain.errors import NaruError

if __name__ == "__main__":
    try:
        sys.exit(asyncio.run(run(read_environment())))
    except NaruError as error:
        sys.exit(f"error: {error}")
