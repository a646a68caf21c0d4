"""Apps as files, against the real API: what is shown first, what is deployed, in which order, and how it ends."""

import json
from pathlib import Path

import pytest
from tests.contract.fake_behaviour import NeverReady
from tests.service.cli.conftest import Served

from naru.cli.up import read_file
from naru.domain.workload import Address, Rolling, SecretFile, Workload
from naru.formats.compose import Ask, read_project
from naru.formats.kubernetes import write_manifests
from naru.formats.marathon import write_app

PROOF = "x-naru: {proof: {count: 3, interval: 5ms}}"
COMPOSE = f"""
name: site
services:
  web:
    image: ${{IMAGE:-shop:1}}
    ports: ["20500:8080"]
    deploy: {{replicas: 2}}
    depends_on: {{api: {{condition: service_healthy}}}}
    secrets: [token]
    cap_add: [NET_ADMIN]
    {PROOF}
  api:
    image: shop:1
    expose: ["8080"]
secrets:
  token: {{file: token.txt}}
"""


@pytest.fixture
def compose(tmp_path: Path) -> Path:
    folder = tmp_path / "compose"
    folder.mkdir()
    (folder / "token.txt").write_text("one")
    file = folder / "compose.yaml"
    file.write_text(COMPOSE)
    return file


def apps(served: Served) -> dict[str, str]:
    answer = json.loads(served.naru("apps", "-o", "json").stdout)
    return {item["app"]["name"]: item["app"]["state"] for item in answer["items"]}


def live(served: Served, app: str) -> dict[str, object]:
    return json.loads(served.naru("status", app, "-o", "json").stdout)["release"]


def test_a_compose_file_is_deployed_in_its_order_after_its_losses_are_told(served: Served, compose: Path):
    result = served.naru("up", "-f", str(compose))

    assert result.exit_code == 0, result.output
    told = result.stdout
    assert told.index("cap_add: NET_ADMIN") < told.index("site-api: deploy") < told.index("site-web: deploy")
    assert apps(served) == {"site-api": "live", "site-web": "live"}
    assert live(served, "site-web")["workload"]["secrets"] == [  # type: ignore[index]
        {"name": "site-token", "path": "/run/secrets/token", "version": 1}
    ]


def test_what_is_live_as_the_file_says_is_left_alone(served: Served, compose: Path):
    served.naru("up", "-f", str(compose))

    again = served.naru("up", "-f", str(compose))
    assert again.exit_code == 0, again.output
    assert "nothing to do" in again.stdout
    assert live(served, "site-web")["number"] == 1

    changed = served.naru("up", "-f", str(compose), IMAGE="shop:2")
    assert changed.exit_code == 0, changed.output
    assert "site-api: deploy" not in changed.stdout
    assert live(served, "site-web")["number"] == 2
    assert live(served, "site-api")["number"] == 1


def test_a_new_value_of_a_secret_is_a_new_release(served: Served, compose: Path):
    served.naru("up", "-f", str(compose))
    (compose.parent / "token.txt").write_text("two")

    result = served.naru("up", "-f", str(compose))

    assert result.exit_code == 0, result.output
    assert live(served, "site-web")["workload"]["secrets"][0]["version"] == 2  # type: ignore[index]


@pytest.mark.parametrize("option", ["--strict", "--dry-run"])
def test_nothing_runs_when_it_is_only_asked_or_refused(served: Served, compose: Path, option: str):
    result = served.naru("up", "-f", str(compose), option)

    assert result.exit_code == (7 if option == "--strict" else 0)
    assert "cap_add: NET_ADMIN" in result.stdout
    assert apps(served) == {}
    assert json.loads(served.naru("secret", "list", "-o", "json").stdout)["items"] == []


def test_a_program_reads_the_plan_first_and_then_the_rollouts(served: Served, compose: Path):
    lines = [json.loads(line) for line in served.naru("up", "-f", str(compose), "-o", "json").stdout.splitlines()]

    assert [(app["workload"]["app"], app["change"]) for app in lines[0]["apps"]] == [
        ("site-api", "create"),
        ("site-web", "create"),
    ]
    assert {loss["what"] for loss in lines[0]["losses"]} >= {"cap_add: NET_ADMIN"}
    assert lines[-1]["app"] == "site-web"
    assert lines[-1]["state"] == "succeeded"


def test_what_depends_on_a_failed_rollout_is_not_deployed(served: Served, compose: Path):
    quick = "x-naru: {health: tcp}\n    healthcheck: {interval: 100ms, retries: 1, start_period: 100ms}"
    compose.write_text(COMPOSE.replace('expose: ["8080"]', f'expose: ["8080"]\n    {quick}'))
    served.tell(lambda: served.site.engine.behave(NeverReady("no answer")))

    result = served.naru("up", "-f", str(compose))

    assert result.exit_code == 1, result.output
    assert "site-web" not in apps(served)


def test_a_detached_deployment_follows_only_what_others_wait_for(served: Served, compose: Path):
    result = served.naru("up", "-f", str(compose), "--detach")

    assert result.exit_code == 0, result.output
    assert "site-api is live" in result.stdout
    assert "follow it: naru follow site-web-" in result.output


def test_a_project_is_taken_down_in_the_opposite_order(served: Served, compose: Path):
    served.naru("up", "-f", str(compose))

    asked = served.naru("down", "-f", str(compose))
    assert asked.exit_code == 7
    assert apps(served) == {"site-api": "live", "site-web": "live"}

    result = served.naru("down", "-f", str(compose), "--yes")
    assert result.exit_code == 0, result.output
    assert result.stdout.index("site-web: remove") < result.stdout.index("site-api: remove")
    assert served.naru("down", "-f", str(compose), "--yes").exit_code == 0


def test_a_wrong_file_is_refused_with_its_place_before_anything_is_asked_of_a_server(tmp_path: Path, served: Served):
    file = tmp_path / "compose.yaml"
    file.write_text("services:\n  web:\n    imge: shop:1\n")

    result = served.naru("up", "-f", str(file), NARU_URL="http://127.0.0.1:1")

    assert result.exit_code == 7
    assert f"services.web.imge ({file}:3) is unknown" in result.stderr
    assert "did you mean image?" in result.stderr
    assert served.naru("up", "-f", str(tmp_path / "none.yaml")).exit_code == 3


SHOP = Workload("shop", "shop:1", 8080, 2, address=Address(port=20600), strategy=Rolling(2, 0))


@pytest.mark.parametrize(
    ("name", "text"), [("shop.yaml", write_manifests(SHOP).text), ("shop.json", write_app(SHOP).text)]
)
def test_apps_of_other_platforms_are_imported(served: Served, tmp_path: Path, name: str, text: str):
    (tmp_path / name).write_text(text)

    result = served.naru("import", str(tmp_path / name))

    assert result.exit_code == 0, result.output
    workload = live(served, "shop")["workload"]
    assert (workload["image"], workload["replicas"], workload["address"]["port"]) == ("shop:1", 2, 20600)  # type: ignore[index]


def test_an_import_can_be_written_as_a_compose_file_instead(served: Served, tmp_path: Path):
    (tmp_path / "shop.yaml").write_text(write_manifests(SHOP).text)

    result = served.naru("import", str(tmp_path / "shop.yaml"), "--compose")

    assert result.exit_code == 0, result.output
    assert apps(served) == {}
    (tmp_path / "compose.yaml").write_text(result.stdout)
    (read,) = read_project(Ask(read_file, {}, (tmp_path / "compose.yaml",))).workloads
    assert (read.app, read.port, read.address) == ("shop", 8080, Address(port=20600))


@pytest.mark.parametrize("form", ["compose", "kubernetes", "marathon"])
def test_a_live_app_is_exported_and_its_losses_are_told_aside(served: Served, tmp_path: Path, form: str):
    served.naru("secret", "set", "db", "-", stdin="s3cret")
    deployed = served.naru("deploy", "shop:1", "--port", "8080", "--secret", "db:/run/db", "--proof-count", "3")
    assert deployed.exit_code == 0, deployed.output

    result = served.naru("export", "shop", "--format", form)

    assert result.exit_code == 0, result.output
    assert "s3cret" not in result.output
    assert ("lost: shop: the proof" in result.stderr) is (form != "compose")
    assert served.naru("export", "shop", "--format", form, "--strict").exit_code == (0 if form == "compose" else 7)


def test_what_is_exported_as_compose_deploys_as_what_it_was(served: Served, tmp_path: Path):
    served.naru("secret", "set", "db", "-", stdin="s3cret")
    served.naru("deploy", "shop:1", "--port", "8080", "--secret", "db:/run/db", "--proof-count", "3")
    (tmp_path / "c.yaml").write_text(served.naru("export", "shop").stdout)

    again = served.naru("up", "-f", str(tmp_path / "c.yaml"))

    assert again.exit_code == 0, again.output
    assert "nothing to do" in again.stdout
    (read,) = read_project(Ask(read_file, {}, (tmp_path / "c.yaml",))).workloads
    assert read.secrets == (SecretFile("db", "/run/db"),)


def test_exporting_what_is_not_there_says_so(served: Served):
    assert served.naru("export", "nothing").exit_code == 3
