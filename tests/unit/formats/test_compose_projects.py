"""Several files, several services: names, merging, order, and the project that they are."""

from pathlib import PurePath

import pytest
from tests.unit.formats.compose_files import losses, read

from naru.domain.errors import Invalid
from naru.domain.workload import Address, Restart, Volume, Workload
from naru.formats.compose import Ask, read_project


def test_apps_are_called_after_the_project_where_it_has_a_name():
    text = "services: {Web_App: {image: i, ports: ['80']}}"

    assert read(text).workloads[0].app == "web-app"
    assert read(text, project="Shop").workloads[0].app == "shop-web-app"
    assert read(text, environ={"COMPOSE_PROJECT_NAME": "env"}).workloads[0].app == "env-web-app"
    assert read("name: top\n" + text).workloads[0].app == "top-web-app"


def test_anchors_and_extensions_are_read():
    workloads = read(
        """
        x-base: &base {image: i, restart: on-failure, environment: &env {A: "1"}}
        services:
          one: {<<: *base, ports: ["80"]}
          two: {<<: *base, ports: ["81"], environment: {<<: *env, B: "2"}}
        """
    ).workloads

    assert [workload.environment for workload in workloads] == [{"A": "1"}, {"A": "1", "B": "2"}]
    assert all(workload.restart is Restart.ON_FAILURE for workload in workloads)


def test_several_files_are_merged_by_the_rules():
    workload = read(
        """
        services:
          web:
            image: base
            command: [old, arguments]
            environment: [A=base, B=base]
            ports: ["8000:80"]
            volumes: ["data:/data", "logs:/logs"]
            user: nobody
            cap_add: [A]
        volumes: {data: , logs: }
        """,
        """
        services:
          web:
            image: over
            command: [new]
            environment: {B: over, C: over}
            volumes: ["other:/data"]
            user: !reset null
            cap_add: !override []
        volumes: {other: }
        """,
    )

    assert workload.workloads[0] == Workload(
        "web",
        "over",
        80,
        1,
        arguments=("new",),
        environment={"A": "base", "B": "over", "C": "over"},
        volumes=(Volume("other", "/data"), Volume("logs", "/logs")),
        address=Address(port=8000),
    )
    assert workload.losses == ()


def test_a_service_extends_another_one_here_or_elsewhere_with_paths_of_that_file():
    workload = read(
        """
        services:
          web:
            extends: {service: base, file: common/base.yaml}
            image: shop
            environment: {B: "2"}
        """,
        files={
            "common/base.yaml": """
                services:
                  base: {extends: root, ports: ["8000:80"], env_file: base.env}
                  root: {image: root, environment: {A: "1", B: "1"}, restart: on-failure}
            """,
            "common/base.env": "FILE=yes",
        },
    ).workloads[0]

    assert workload.image == "shop"
    assert workload.environment == {"FILE": "yes", "A": "1", "B": "2"}
    assert workload.restart is Restart.ON_FAILURE


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("services: {a: {extends: b}, b: {extends: a}}", "a → b → a"),
        ("services: {a: {extends: a}}", "a → a"),
        ("services: {a: {extends: {service: x, file: no.yaml}}}", r"no\.yaml"),
        ("services: {a: {extends: nobody}}", "nobody"),
    ],
)
def test_extending_in_a_circle_or_nobody_is_refused(text: str, match: str):
    with pytest.raises(Invalid, match=match):
        read(text)


def test_services_of_profiles_are_taken_only_when_asked_for():
    text = """
    services:
      web: {image: i, ports: ["80"]}
      debug: {image: i, ports: ["81"], profiles: [dev, test]}
    """

    def apps(*profiles: str, **environ: str) -> set[str]:
        return {workload.app for workload in read(text, profiles=profiles, environ=environ).workloads}

    assert apps() == {"web"}
    assert apps("test") == apps("*") == apps(COMPOSE_PROFILES="x,dev") == {"web", "debug"}


def test_apps_stand_after_those_they_depend_on():
    imported = read(
        """
        services:
          web: {image: i, ports: ["80"], depends_on: [api, db]}
          api: {image: i, ports: ["81"], depends_on: {db: {condition: service_healthy}}}
          db: {image: i, ports: ["82"]}
        """,
        project="shop",
    )

    assert [workload.app for workload in imported.workloads] == ["shop-db", "shop-api", "shop-web"]
    assert imported.waits["shop-web"] == ("shop-api", "shop-db")


def test_services_of_one_file_are_a_project_and_know_each_other_by_their_names():
    imported = read(
        """
        name: shop
        services:
          web: {image: i, ports: ["80"], depends_on: [db, migrate]}
          db: {image: i, expose: ["5432"]}
          queue: {image: i, volumes: ["v:/v"]}
          clock: {image: i, x-naru: {schedule: "*/5 * * * *"}}
          crunch: {image: i, deploy: {mode: replicated-job, replicas: 4}}
          worker: {image: i}
          migrate: {image: i, restart: "no"}
          seed: {image: i, depends_on: {migrate: {condition: service_completed_successfully}}, ports: ["81"]}
        volumes: {v: {}}
        """
    )

    apps = {workload.app.removeprefix("shop-"): workload for workload in imported.workloads}
    assert {name: str(workload.kind) for name, workload in apps.items()} == {
        "web": "service",
        "db": "service",
        "queue": "stateful",
        "clock": "scheduled",
        "crunch": "batch",
        "worker": "worker",
        "migrate": "batch",
        "seed": "service",
    }
    assert {workload.project for workload in apps.values()} == {"shop"}
    assert apps["db"].hosts == ("shop-db", "db")
    assert {name for name, workload in apps.items() if workload.private} == {"db"}
    assert {name for name, workload in apps.items() if workload.served} == {"web", "seed"}
    assert losses(imported) == set()


@pytest.mark.parametrize(
    ("text", "project"),
    [
        ("services: {a: {image: i}, b: {image: i}}", "project"),
        ("x-naru: {project: mall}\nservices: {a: {image: i}, b: {image: i}}", "mall"),
        ("x-naru: {project: false}\nservices: {a: {image: i}, b: {image: i}}", ""),
        ("name: shop\nservices: {a: {image: i}}", ""),
        ("name: shop\nservices: {a: {image: i, x-naru: {project: mall}}}", "mall"),
    ],
)
def test_a_file_says_to_which_project_its_services_belong(text: str, project: str):
    assert {workload.project for workload in read(text).workloads} == {project}


def test_without_a_name_the_usual_file_and_its_override_are_found():
    held = {
        "compose.yaml": "services: {web: {image: i, ports: ['80']}}",
        "compose.override.yaml": "services: {web: {image: j}}",
    }

    imported = read_project(Ask(lambda path: held[str(path)].encode() if str(path) in held else None, {}))

    assert imported.workloads[0].image == "j"


def test_paths_of_several_files_start_at_the_first_one():
    held = {
        "base/a.yaml": "services: {web: {image: i, ports: ['80'], env_file: a.env}}",
        "other/b.yaml": "services: {web: {env_file: b.env}}",
        "base/a.env": "A=1",
        "base/b.env": "B=1",
    }
    files = (PurePath("base/a.yaml"), PurePath("other/b.yaml"))

    imported = read_project(Ask(lambda path: held[str(path)].encode() if str(path) in held else None, {}, files))

    assert imported.workloads[0].environment == {"A": "1", "B": "1"}
