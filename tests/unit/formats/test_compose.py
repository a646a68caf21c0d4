"""What a service of a Compose file becomes."""

import pytest
from tests.unit.formats.compose_files import losses, read, web

from naru.domain.errors import NotFound
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
