"""What a Compose file says that no app can be: refused with its place, or reported as lost."""

import pytest
from tests.unit.formats.compose_files import WEB, losses, read

from naru.domain.errors import Invalid


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


def test_an_unset_variable_is_a_loss():
    assert losses(read(WEB % "user: '${WHO}'")) == {("services.web.user", "$WHO")}
