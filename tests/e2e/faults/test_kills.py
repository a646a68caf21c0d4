"""The server is killed with SIGKILL at each step of a rollout; the endpoint answers all the while."""

import pytest
from tests.e2e.faults.conftest import Server, used

pytestmark = [pytest.mark.needs("docker"), pytest.mark.needs("caddy")]

STEPS = ["resolve", "gate", "place", "distribute", "roll", "prove", "watch"]


@pytest.fixture(scope="module")
def app(naru: Server) -> str:
    """An app that is live before the first kill."""
    ended = naru.end(naru.deploy("killed", "faults:1"))
    assert ended["state"] == "succeeded", ended["reason"]
    return "killed"


def other(naru: Server, app: str) -> str:
    """Name the image that the app does not run."""
    live = naru.status(app)["release"]["image"]["reference"]
    return "faults:2" if live.endswith("faults:1") else "faults:1"


@pytest.mark.parametrize("step", STEPS)
def test_a_rollout_survives_a_kill_of_the_server(naru, app, step):
    naru.settled(app)
    with used(naru.status(app)["endpoint"]["url"]) as client:
        rollout = naru.call("PATCH", f"/apps/{naru.name(app)}", json={"image": other(naru, app)}).json()
        naru.until_step(rollout, step)
        naru.kill()
        naru.start()
        ended = naru.end(rollout)
        naru.settled(app)

    assert ended["state"] == "succeeded", ended["reason"]
    assert client.sent > 10
    assert client.failures == []
    assert {step["state"] for step in ended["steps"]} == {"passed"}


def test_a_way_back_survives_a_kill_of_the_server(naru, app):
    naru.settled(app)
    before = naru.status(app)["release"]
    asked = {**before["workload"], "image": other(naru, app), "environment": {"BAD": "1"}, "arguments": ["--wrong"]}
    with used(naru.status(app)["endpoint"]["url"]) as client:
        rollout = naru.call("PUT", f"/apps/{naru.name(app)}", json=asked).json()
        naru.until_step(rollout, "roll-back")
        naru.kill()
        naru.start()
        ended = naru.end(rollout)
        naru.settled(app)

    assert ended["state"] == "failed"
    assert naru.status(app)["release"]["number"] == before["number"]
    assert client.failures == []


def test_a_removal_survives_a_kill_of_the_server(naru):
    naru.end(naru.deploy("removed", "faults:1"))
    rollout = naru.call("DELETE", f"/apps/{naru.name('removed')}").json()
    naru.until_step(rollout, "remove")
    naru.kill()
    naru.start()

    assert naru.end(rollout)["state"] == "succeeded"
    assert naru.containers("removed") == []
    assert naru.call("GET", f"/apps/{naru.name('removed')}", check=False).status_code == 404


def test_everything_works_after_all_of_that(naru, app):
    ended = naru.end(naru.deploy("after", "faults:2", replicas=1))

    assert ended["state"] == "succeeded", ended["reason"]
    naru.settled("after")
    naru.settled(app)
