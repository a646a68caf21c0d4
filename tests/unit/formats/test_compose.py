from collections.abc import Mapping
from pathlib import PurePath

import pytest

from naru.domain.errors import Invalid, NotFound
from naru.domain.proof import ProofPolicy
from naru.domain.workload import (
    Address,
    BlueGreen,
    Canary,
    CanaryStep,
    CommandCheck,
    Health,
    HttpCheck,
    Recreate,
    Resources,
    Restart,
    Rolling,
    SecretFile,
    Strategy,
    TcpCheck,
    Tls,
    Volume,
    Workload,
)
from naru.formats.compose import Ask, read_project
from naru.formats.loss import Imported

WEB = "services: {web: {image: 'shop:1', ports: ['8000:80'], %s}}"


def read(
    *texts: str,
    files: Mapping[str, str] | None = None,
    environ: Mapping[str, str] | None = None,
    project: str = "",
    profiles: tuple[str, ...] = (),
) -> Imported:
    """Read Compose files called 0.yaml, 1.yaml, … and whatever they name."""
    held = {f"{number}.yaml": text for number, text in enumerate(texts)} | dict(files or {})

    def held_file(path: PurePath) -> bytes | None:
        text = held.get(str(path))
        return None if text is None else text.encode()

    names = tuple(PurePath(f"{number}.yaml") for number in range(len(texts)))
    return read_project(Ask(held_file, environ or {}, names, project=project, profiles=profiles))


def web(attributes: str, **ask: object) -> Workload:
    """Read one service that has these attributes too."""
    return read(WEB % attributes, **ask).workloads[0]  # type: ignore[arg-type]


def losses(imported: Imported) -> set[tuple[str, str]]:
    return {(loss.where, loss.what) for loss in imported.losses}


def test_a_service_becomes_an_app_with_its_defaults():
    read_back = read("services: {web: {image: 'shop:1', ports: ['8000:80']}}")

    assert read_back.workloads == (Workload("web", "shop:1", 80, 1, address=Address(port=8000)),)
    assert read_back.losses == ()


@pytest.mark.parametrize(
    ("attributes", "field", "wanted"),
    [
        ("command: [a, 'b c']", "arguments", ("a", "b c")),
        ("command: a 'b c'", "arguments", ("a", "b c")),
        ("entrypoint: /bin/x -v, command: [a]", "command", ("/bin/x", "-v")),
        ("entrypoint: [], command: [a, b]", "command", ("a", "b")),
        (
            "environment: {A: 1, B: 1.10, C: true, D: no, E: ''}",
            "environment",
            {"A": "1", "B": "1.10", "C": "true", "D": "no", "E": ""},
        ),
        ("environment: [A=1, B=x=y, C=]", "environment", {"A": "1", "B": "x=y", "C": ""}),
        ("stop_grace_period: 1m30s", "stop_grace", 90.0),
        ("scale: 3", "replicas", 3),
        ("deploy: {replicas: '4'}", "replicas", 4),
        ("deploy: {replicas: 0}", "replicas", 0),
        ("restart: 'no'", "restart", Restart.NEVER),
        ("restart: unless-stopped", "restart", Restart.ALWAYS),
        ("restart: on-failure", "restart", Restart.ON_FAILURE),
        ("deploy: {restart_policy: {condition: none}}, restart: always", "restart", Restart.NEVER),
        ("cpus: 0.5, mem_limit: 64m", "resources", Resources(0.5, 64 << 20)),
        ("deploy: {resources: {limits: {cpus: '1.5', memory: 1gb}}}", "resources", Resources(1.5, 1 << 30)),
        ("deploy: {resources: {limits: {cpus: '0', memory: '0'}}}", "resources", Resources()),
        ("deploy: {update_config: {order: start-first, parallelism: 2}}", "strategy", Rolling(2, 0)),
        ("deploy: {update_config: {parallelism: 3}}", "strategy", Rolling(0, 3)),
        ("deploy: {update_config: {parallelism: 0}}", "strategy", Recreate()),
        ("x-naru: {strategy: blue-green}", "strategy", BlueGreen()),
        ("x-naru: {strategy: {rolling: {max_surge: 2, max_unavailable: 1}}}", "strategy", Rolling(2, 1)),
        ("x-naru: {strategy: {canary: [{percent: 10, hold: 1m}]}}", "strategy", Canary((CanaryStep(10, 60.0),))),
        ("x-naru: {proof: false}", "proof", ProofPolicy(count=0)),
        ("x-naru: {address: {host: shop.example.org, tls: acme}}", "address", Address("shop.example.org", 0, Tls.ACME)),
        ("x-naru: {address: {port: 9000}}", "address", Address(port=9000)),
        ("x-naru: {health: 'http:/ok'}", "health", Health(HttpCheck("/ok"))),
        ("healthcheck: {interval: 5s}, x-naru: {health: tcp}", "health", Health(TcpCheck(), interval=5.0)),
        ("healthcheck: {test: [CMD, a, b]}", "health", Health(CommandCheck(("a", "b")), 30.0, 30.0, 3, 0.0)),
        (
            "healthcheck: {test: a | b, retries: 5}",
            "health",
            Health(CommandCheck(("/bin/sh", "-c", "a | b")), 30, 30, 5, 0),
        ),
        (
            "healthcheck: {test: [CMD-SHELL, a b], timeout: 1s}",
            "health",
            Health(CommandCheck(("/bin/sh", "-c", "a b")), 30, 1, 3, 0),
        ),
    ],
)
def test_an_attribute_is_read_as_the_specification_says(attributes: str, field: str, wanted: object):
    assert getattr(web(attributes), field) == wanted


@pytest.mark.parametrize(
    ("ports", "port", "address"),
    [
        ("['80']", 80, Address()),
        ("[80]", 80, Address()),
        ("['8000:80']", 80, Address(port=8000)),
        ("['8000:80/tcp']", 80, Address(port=8000)),
        ("[{target: 80, published: '8000'}]", 80, Address(port=8000)),
        ("[{target: 80, published: 8000, protocol: tcp, mode: ingress}]", 80, Address(port=8000)),
        ("['53:53/udp', '8000:80']", 80, Address(port=8000)),
    ],
)
def test_ports_have_short_and_long_forms(ports: str, port: int, address: Address):
    workload = read(f"services: {{web: {{image: i, ports: {ports}}}}}").workloads[0]

    assert (workload.port, workload.address) == (port, address)


def test_of_several_ports_one_is_the_apps_and_the_others_are_lost():
    imported = read(
        "services: {web: {image: i, ports: ['80:80', '127.0.0.1:9000-9001:9000-9001'], x-naru: {port: 9001}}}"
    )

    assert imported.workloads[0].port == 9001
    assert imported.workloads[0].address == Address(port=9001)
    assert {what for _, what in losses(imported)} == {"80:80/tcp", "9000:9000/tcp", "host_ip: 127.0.0.1"}


def test_a_service_that_is_not_published_is_not_proven_by_requests():
    imported = read("services: {db: {image: i, expose: ['5432']}}")

    assert imported.workloads[0].proof.count == 0
    assert losses(imported) == {("services.db", "unpublished")}


def test_volumes_have_short_and_long_forms():
    imported = read(
        """
        services:
          web:
            image: i
            ports: ["80"]
            volumes:
              - data:/data:ro
              - {type: volume, source: more_data, target: /more}
              - /anonymous
              - ./src:/src
              - {type: tmpfs, target: /scratch}
        volumes: {data: , more_data: }
        """
    )

    assert imported.workloads[0].volumes == (
        Volume("data", "/data", read_only=True),
        Volume("more-data", "/more"),
        Volume("anonymous", "/anonymous"),
    )
    assert losses(imported) == {
        ("services.web.volumes[1]", "the volume more_data"),
        ("services.web.volumes[2]", "the volume without a name at /anonymous"),
        ("services.web.volumes[3]", "bind ./src:/src"),
        ("services.web.volumes[4]", "tmpfs /scratch"),
    }


def test_secrets_and_configs_become_files_that_are_stored_first():
    imported = read(
        """
        name: shop
        services:
          web:
            image: i
            ports: ["80"]
            secrets: [password, {source: cert, target: tls.pem}, {source: key, target: /etc/key, mode: 0400}]
            configs: [{source: app, target: /etc/app.conf}]
        secrets:
          password: {file: ./password.txt}
          cert: {external: true}
          key: {environment: KEY}
          unused: {file: ./absent}
        configs:
          app: {content: "port=${PORT:-80}"}
        """,
        files={"password.txt": "hunter2"},
        environ={"KEY": "k"},
    )

    assert imported.workloads[0].secrets == (
        SecretFile("shop-password", "/run/secrets/password"),
        SecretFile("cert", "/run/secrets/tls.pem"),
        SecretFile("shop-key", "/etc/key"),
        SecretFile("shop-app", "/etc/app.conf"),
    )
    assert {file.name: file.value for file in imported.files} == {
        "shop-password": b"hunter2",
        "shop-key": b"k",
        "shop-app": b"port=80",
    }
    assert "hunter2" not in repr(imported)


def test_the_environment_of_a_service_wins_over_its_files_and_ours_fills_what_has_no_value():
    workload = web(
        "env_file: [a.env, {path: b.env, required: false}, {path: none.env, required: false}], "
        "environment: {A: mine, HOST: , NOBODY: }",
        files={"a.env": "A=1\nB=$A\nC='$A'", "b.env": "D=${HOST}"},
        environ={"HOST": "h"},
    )

    assert workload.environment == {"A": "mine", "B": "1", "C": "$A", "D": "h", "HOST": "h"}


def test_a_missing_file_of_variables_is_an_error_unless_it_is_not_required():
    with pytest.raises(NotFound, match=r"none\.env"):
        web("env_file: none.env")


def test_dotenv_fills_in_what_the_environment_does_not():
    workload = web(
        "environment: {A: '${A}', B: '${B}', C: '${C:-c}'}", files={".env": "A=file\nB=file"}, environ={"B": "shell"}
    )

    assert workload.environment == {"A": "file", "B": "shell", "C": "c"}


def test_an_unset_variable_is_a_loss():
    assert losses(read(WEB % "user: '${WHO}'")) == {("services.web.user", "$WHO")}


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


@pytest.mark.parametrize(
    ("text", "match"),
    [
        (
            "services: {a: {image: i, ports: ['1'], depends_on: [b]}, b: {image: i, ports: ['1'], depends_on: [a]}}",
            "circle",
        ),
        ("services: {a: {image: i, ports: ['1'], depends_on: [b]}}", "no service"),
        ("services: {a: {image: i, ports: ['1'], depends_on: [b]}, b: {image: i, profiles: [p]}}", "no service"),
        ("services: {a: {image: i, x-naru: {kind: service}}}", "answers at a port"),
        ("services: {a: {image: i, x-naru: {kind: lambda}}}", "no kind of workload"),
        ("services: {a: {image: i, x-naru: {kind: scheduled}}}", "needs a schedule"),
        ("services: {a: {image: i, x-naru: {schedule: now}}}", "5"),
        ("services: {a: {image: i, x-naru: {private: true}}}", "has none"),
        ("x-naru: {projekt: p}\nservices: {a: {image: i}}", "project"),
        ("services: {a: {ports: ['80']}}", "no image"),
        ("services: {a: {image: i, ports: ['x']}}", "no port"),
        ("services: {a: {image: i, ports: ['99999:80']}}", "65535"),
        ("services: {a: {image: i, ports: ['80'], volumes: ['v:/v']}}", "volumes does not describe"),
        ("services: {a: {image: i, ports: ['80'], secrets: [s]}}", "secrets does not describe"),
        ("services: {a: {image: i, ports: ['80'], deploy: {replicas: many}}}", "whole number"),
        ("services: {a: {image: i, ports: ['80'], stop_grace_period: 5 minutes}}", "no duration"),
        ("services: {a: {image: i, ports: ['80'], healthcheck: {test: [CMD]}}}", "no check"),
        ("services: {a: {image: i, ports: ['80'], restart: sometimes}}", "always"),
        ("services: {a: {image: i, ports: ['80'], x-naru: {strategy: magic}}}", "no strategy"),
        ("services: {a: {image: i, ports: ['80'], deploy: {replicas: 5000}}}", "replicas"),
        ("services: {a_b: {image: i, ports: ['80']}, a-b: {image: i, ports: ['80']}}", "two services"),
        ("services: {a: {image: i, ports: ['80'], image: j}}", "repeats"),
        ("include: [other.yaml]\nservices: {a: {image: i, ports: ['80']}}", "include"),
        ("services: {}", "no service"),
        ("", "empty"),
        ("[]", "mapping"),
    ],
)
def test_what_cannot_be_an_app_is_refused_with_the_place(text: str, match: str):
    with pytest.raises(Invalid, match=match):
        read(text)


@pytest.mark.parametrize(
    ("text", "path", "near"),
    [
        ("services: {web: {imge: i}}", "services.web.imge", "image"),
        ("services: {web: {image: i, healthcheck: {intervall: 5s}}}", "services.web.healthcheck.intervall", "interval"),
        (
            "services: {web: {image: i, deploy: {resources: {limit: {}}}}}",
            "services.web.deploy.resources.limit",
            "limits",
        ),
        ("services: {web: {image: i, build: {contxt: .}}}", "services.web.build.contxt", "context"),
        ("volums: {}", "volums", "volumes"),
        ("services: {web: {image: i, ports: ['80'], x-naru: {adress: {}}}}", "services.web.x-naru.adress", "address"),
        (
            "services: {web: {image: i, ports: ['80'], x-naru: {proof: {expect_stat: 1}}}}",
            "services.web.x-naru.proof.expect_stat",
            "expect_status",
        ),
    ],
)
def test_an_unknown_name_is_refused_with_its_path_and_the_nearest_known_one(text: str, path: str, near: str):
    with pytest.raises(Invalid) as caught:
        read(text)

    assert f"{path} (0.yaml:1) is unknown" in caught.value.cause
    assert caught.value.mend == f"did you mean {near}?"


@pytest.mark.parametrize(
    ("attributes", "what"),
    [
        ("build: .", "build"),
        ("network_mode: host", "network_mode: host"),
        ("networks: [a, b]", "networks: a, b"),
        ("cap_add: [NET_ADMIN]", "cap_add: NET_ADMIN"),
        ("privileged: true", "privileged"),
        ("tmpfs: /tmp", "tmpfs: /tmp"),
        ("user: '1000'", "user: 1000"),
        ("labels: {a: b}", "labels: a"),
        ("pull_policy: never", "pull_policy: never"),
        ("deploy: {mode: global}", "mode: global"),
        ("deploy: {placement: {constraints: ['node.role==manager']}}", "placement: constraints"),
        ("deploy: {resources: {reservations: {memory: 1g}}}", "memory: 1g"),
        ("deploy: {update_config: {delay: 10s, order: start-first}}", "delay: 10s"),
        ("deploy: {update_config: {failure_action: pause, order: start-first}}", "failure_action: pause"),
        ("restart: 'on-failure:3'", "restart: on-failure:3"),
        ("healthcheck: {disable: true}", "no health check"),
        ("healthcheck: {test: [NONE]}", "no health check"),
        ("healthcheck: {interval: 5s}", "the image's own check"),
        ("logging: {driver: syslog}", "logging: driver"),
        ("ulimits: {nofile: 5}", "ulimits: nofile"),
        ("command: []", "an empty command"),
    ],
)
def test_what_has_no_place_in_an_app_is_reported(attributes: str, what: str):
    assert what in {lost for _, lost in losses(read(WEB % attributes))}


@pytest.mark.parametrize(
    "attributes",
    ["privileged: false", "cap_add: []", "network_mode: bridge", "pull_policy: always", "labels: {}", "tty: false"],
)
def test_what_asks_for_nothing_is_no_loss(attributes: str):
    assert read(WEB % attributes).losses == ()


def test_what_services_share_and_apps_do_not_is_reported():
    imported = read(
        """
        services:
          a: {image: i, ports: ["80"], volumes: ["v:/v"]}
          b: {image: i, ports: ["81"], volumes: ["v:/v"]}
        volumes: {v: {driver: nfs, external: true}}
        """
    )

    assert losses(imported) == {
        ("volumes.v", "shared by a, b"),
        ("volumes.v", "driver: nfs"),
        ("volumes.v", "external"),
    }


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


def test_a_service_that_is_only_built_is_deployed_under_the_name_that_compose_gives_it():
    imported = read("services: {web: {build: ., ports: ['80']}}", project="shop")

    assert imported.workloads[0].image == "shop-web"


def test_strategies_of_words_are_all_known():
    wanted: dict[str, Strategy] = {
        "rolling": Rolling(),
        "recreate": Recreate(),
        "blue-green": BlueGreen(),
        "canary": Canary(),
    }

    assert {word: web(f"x-naru: {{strategy: {word}}}").strategy for word in wanted} == wanted


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
