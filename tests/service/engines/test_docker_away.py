"""What is told of a Docker engine that cannot be reached, by the real client."""

import pytest

from naru.domain.errors import Unavailable
from naru.engines.dockerapi.wire import Wire


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("unix:///no/such/docker.sock", "no such file or directory"),
        ("unix:///dev/null", "connection refused"),
        ("tcp://127.0.0.1:1", "connection refused"),
    ],
)
async def test_the_reason_of_an_absence_is_said_once(url, reason):
    async with Wire(url, "docker", "us") as wire:
        with pytest.raises(Unavailable) as caught:
            await wire.version()
    assert str(caught.value) == f"docker does not answer at {url}: {reason}; start it, or name another engine"
