"""What goes wrong around a deployment, on the real engine and behind the real front door."""

import hashlib
import io
import json
import secrets
import socket
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.e2e.faults.conftest import Server, used, workload
from tests.ports import free_port

pytestmark = [pytest.mark.needs("docker"), pytest.mark.needs("caddy")]

EXITS = {"command": ["/bin/sh", "-c", "echo going down; exit 3"]}
HUNGRY = {
    "command": ["/bin/sh", "-c", "echo hungry; exec /bin/dd if=/dev/zero of=/dev/null bs=200M"],
    "resources": {"memory": 16 << 20},
}
DEAF = {"port": 8081, "health": {"check": {"kind": "tcp"}, "interval": 0.2, "start_period": 0.5, "retries": 2}}


@pytest.fixture(scope="module")
def live(naru: Server) -> str:
    """An app that is well and must stay so."""
    ended = naru.end(naru.deploy("live", "faults:1"))
    assert ended["state"] == "succeeded", ended["reason"]
    return "live"


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (EXITS, ["exited with code 3", "going down"]),
        (HUNGRY, ["more than its memory limit of 16 MiB (OOM)"]),
        (DEAF, ["8081"]),
        ({"image": "localhost:1/nope:1"}, ["localhost:1"]),
        ({"proof": {"count": 3, "interval": 0.02, "request": {"path": "/nothing"}}}, ["GET /nothing answered 404"]),
    ],
    ids=["exits", "oom", "wrong-port", "no-registry", "no-proof"],
)
def test_a_bad_release_is_taken_back_while_the_old_one_serves(naru, live, wrong, words):
    before = naru.status(live)["release"]["number"]
    with used(naru.status(live)["endpoint"]["url"]) as client:
        ended = naru.end(naru.deploy(live, **{"image": "faults:2", **wrong}))
        naru.settled(live)

    assert ended["state"] == "failed"
    assert all(word in ended["reason"] for word in words), ended["reason"]
    assert naru.status(live)["release"]["number"] == before
    assert client.failures == []


def test_a_first_deployment_that_fails_leaves_nothing_on_the_engine(naru):
    ended = naru.end(naru.deploy("exits", "faults:1", **EXITS))

    assert ended["state"] == "failed"
    assert naru.containers("exits") == []
    assert naru.end(naru.call("DELETE", f"/apps/{naru.name('exits')}").json())["state"] == "succeeded"


def test_a_port_that_another_process_holds_is_named_with_its_holder(naru):
    port = free_port()
    with socket.create_server(("0.0.0.0", port)):
        ended = naru.end(naru.deploy("taken", "faults:1", address={"port": port}))

    assert ended["state"] == "failed"
    assert f"port {port}" in ended["reason"]
    assert [step["name"] for step in ended["steps"] if step["state"] == "failed"] == ["place"]
    assert naru.containers("taken") == []


def test_an_image_for_another_machine_is_refused_before_it_starts(naru, tmp_path):
    archive = tmp_path / "foreign.tar"
    _for_another_machine(archive)
    naru.load(archive)

    ended = naru.end(naru.deploy("foreign", "faults-foreign:1"))

    assert ended["state"] == "failed"
    assert "riscv64" in ended["reason"]
    assert naru.containers("foreign") == []


def _for_another_machine(archive: Path) -> None:
    """Write an image whose configuration names an architecture that no test machine has."""
    config = json.dumps(
        {"architecture": "riscv64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}}
    ).encode()
    name = f"{hashlib.sha256(config).hexdigest()}.json"
    index = [{"Config": name, "RepoTags": ["faults-foreign:1"], "Layers": []}]
    with tarfile.open(archive, "w") as tar:
        for path, content in (("manifest.json", json.dumps(index).encode()), (name, config)):
            entry = tarfile.TarInfo(path)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))


def test_two_deployments_at_once_are_one_deployment_and_one_conflict(naru):
    body = workload(naru.name("twice"), "faults:1", replicas=1)
    with ThreadPoolExecutor(2) as pool:
        calls = [pool.submit(naru.call, "POST", "/apps", check=False, json=body) for _ in range(2)]
    answers = sorted((call.result() for call in calls), key=lambda answer: answer.status_code)

    assert [answer.status_code for answer in answers] == [202, 409]
    assert answers[0].json()["id"] in answers[1].json()["detail"]
    assert naru.end(answers[0].json())["state"] == "succeeded"


def test_a_container_that_someone_removed_is_replaced_and_that_is_told(naru, live):
    gone = naru.containers(live)[0]["Id"]

    naru.docker("DELETE", f"/containers/{gone}", params={"force": "1"})
    naru.until(lambda: gone not in {one["Id"] for one in naru.containers(live)}, "it is still there")

    naru.settled(live)
    assert any("missing" in event for event in naru.events(live))


@pytest.mark.parametrize("deed", ["stop", "update", "pause"])
def test_what_someone_did_to_a_container_is_repaired_and_told(naru, live, deed):
    victim = naru.containers(live)[0]["Id"]
    told = len(naru.events(live))
    match deed:
        case "stop":
            naru.docker("POST", f"/containers/{victim}/stop", params={"t": "0"})
        case "update":
            naru.docker("POST", f"/containers/{victim}/update", json={"Memory": 64 << 20, "MemorySwap": 64 << 20})
        case _:
            naru.docker("POST", f"/containers/{victim}/pause")

    naru.until(lambda: victim not in {one["Id"] for one in naru.containers(live)}, "it is still there")
    naru.settled(live)

    assert any("changed by someone else" in event for event in naru.events(live)[told:])


def test_a_container_that_is_not_ours_is_left_alone(naru, live):
    image = naru.containers(live)[0]["ImageID"]
    name = f"naru-{naru.name(live)}-foreign-{secrets.token_hex(3)}"
    body = {"Image": image, "Cmd": ["sleep", "600"]}
    made = naru.docker("POST", "/containers/create", params={"name": name}, json=body).json()["Id"]
    try:
        naru.docker("POST", f"/containers/{made}/start")
        naru.end(naru.call("PATCH", f"/apps/{naru.name(live)}", json={"replicas": 3}).json())
        naru.end(naru.call("PATCH", f"/apps/{naru.name(live)}", json={"replicas": 2}).json())
        naru.end(naru.deploy("gone", "faults:1", replicas=1))
        naru.end(naru.call("DELETE", f"/apps/{naru.name('gone')}").json())

        assert naru.docker("GET", f"/containers/{made}/json").json()["State"]["Running"]
    finally:
        naru.docker("DELETE", f"/containers/{made}", params={"force": "1"})
