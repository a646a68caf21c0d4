import json
from dataclasses import replace

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from jsonschema.protocols import Validator
from tests.unit.formats.workloads import workloads

from naru.domain.kind import Autoscale, WorkloadKind
from naru.domain.workload import (
    Address,
    BlueGreen,
    CommandCheck,
    Health,
    HttpCheck,
    Recreate,
    Resources,
    Restart,
    Rolling,
    SecretFile,
    Volume,
    Workload,
)
from naru.formats.compose import write_project
from naru.formats.kubernetes import read_manifests, write_manifests
from naru.formats.marathon import read_apps, write_app

many = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
SHOP = Workload(
    "shop",
    "registry.example.org/shop:1",
    8080,
    3,
    arguments=("--price", "5$"),
    environment={"CASH": "$(X) $$", "B": "b"},
    health=Health(HttpCheck("/healthz"), interval=5.0, timeout=2.0, start_period=0.0),
    resources=Resources(0.5, 64 * 1024 * 1024),
    volumes=(Volume("data", "/data"),),
    stop_grace=30.0,
    strategy=Rolling(2, 1),
    address=Address(port=8000),
)


@many
@given(workload=workloads())
def test_a_compose_file_that_we_write_fits_the_published_schema(workload: Workload, compose_validator: Validator):
    document = yaml.safe_load(write_project([workload]).text)

    assert [error.message for error in compose_validator.iter_errors(document)] == []


@many
@given(workload=workloads())
def test_a_definition_for_marathon_fits_its_published_schema(workload: Workload, marathon_validator: Validator):
    document = json.loads(write_app(workload).text)

    assert [error.message for error in marathon_validator.iter_errors(document)] == []


@many
@given(workload=workloads())
def test_manifests_fit_the_document_of_a_kubernetes_api_server(
    workload: Workload, kubernetes_validators: dict[str, Validator]
):
    for document in yaml.safe_load_all(write_manifests(workload).text):
        validator = kubernetes_validators[f"{document['apiVersion']} {document['kind']}"]
        assert [f"{error.json_path}: {error.message}" for error in validator.iter_errors(document)] == []


def test_what_kubernetes_can_say_comes_back_from_its_manifests():
    read = read_manifests(write_manifests(SHOP).text, "shop.yaml")

    assert read.workloads == (replace(SHOP, volumes=(Volume("shop-data", "/data"),)),)


@pytest.mark.parametrize(
    "app",
    [
        Workload("crunch", "i:1", 0, 4, kind=WorkloadKind.BATCH, restart=Restart.NEVER, stop_grace=30.0),
        Workload("crunch", "i:1", 0, 4, kind=WorkloadKind.BATCH, restart=Restart.ON_FAILURE, stop_grace=30.0),
        Workload(
            "night",
            "i:1",
            0,
            1,
            kind=WorkloadKind.SCHEDULED,
            schedule="30 4 * * 1",
            restart=Restart.NEVER,
            stop_grace=30.0,
        ),
        Workload("worker", "i:1", 0, 2, kind=WorkloadKind.WORKER, stop_grace=30.0),
        Workload(
            *("store", "i:1", 0, 3),
            kind=WorkloadKind.STATEFUL,
            volumes=(Volume("v-data", "/data"),),
            strategy=Rolling(0, 1),
            stop_grace=30.0,
        ),
        replace(SHOP, volumes=(), autoscale=Autoscale(2, 9, 70)),
    ],
    ids=lambda app: f"{app.kind}",
)
def test_kinds_come_back_from_kubernetes_manifests(app: Workload):
    written = write_manifests(replace(app, volumes=tuple(replace(v, name="data") for v in app.volumes)))

    assert read_manifests(written.text, "f.yaml").workloads == (app,)


def test_more_than_one_replica_gets_a_disruption_budget():
    kinds = [document["kind"] for document in yaml.safe_load_all(write_manifests(SHOP).text)]

    assert kinds == ["Deployment", "Service", "PersistentVolumeClaim", "PodDisruptionBudget"]


def test_a_host_name_becomes_an_ingress_and_comes_back():
    shop = Workload("shop", "shop:1", 80, 1, address=Address(host="shop.example.org"), stop_grace=1.0)

    read = read_manifests(write_manifests(shop).text, "shop.yaml")

    assert read.workloads[0].address == shop.address


def test_the_value_of_a_secret_is_never_written_and_how_to_make_it_is_said():
    shop = Workload("shop", "shop:1", 80, 1, secrets=(SecretFile("token", "/run/secrets/token", 3),))

    written = write_manifests(shop)

    assert {loss.what for loss in written.losses} >= {"the value of the secret token", "version 3 of token"}
    assert read_manifests(written.text, "shop.yaml").workloads[0].secrets == (
        SecretFile("token", "/run/secrets/token"),
    )


def test_what_marathon_can_say_comes_back_from_its_definition():
    shop = Workload(
        "shop",
        "shop:1",
        8080,
        4,
        command=("/bin/serve",),
        arguments=("-v", "x y"),
        environment={"A": "1"},
        health=Health(CommandCheck(("/bin/sh", "-c", "test -e /ok")), 5.0, 2.0, 4, 10.0),
        resources=Resources(0.5, 64 * 1024 * 1024),
        volumes=(Volume("data", "/data", read_only=True),),
        strategy=Rolling(1, 2),
        address=Address(port=8000),
    )

    read = read_apps(write_app(shop).text, "shop.json")

    assert read.workloads == (shop,)
    assert read.losses == ()


def test_recreating_keeps_its_meaning_in_marathon():
    shop = Workload("shop", "shop:1", 80, 2, strategy=Recreate(), resources=Resources(1.0, 128 * 1024 * 1024))

    assert read_apps(write_app(shop).text, "shop.json").workloads[0].strategy == Recreate()


def test_what_a_format_cannot_say_is_a_loss():
    shop = Workload("shop", "shop:1", 80, 2, strategy=BlueGreen(), secrets=(SecretFile("token", "/token"),))

    for written in (write_manifests(shop), write_app(shop)):
        told = " ".join(loss.what for loss in written.losses)
        assert "proof" in told
        assert "token" in told
