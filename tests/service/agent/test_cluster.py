"""Two agents of one cluster: joining, files and blobs from each other, with the registry gone."""

import hashlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
import pytest
from tests.agents import Running, agent
from tests.layered import base, layer, push
from tests.ports import free_port
from tests.service.oci.conftest import registry as serving

from naru.domain.errors import NaruError

pytestmark = [
    pytest.mark.needs("docker-registry", "busybox"),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts"),
]


@pytest.fixture
def home() -> Iterator[Path]:
    with TemporaryDirectory(prefix="nk-", ignore_cleanup_errors=True) as name:
        yield Path(name)


@pytest.fixture
def pair(home: Path) -> Iterator[tuple[Running, Running, tuple[int, int]]]:
    """An agent that holds the cluster's authority, one that joined, and the ports of their mirrors."""
    port, mirrors = free_port(), (free_port(), free_port())
    first = {"NARU_AGENT_NODE": "one", "NARU_AGENT_LISTEN": f"127.0.0.1:{port}", "NARU_AGENT_AUTHORITY": "yes"}
    second = {"NARU_AGENT_NODE": "two", "NARU_AGENT_PEERS": f"127.0.0.1:{port}", "NARU_AGENT_ORIGIN": "no"}
    first["NARU_AGENT_MIRROR"], second["NARU_AGENT_MIRROR"] = (f"127.0.0.1:{mirror}" for mirror in mirrors)
    with agent(home / "one", **first) as one:
        token = one.command("token").strip()
        joining = Running(home / "two", second)
        (home / "two").mkdir()
        said = joining.command("join", token, "--via", f"127.0.0.1:{port}")
        assert "two of the site home has joined the cluster naru" in said
        with agent(home / "two", **second) as two:
            yield one, two, mirrors


async def test_a_node_that_joined_gets_files_and_blobs_from_its_neighbour(home: Path, pair):
    one, two, mirrors = pair
    first, second = mirrors
    registry = serving(home, {})
    host = next(registry)
    reference = f"{host}/shop:1"
    page = layer({"page": os.urandom(3_000_000)})
    image = await push(home / "made", reference, [base(), page])
    blob = hashlib.sha256(page).hexdigest()
    unseen = await push(home / "made", f"{host}/later:1", [base(), layer({"later": b"only its manifest travels"})])
    path = f"/v2/shop/blobs/sha256:{blob}?ns={host}"

    assert image.digest in one.command("prefetch", reference)
    assert image.digest in two.command("prefetch", reference)
    async with httpx.AsyncClient(timeout=60) as http:
        await http.get(f"http://127.0.0.1:{first}{path}")
        await http.get(f"http://127.0.0.1:{first}/v2/later/manifests/{unseen.digest}?ns={host}")
        registry.close()
        taken = await http.get(f"http://127.0.0.1:{second}{path}")
        later = f"/v2/later/manifests/{unseen.digest}?ns={host}"
        manifest = await http.get(f"http://127.0.0.1:{second}{later}")

    assert manifest.status_code == 200, manifest.text
    assert manifest.headers["docker-content-digest"] == unseen.digest
    assert hashlib.sha256(taken.content).hexdigest() == blob
    told = two.asked.status()
    assert told.cluster == "naru"
    assert told.traffic.from_site > 6_000_000
    assert [(peer.node, peer.connected) for peer in told.peers] == [("one", True)]
    (shown,) = told.images
    assert shown.present == shown.objects


def test_a_token_is_good_in_its_cluster_only(home: Path, pair):
    del pair
    stranger = Running(home / "three", {"NARU_AGENT_NODE": "three"})
    done = subprocess.run(
        stranger._words("join", "naru1.wrong", "--via", "127.0.0.1:1"), capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert "no join token" in done.stderr
    with pytest.raises(NaruError):
        stranger.asked.status()
