import base64
import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.contract.kubernetes_schema import published

from naru.domain.account import Credentials
from naru.domain.errors import Conflict, NotFound
from naru.domain.image import Image, Origin, Platform
from naru.domain.kind import Autoscale, WorkloadKind
from naru.domain.release import Release, ReleaseState
from naru.domain.workload import (
    CommandCheck,
    Health,
    HttpCheck,
    Resources,
    Restart,
    SecretFile,
    TcpCheck,
    Volume,
    Workload,
)
from naru.engines.kubernetes import answers, pods, translate
from naru.engines.kubernetes.pods import Birth

DIGEST, CONFIG = "sha256:" + "a" * 64, "sha256:" + "b" * 64
IMAGE = Image("docker.io/library/nginx:1.27", DIGEST, CONFIG, Platform(), Origin.REGISTRY)
WORKLOAD = Workload(app="shop", image="nginx:1.27", port=8080, replicas=2)


def release(**changes):
    return Release("shop", 7, replace(WORKLOAD, **changes), IMAGE, ReleaseState.LIVE, "ana", datetime.now(UTC))


def pod(one):
    return translate.deployment("me", one, 2, Birth(7)).to_dict()["spec"]["template"]


def container(one):
    return pod(one)["spec"]["containers"][0]


names = st.from_regex(r"[a-z][a-z0-9]{0,8}", fullmatch=True)
words = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=9)
checks = st.one_of(
    st.just(TcpCheck()),
    st.builds(HttpCheck, path=words.map(lambda text: "/" + text)),
    st.builds(CommandCheck, st.lists(words, min_size=1, max_size=3).map(tuple)),
)
releases = st.builds(
    release,
    port=st.integers(1, 65535),
    command=st.lists(words, max_size=3).map(tuple),
    environment=st.dictionaries(names, words, max_size=3),
    health=st.builds(
        Health,
        check=checks,
        interval=st.floats(0.1, 3600),
        timeout=st.floats(0.1, 3600),
        retries=st.integers(1, 100),
        start_period=st.floats(0, 3600),
    ),
    resources=st.builds(Resources, st.none() | st.floats(0.01, 1024), st.none() | st.integers(6 << 20, 1 << 50)),
    volumes=st.lists(names, unique=True, max_size=3).map(lambda found: tuple(Volume(n, f"/v/{n}") for n in found)),
    secrets=st.lists(names, unique=True, max_size=3).map(lambda found: tuple(SecretFile(n, f"/s/{n}") for n in found)),
    stop_grace=st.floats(0, 3600),
)


@pytest.mark.needs("published kubernetes")
@given(releases, st.integers(0, 1000), st.sampled_from(Restart))
def test_every_release_becomes_objects_that_the_published_schema_allows(one, replicas, restart):
    secrets = {secret.name: b"\0\xff" for secret in one.workload.secrets}
    run = replace(one, workload=replace(one.workload, kind=WorkloadKind.BATCH, restart=restart))
    planned = replace(run.workload, kind=WorkloadKind.SCHEDULED, schedule="*/5 * * * *")
    made = [
        translate.deployment("me", one, replicas, Birth(one.number, "pull")),
        translate.stateful_set("me", one, 1 + replicas, Birth(one.number, "pull")),
        translate.job("me", run, replicas, Birth(one.number)),
        translate.cron_job("me", replace(run, workload=planned), Birth(one.number)),
        translate.autoscaler("me", one, Autoscale(1, 1 + replicas)),
        translate.service("me", one.workload, one.app),
        translate.budget("me", one.app),
        translate.secret("me", one, secrets),
        translate.pull_secret("me", Credentials("registry.example", "ana", "ü")),
        translate.namespace("naru"),
        *(translate.claim("me", one.app, volume.name, "1Gi") for volume in one.workload.volumes),
    ]

    assert [published().faults(json.loads(json.dumps(thing.to_dict()))) for thing in made] == [""] * len(made)


@given(releases)
def test_what_is_written_on_a_pod_is_read_again(one):
    text = pod(one)["metadata"]["annotations"][pods.SHAPE_ANNOTATION]

    assert pods.SHAPE.validate_json(text) == pods.shape(one)


def test_a_count_changes_nothing_else():
    def but_count(replicas):
        made = translate.deployment("me", release(), replicas, Birth(7)).to_dict()
        return {**made, "spec": {**made["spec"], "replicas": None}}

    assert but_count(1) == but_count(40)


def test_images_are_named_by_digest_and_go_where_they_can_run():
    arm = replace(release(), image=replace(IMAGE, platform=Platform("linux", "arm64", "v8")))

    assert container(arm)["image"] == f"docker.io/library/nginx@{DIGEST}"
    assert pod(arm)["spec"]["nodeSelector"] == {"kubernetes.io/os": "linux", "kubernetes.io/arch": "arm64"}


def test_secrets_are_files_that_nothing_else_of_the_pod_shows():
    one = release(secrets=(SecretFile("word", "/run/secrets/word", 1),))

    made = translate.secret("me", one, {"word": b"wide open"}).to_dict()

    assert base64.b64decode(made["data"]["word"]) == b"wide open"
    assert container(one)["volumeMounts"] == [
        {"name": "secrets", "mountPath": "/run/secrets/word", "subPath": "word", "readOnly": True}
    ]
    assert "env" not in container(one)


def test_dollars_mean_nothing_to_the_kubelet():
    one = release(arguments=("$(PATH)",), environment={"PRICE": "$(5)"})

    assert container(one)["args"] == ["$$(PATH)"]
    assert container(one)["env"] == [{"name": "PRICE", "value": "$$(5)"}]


def test_a_container_leaves_the_traffic_long_before_it_is_restarted():
    probes = container(release(health=Health(HttpCheck("/up"), interval=0.5, retries=2, start_period=12.5)))

    assert probes["readinessProbe"] | {"httpGet": None} == {
        "httpGet": None,
        "initialDelaySeconds": 0,
        "periodSeconds": 1,
        "timeoutSeconds": 2,
        "failureThreshold": 2,
        "successThreshold": 1,
    }
    assert probes["livenessProbe"]["failureThreshold"] == 30
    assert probes["livenessProbe"]["initialDelaySeconds"] == 13


def test_limits_are_promised_as_well():
    assert container(release(resources=Resources(cpus=0.25, memory=64 << 20)))["resources"] == {
        "limits": {"cpu": "250m", "memory": "67108864"},
        "requests": {"cpu": "250m", "memory": "67108864"},
    }


def test_what_a_revision_was_made_with_is_read_back():
    made = translate.deployment("me", release(), 2, Birth(3, "pull")).to_dict()

    assert translate.birth(answers.Holder.model_validate(made)) == Birth(3, "pull")


def test_docker_hubs_credentials_are_under_the_name_that_the_kubelet_knows():
    made = translate.pull_secret("me", Credentials("docker.io", "ana", "word")).to_dict()

    config = json.loads(base64.b64decode(made["data"][".dockerconfigjson"]))
    assert list(config["auths"]) == ["https://index.docker.io/v1/"]


def test_what_cannot_run_is_refused_with_a_mend():
    translate.refuse(release(), {}, "naru")
    with pytest.raises(Conflict, match="another engine"):
        translate.refuse(release(restart=Restart.NEVER), {}, "naru")
    with pytest.raises(NotFound, match="word"):
        translate.refuse(release(secrets=(SecretFile("word", "/word"),)), {}, "naru")
    with pytest.raises(Conflict, match="push it"):
        translate.refuse(replace(release(), image=replace(IMAGE, origin=Origin.STORED)), {}, "naru")


@pytest.mark.parametrize(
    ("quantity", "value"),
    [
        ("1", 1),
        ("250m", 0.25),
        ("1250000n", 0.00125),
        ("64Mi", 64 << 20),
        ("1k", 1000),
        ("1e3", 1000),
        ("", 0),
        ("2E", 2e18),
    ],
)
def test_quantities(quantity, value):
    assert translate.amount(quantity) == pytest.approx(value)
