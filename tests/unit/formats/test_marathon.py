import json
from pathlib import Path

import pytest
from tests.unit.formats.conftest import SHARED

from naru.domain.errors import Invalid
from naru.domain.workload import Address, CommandCheck, Health, HttpCheck, Resources, Rolling, TcpCheck, Volume
from naru.formats.loss import Imported
from naru.formats.marathon import read_apps

APP: dict[str, object] = {
    "id": "/shop",
    "instances": 4,
    "cpus": 0.5,
    "mem": 64,
    "args": ["-v"],
    "container": {"docker": {"image": "shop:1"}, "portMappings": [{"containerPort": 8080, "hostPort": 8000}]},
    "env": {"A": "1"},
    "healthChecks": [{"protocol": "MESOS_HTTP", "path": "/ok", "intervalSeconds": 5, "gracePeriodSeconds": 10}],
    "upgradeStrategy": {"minimumHealthCapacity": 0.5, "maximumOverCapacity": 0.25},
}


def read(*apps: object) -> Imported:
    return read_apps(json.dumps(apps[0] if len(apps) == 1 else apps), "apps.json")


def lost(imported: Imported) -> set[str]:
    return {loss.what for loss in imported.losses}


def test_a_definition_becomes_an_app():
    imported = read(APP)
    shop = imported.workloads[0]

    assert (shop.app, shop.image, shop.port, shop.replicas) == ("shop", "shop:1", 8080, 4)
    assert shop.arguments == ("-v",)
    assert shop.environment == {"A": "1"}
    assert shop.resources == Resources(0.5, 64 << 20)
    assert shop.health == Health(HttpCheck("/ok"), 5.0, 20.0, 3, 10.0)
    assert shop.strategy == Rolling(1, 2)
    assert shop.address == Address(port=8000)
    assert imported.losses == ()


def test_groups_and_lists_hold_apps_which_are_called_after_their_path():
    group = {"id": "/prod", "groups": [{"id": "/prod/web", "apps": [{**APP, "id": "/prod/web/shop"}]}]}

    for imported in (read(group), read({"apps": [{**APP, "id": "/prod/web/shop"}]})):
        assert [workload.app for workload in imported.workloads] == ["prod-web-shop"]
        assert lost(imported) == {"the id /prod/web/shop"}


def test_dependencies_come_first():
    imported = read({**APP, "dependencies": ["/db", "/elsewhere"]}, {**APP, "id": "db"})

    assert [workload.app for workload in imported.workloads] == ["db", "shop"]
    assert imported.waits["shop"] == ("db",)
    assert lost(imported) == {"the dependency /elsewhere"}


@pytest.mark.parametrize(
    ("check", "wanted"),
    [
        ({"protocol": "TCP"}, TcpCheck()),
        ({"protocol": "COMMAND", "command": {"value": "test -e /ok"}}, CommandCheck(("/bin/sh", "-c", "test -e /ok"))),
        ({}, HttpCheck("/")),
    ],
)
def test_checks_of_every_protocol_are_read(check: dict[str, object], wanted: object):
    assert read({**APP, "healthChecks": [check]}).workloads[0].health.check == wanted


def test_a_command_line_runs_in_a_shell():
    app = {key: value for key, value in APP.items() if key != "args"}

    assert read({**app, "cmd": "a && b"}).workloads[0].command == ("/bin/sh", "-c", "a && b")


def test_volumes_of_mesos_become_named_volumes():
    volumes = [
        {"containerPath": "data", "mode": "RW", "persistent": {"size": 100}},
        {"containerPath": "/more", "mode": "RO", "external": {"name": "more", "provider": "dvdi"}},
        {"containerPath": "/host", "hostPath": "/srv", "mode": "RW"},
    ]
    imported = read({**APP, "container": {**APP["container"], "volumes": volumes}})  # type: ignore[dict-item]

    assert imported.workloads[0].volumes == (
        Volume("mnt-mesos-sandbox-data", "/mnt/mesos/sandbox/data"),
        Volume("more", "/more", read_only=True),
    )
    assert {"/srv:/host", "a size of 100 MiB", "the path data in the sandbox"} <= lost(imported)


@pytest.mark.parametrize(
    ("more", "what"),
    [
        ({"constraints": [["hostname", "UNIQUE"]]}, "constraints"),
        ({"labels": {"HAPROXY_GROUP": "external"}}, "labels: HAPROXY_GROUP"),
        ({"fetch": [{"uri": "file:///x"}]}, "fetch"),
        ({"env": {"P": {"secret": "s"}}}, "the secret s"),
        ({"gpus": 1}, "gpus: 1"),
        ({"user": "root"}, "user: root"),
    ],
)
def test_what_has_no_place_in_an_app_is_reported(more: dict[str, object], what: str):
    assert what in lost(read({**APP, **more}))


@pytest.mark.parametrize(
    ("document", "match"),
    [
        ({"id": "/a", "cmd": "sleep 1"}, "no image"),
        ({**APP, "container": {"docker": {"image": "i"}}}, "no port"),
        ([], "no app"),
        ("text", "no app"),
        ({**APP, "instances": 100_000}, "replicas"),
    ],
)
def test_what_cannot_be_an_app_is_refused(document: object, match: str):
    with pytest.raises(Invalid, match=match):
        read(document)


def test_the_examples_of_marathon_itself_are_read_or_refused_with_a_mend():
    folder = SHARED / "marathon" / "v2" / "examples"
    if not folder.exists():
        pytest.skip(f"the published examples are not in {SHARED}")
    read_ones = []
    for path in sorted(Path(folder).glob("app*.json")):
        try:
            read_ones.append(read_apps(path.read_text(), path.name))
        except Invalid as error:
            assert error.mend, path  # noqa: PT017
    assert read_ones
