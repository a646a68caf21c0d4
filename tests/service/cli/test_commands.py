"""Every command against the real API: what it prints, what it changes, how it ends."""

import json
import stat
from pathlib import Path

import httpx
import pytest
from pydantic import TypeAdapter
from tests.contract.fake_behaviour import Exits, NeverReady, Ready
from tests.images import busybox_image
from tests.service.cli.conftest import DEPLOY, rollout_of

from naru import VERSION
from naru.domain.instance import ExecResult
from naru.domain.rollout import Rollout, RolloutState
from naru.domain.status import AppStatus

# --- the main job -----------------------------------------------------------------------------------------------


def test_a_deployment_is_told_step_by_step_and_ends_with_its_endpoint(served):
    result = served.naru(*DEPLOY)
    told = result.stdout.splitlines()
    assert result.exit_code == 0, result.output
    assert told[0].startswith("shop: deploy shop:1, 2 replicas, rollout shop-")
    for step in ("resolve", "gate", "place", "distribute", "roll", "prove", "watch"):
        assert any(line.startswith(f"{step}: passed") for line in told)
    assert told[-2].startswith("succeeded in ")
    assert told[-1] == "shop answers at http://127.0.0.1:20000 (2 of 2 ready)"
    assert "\x1b" not in result.output


def test_everything_that_can_be_said_of_an_app_arrives(served, tmp_path):
    (tmp_path / "env").write_text("# comment\nMODE=fast\nLEVEL=1\n")
    served.naru("secret", "set", "db", "-", stdin="s3cret")
    result = served.naru(
        *DEPLOY,
        *("--name", "web", "--env", "LEVEL=2", "--env-file", str(tmp_path / "env"), "--address-port", "20500"),
        *("--health", "http:/ready", "--cpus", "0.5", "--memory", "64M", "--volume", "data:/data:ro"),
        *("--secret", "db:/run/db", "--command", "serve 'a b'", "--args", "-v", "--restart", "on-failure"),
        *("--kind", "edge", "--target", "fake", "--engine", "fake", "--site", "home", "--near", "db"),
        *("--stop-grace", "3s", "--canary", "10:0s,50:0s", "--proof-path", "/ready", "--proof-status", "200"),
        *("-o", "json"),
    )
    assert result.exit_code == 0, result.output
    workload = rollout_of(result).workload
    document = json.loads(TypeAdapter(type(workload)).dump_json(workload))
    assert document | {"health": document["health"]["check"]} == {
        "app": "web",
        "image": "shop:1",
        "port": 8080,
        "replicas": 2,
        "command": ["serve", "a b"],
        "arguments": ["-v"],
        "environment": {"MODE": "fast", "LEVEL": "2"},
        "health": {"kind": "http", "path": "/ready"},
        "resources": {"cpus": 0.5, "memory": 64 << 20},
        "restart": "on-failure",
        "volumes": [{"name": "data", "path": "/data", "read_only": True}],
        "secrets": [{"name": "db", "path": "/run/db", "version": 1}],
        "stop_grace": 3.0,
        "strategy": {"kind": "canary", "steps": [{"percent": 10, "seconds": 0.0}, {"percent": 50, "seconds": 0.0}]},
        "proof": document["proof"],
        "address": {"host": "", "port": 20500, "tls": "off"},
        "kind": "edge",
        "schedule": "",
        "autoscale": None,
        "project": "",
        "private": False,
        "affinity": {"targets": ["fake"], "engines": ["fake"], "sites": ["home"], "near": "db"},
    }
    assert workload.proof.count == 3
    assert (workload.proof.request.path, workload.proof.request.expect_status) == ("/ready", 200)


def test_a_rollout_in_json_is_one_document_a_line(served):
    result = served.naru(*DEPLOY, "-o", "json")
    rollouts = [TypeAdapter(Rollout).validate_json(line) for line in result.stdout.splitlines()]
    assert rollouts[-1].state is RolloutState.SUCCEEDED
    assert len({rollout.id for rollout in rollouts}) == 1


def test_a_detached_rollout_is_followed_later(served):
    detached = served.naru(*DEPLOY, "--detach", "-o", "json")
    followed = served.naru("follow", rollout_of(detached).id)
    assert detached.exit_code == followed.exit_code == 0
    assert "shop answers at" in followed.stdout


def test_an_app_scaled_to_nothing_is_not_said_to_answer(shop):
    result = shop.naru("scale", "shop", "0")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[-1].startswith("shop runs no instance, and keeps http://")


def test_a_failed_rollout_says_why_and_what_still_runs(shop):
    shop.tell(lambda: shop.site.engine.behave(Exits(3), image="docker.io/library/shop:2"))
    result = shop.naru("update", "shop", "shop:2")
    assert result.exit_code == 1
    assert "roll: failed" in result.stdout
    assert "code 3" in result.stdout or "with 3" in result.stdout
    assert result.stdout.splitlines()[-1].startswith("shop answers still with release 1 at ")


def test_an_app_whose_first_deployment_failed_is_called_failed_until_it_is_tried_again(served):
    served.tell(lambda: served.site.engine.behave(NeverReady(after=0.0), image="docker.io/library/shop:1"))
    assert served.naru(*DEPLOY).exit_code == 1
    assert json.loads(served.naru("apps", "-o", "json").stdout)["items"][0]["app"]["state"] == "failed"
    assert served.naru("status", "shop").stdout.split()[:2] == ["shop", "failed"]
    served.tell(lambda: served.site.engine.behave(Ready(), image="docker.io/library/shop:1"))
    assert served.naru(*DEPLOY).exit_code == 0
    assert served.naru("status", "shop").stdout.split()[:2] == ["shop", "live"]


def test_scaling_updating_and_going_back_are_rollouts_too(shop):
    assert shop.naru("scale", "shop", "3").exit_code == 0
    assert shop.naru("update", "shop", "shop:2").exit_code == 0
    back = shop.naru("rollback", "shop", "1", "-o", "json")
    assert back.exit_code == 0
    assert rollout_of(back).restores == 1
    status = TypeAdapter(AppStatus).validate_json(shop.naru("status", "shop", "-o", "json").stdout)
    assert (status.release.number, status.release.workload.image, status.ready) == (4, "shop:1", 2)


def test_a_rollout_is_cancelled(shop):
    shop.tell(lambda: shop.site.engine.behave(NeverReady(), image="docker.io/library/shop:2"))
    started = rollout_of(shop.naru("update", "shop", "shop:2", "--detach", "-o", "json"))
    result = shop.naru("cancel", started.id)
    assert result.exit_code == 0
    assert "cancelled in" in result.stdout
    assert shop.naru("follow", started.id).exit_code == 1


def test_an_app_is_removed_only_when_someone_says_so(shop):
    assert shop.naru("rm", "shop").exit_code == 7
    assert shop.naru("rm", "shop", "--volumes", "--yes").exit_code == 0
    assert json.loads(shop.naru("apps", "-o", "json").stdout)["items"] == []


# --- looking ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "path"),
    [
        (("apps",), "apps"),
        (("status", "shop"), "apps/shop"),
        (("instances", "shop"), "apps/shop/instances"),
        (("releases", "shop"), "apps/shop/releases"),
        (("rollouts", "shop"), "rollouts?app=shop"),
        (("events",), "events"),
        (("targets",), "targets"),
        (("targets", "list"), "targets"),
        (("image", "list"), "images"),
        (("secret", "list"), "secrets"),
        (("registry", "list"), "registries"),
    ],
)
def test_json_is_the_document_of_the_api(shown, command, path):
    headers = {"Authorization": f"Bearer {shown.token}"}
    document = httpx.get(f"{shown.url}/api/v1/{path}", headers=headers).json()
    printed = json.loads(shown.naru(*command, "-o", "json").stdout)
    assert _unhurried(printed) == _unhurried(document)


def _unhurried(document: dict) -> dict:
    """Leave out what changes from one moment to the next."""
    return {**document, "items": [{**item, "capacity": 0} for item in document.get("items", ())]}


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (("apps",), ["APP", "shop", "live", "2/2", "shop:1", "http://127.0.0.1:20000", "succeeded"]),
        (("status", "shop"), ["shop  live  http://127.0.0.1:20000", "release  1, by admin/tests", "ready    2/2"]),
        (("instances", "shop"), ["INSTANCE", "ready"]),
        (("releases", "shop"), ["RELEASE", "live", "sha256:"]),
        (("rollouts",), ["ROLLOUT", "deploy", "3 requests, 0 failed"]),
        (("events",), ["shop  deploy  asked for shop:1 with 2 replicas  (admin/tests)"]),
        (("targets",), ["TARGET", "fake", "answers"]),
    ],
)
def test_tables_are_plain_where_no_terminal_reads(shown, command, told):
    result = shown.naru(*command)
    assert result.exit_code == 0
    assert [text for text in told if text not in result.stdout] == []
    assert "\x1b" not in result.stdout
    assert [line for line in result.stdout.splitlines() if line != line.rstrip()] == []


def test_logs_are_told_with_their_instance(shown):
    first, second = (instance.id for instance in shown.site.engine.instances("shop"))
    shown.tell(lambda: shown.site.engine.write(first, "hello \x1b[31mred\x1b[0m\x1b[2J"))
    shown.tell(lambda: shown.site.engine.write(second, "oops", stream="stderr"))
    result = shown.naru("logs", "shop")
    assert result.stdout.splitlines() == [f"{first}  hello red", f"{second}  oops"]
    assert shown.naru("logs", "shop", "--instance", second, "--since", "10m").stdout == f"{second}  oops\n"
    assert json.loads(shown.naru("logs", "shop", "--tail", "1", "-o", "json").stdout)["text"] == "oops"


def test_a_test_request_shows_what_came_back(shown):
    result = shown.naru("request", "shop", "/")
    assert result.exit_code == 0
    assert result.stdout.startswith("200  1.0 ms")
    refused = shown.naru("request", "shop", "/", "--expect-status", "201")
    assert refused.exit_code == 1
    assert "answered 200 instead of 201" in refused.stderr


def test_a_command_inside_an_instance_passes_its_bytes_and_its_code_through(shown):
    answer = ExecResult(3, b"out\xff\n", b"err\n")
    shown.tell(lambda: shown.site.engine.answers.update({("sh", "-c", "exit 3"): answer}))
    result = shown.naru("exec", "shop", "--", "sh", "-c", "exit 3")
    assert (result.exit_code, result.stdout_bytes, result.stderr) == (3, b"out\xff\n", "err\n")
    document = json.loads(shown.naru("exec", "shop", "-o", "json", "--", "sh", "-c", "exit 3").stdout)
    assert document == {"exit_code": 3, "stdout": "b3V0/wo=", "stderr": "ZXJyCg=="}


# --- images, secrets, credentials --------------------------------------------------------------------------------


@pytest.mark.needs("busybox")
def test_an_archive_is_loaded_from_a_file_and_from_standard_input(served, tmp_path):
    busybox_image(tmp_path / "one.tar", reference="one:1")
    busybox_image(tmp_path / "two.tar", reference="two:1")
    assert "one:1" in served.naru("image", "load", str(tmp_path / "one.tar")).stdout
    assert "two:1" in served.naru("image", "load", "-", stdin=(tmp_path / "two.tar").read_bytes()).stdout
    assert served.naru("image", "rm", "one:1").exit_code == 0
    left = json.loads(served.naru("image", "list", "-o", "json").stdout)["items"]
    assert [image["reference"] for image in left] == ["docker.io/library/two:1"]


def test_a_file_that_is_no_archive_is_refused(served, tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    assert served.naru("image", "load", str(tmp_path / "notes.txt")).exit_code == 7
    assert served.naru("image", "load", str(tmp_path / "none.tar")).exit_code == 7


def test_secrets_are_stored_and_never_shown(served, tmp_path):
    (tmp_path / "value").write_bytes(b"\x00s3cret")
    assert "version 1" in served.naru("secret", "set", "db", str(tmp_path / "value")).stdout
    assert "version 2" in served.naru("secret", "set", "db", stdin="other").stdout
    listed = served.naru("secret", "list", "-o", "json").stdout
    assert "s3cret" not in listed
    assert served.naru("secret", "rm", "db").exit_code == 0
    assert json.loads(served.naru("secret", "list", "-o", "json").stdout)["items"] == []


def test_registry_credentials_are_stored_and_forgotten(served):
    login = ("registry", "login", "registry.example.org", "-u", "ferry", "--password-stdin")
    assert served.naru(*login, stdin="s3cret\n").exit_code == 0
    assert "ferry" in served.naru("registry", "list").stdout
    assert served.naru("registry", "logout", "registry.example.org").exit_code == 0
    assert served.naru("registry", "logout", "registry.example.org").exit_code == 3


# --- who is asking ----------------------------------------------------------------------------------------------


def test_a_token_signs_in_until_it_is_revoked(served):
    created = json.loads(served.naru("token", "create", "ci", "--expires", "1d", "-o", "json").stdout)
    mine = {"NARU_TOKEN": "", "NARU_URL": ""}
    signed_in = served.naru("login", served.url, stdin=created["value"] + "\n", **mine)
    assert "signed in to" in signed_in.stdout
    assert served.naru("apps", **mine).exit_code == 0
    config = Path(served.environ["XDG_CONFIG_HOME"], "naru", "config.toml")
    assert stat.S_IMODE(config.stat().st_mode) == 0o600
    assert served.naru("token", "revoke", created["token"]["id"]).exit_code == 0
    assert served.naru("apps", **mine).exit_code == 5


def test_a_token_that_does_not_work_is_not_remembered(served):
    assert served.naru("login", served.url, "--token", "naru_wrong").exit_code == 5
    assert not Path(served.environ["XDG_CONFIG_HOME"], "naru").exists()


def test_a_login_link_signs_in_once(served):
    code = json.loads(served.naru("login-link", "-o", "json").stdout)["code"]
    answers = [httpx.post(f"{served.url}/api/v1/session", json={"code": code}).status_code for _ in range(2)]
    assert answers == [200, 401]


# --- how it ends ------------------------------------------------------------------------------------------------


def test_each_kind_of_error_ends_with_its_code_and_a_mend(shown):
    cases = {
        3: ("status", "nothing"),
        5: ("apps",),
        6: ("apps",),
        7: ("deploy", "shop:1", "--port", "0"),
    }
    environ = {5: {"NARU_TOKEN": "wrong"}, 6: {"NARU_URL": "http://127.0.0.1:1"}}
    for code, command in cases.items():
        result = shown.naru(*command, **environ.get(code, {}))
        assert result.exit_code == code, result.output
        assert result.stdout == ""
        assert result.stderr.startswith("error: ")
        assert "\n  mend: " in result.stderr


def test_a_second_rollout_of_an_app_is_refused_while_one_is_under_way(shop):
    shop.tell(lambda: shop.site.engine.behave(NeverReady(), image="docker.io/library/shop:2"))
    started = rollout_of(shop.naru("update", "shop", "shop:2", "--detach", "-o", "json"))
    second = shop.naru("scale", "shop", "5")
    assert second.exit_code == 4
    assert shop.naru("cancel", started.id).exit_code == 0


def test_a_command_line_that_is_not_understood_is_a_usage_error(shown):
    assert shown.naru("scale", "shop").exit_code == 2
    assert shown.naru("sail", "shop").exit_code == 2


def test_the_doctor_ends_with_one_only_when_something_fails(shown):
    result = shown.naru("doctor", "-o", "json")
    findings = json.loads(result.stdout)["items"]
    failing = [finding for finding in findings if finding["state"] == "fail"]
    assert {"python", "container engine", "caddy", "disk", "clock", "server"} <= {f["check"] for f in findings}
    assert next(f for f in findings if f["check"] == "server")["state"] == "ok"
    assert all(finding["mend"] for finding in failing)
    assert result.exit_code == (1 if failing else 0)


def test_the_version_is_told(shown):
    assert shown.naru("--version").stdout == shown.naru("version").stdout == f"naru {VERSION}\n"
    assert json.loads(shown.naru("version", "-o", "json").stdout) == {"version": VERSION}
