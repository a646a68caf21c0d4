"""What the Kubernetes engine promises beyond the common contract: rights, ownership, faults, and what it leaves be."""

import asyncio
from contextlib import AsyncExitStack, aclosing
from dataclasses import replace

import pytest
from tests.contract.engine_labs import QUICK, everything
from tests.contract.kubernetes_cluster import SCHEDULER_SAYS, Acts
from tests.contract.kubernetes_labs import NAMESPACE, SimulatorLab, manifest_rules, simulated_kubernetes_lab
from tests.contract.kubernetes_simulator import allows

from naru.domain.account import Credentials
from naru.domain.errors import Conflict, Forbidden, Invalid, Unavailable
from naru.domain.image import Origin
from naru.domain.instance import InstanceState
from naru.domain.kind import Autoscale, WorkloadKind
from naru.domain.target import Feature
from naru.domain.workload import CommandCheck, Resources, Restart, SecretFile, Volume

pytestmark = [pytest.mark.asyncio, pytest.mark.needs("published kubernetes")]
EVERYTHING = {
    "apiGroups": ["", "apps", "policy"],
    "resources": ["namespaces", "pods", "events", "services", "deployments"],
    "verbs": ["get", "list", "watch", "create", "patch"],
}


@pytest.fixture
async def lab():
    async with simulated_kubernetes_lab() as lab:
        yield lab


def held(lab: SimulatorLab, plural: str) -> dict[str, dict]:
    return {key[2]: value for key, value in lab.simulator.objects.all(plural)}


# --- rights -----------------------------------------------------------------------------------------------------


async def test_a_whole_life_needs_every_right_of_the_manifest_and_no_other(lab):
    release = lab.release(
        replicas=2, volumes=(Volume("data", "/data"),), secrets=(SecretFile("word", "/run/secrets/word", 1),)
    )
    await everything(lab.engine.fetch(lab.image, credentials=Credentials("registry.example", "me", "word")))
    await lab.apply(release, 2, {"word": b"x"})
    one, _ = await lab.settled(2)
    await lab.engine.describe()
    await lab.meddle(one)
    await lab.until(lambda seen: any(i.drift for i in seen))
    await lab.apply(release, 2, {"word": b"x"})
    await lab.settled(2)
    await lab.apply(release, 1, {"word": b"x"})
    (one,) = await lab.settled(1)
    await everything(lab.engine.logs(one.id))
    await lab.engine.execute(one.id, ("/bin/true",))
    async with aclosing(lab.engine.usage(one.id)) as samples:
        await anext(samples)
    await lab.apply(release, 0, {"word": b"x"})
    for kind in (WorkloadKind.BATCH, WorkloadKind.SCHEDULED, WorkloadKind.STATEFUL):
        schedule = "30 4 * * *" if kind is WorkloadKind.SCHEDULED else ""
        await lab.apply(lab.release(app=f"{lab.app}-{kind}", kind=kind, schedule=schedule), 1)
    scaled = lab.release(replicas=2, autoscale=Autoscale(2, 5), resources=Resources(cpus=1))
    await lab.apply(scaled, 2)
    for app in lab.apps:
        await lab.engine.remove(app, volumes=True)

    for rule in manifest_rules():
        for verb in rule["verbs"]:
            for resource in rule["resources"]:
                only = rule | {"verbs": [verb], "resources": [resource]}
                assert any(allows(only, call) for call in lab.simulator.calls), f"{verb} {resource} is never needed"


async def test_an_account_without_a_right_is_told_which_one_it_lacks():
    rules = [rule for rule in manifest_rules() if "deployments" not in rule["resources"]]
    async with simulated_kubernetes_lab(rules=rules) as lab:
        with pytest.raises(Forbidden, match=r"deployments.*rbac\.yaml"):
            await lab.apply(lab.release(), 1)


async def test_an_account_that_may_not_see_pods_is_told_so_by_every_look():
    async with simulated_kubernetes_lab(rules=[]) as lab:
        with pytest.raises(Forbidden, match="cannot list"):
            await lab.engine.observe()


async def test_an_account_that_may_not_see_nodes_still_describes_the_cluster():
    rules = [rule for rule in manifest_rules() if "nodes" not in rule["resources"]]
    async with simulated_kubernetes_lab(rules=rules) as lab:
        assert (await lab.engine.describe()).capacity.cpus == 0


async def test_the_namespace_is_made_and_labelled_where_there_is_none():
    async with simulated_kubernetes_lab(rules=[EVERYTHING], namespace=False) as lab:
        await lab.apply(lab.release(), 1)
        await lab.settled(1)

        labels = held(lab, "namespaces")[NAMESPACE]["metadata"]["labels"]
        assert labels["app.kubernetes.io/managed-by"] == "naru"


# --- whose is what ----------------------------------------------------------------------------------------------


async def test_what_others_added_stays_and_what_they_edited_once_is_set_back(lab):
    release = lab.release()
    await lab.apply(release, 2)
    await lab.settled(2)
    name = f"{lab.app}-{release.revision}"
    lab.simulator.cluster.edit(
        "deployments", name, {"metadata": {"annotations": {"team": "harbour"}}, "spec": {"replicas": 1}}
    )
    await lab.settled(1)

    await lab.apply(release, 2)

    await lab.settled(2)
    assert held(lab, "deployments")[name]["metadata"]["annotations"] == {"team": "harbour"}


@pytest.mark.parametrize(("manager", "applied"), [("argocd", True), ("kube-controller-manager", False)])
async def test_a_field_that_another_keeps_setting_is_a_conflict_that_names_them(lab, manager, applied):
    release = lab.release()
    await lab.apply(release, 2)
    await lab.settled(2)
    name = f"{lab.app}-{release.revision}"
    lab.simulator.cluster.edit("deployments", name, {"spec": {"replicas": 1}}, manager)
    owned = lab.simulator.objects.held["deployments", NAMESPACE, name].managers
    owned[manager, applied] = owned.pop((manager, False))

    with pytest.raises(Conflict, match=rf"\.spec\.replicas .* managed by {manager}"):
        await lab.apply(release, 2)

    assert held(lab, "deployments")[name]["spec"]["replicas"] == 1


async def test_a_name_that_somebody_else_took_is_a_conflict_and_stays_theirs(lab):
    theirs = {"apiVersion": "v1", "kind": "Service", "metadata": {"labels": {"team": "harbour"}}, "spec": {}}
    lab.simulator.objects.create(("services", NAMESPACE, lab.app), theirs, "kubectl")

    with pytest.raises(Conflict, match="Naru did not make"):
        await lab.apply(lab.release(), 1)
    await lab.engine.remove(lab.app)

    assert held(lab, "services")[lab.app]["metadata"]["labels"] == {"team": "harbour"}


async def test_removing_leaves_nothing_and_volumes_only_when_asked(lab):
    release = lab.release(
        replicas=2, volumes=(Volume("data", "/data"),), secrets=(SecretFile("word", "/run/secrets/word", 1),)
    )
    await lab.apply(release, 2, {"word": b"x"})
    await lab.settled(2)

    await lab.engine.remove(lab.app)

    kinds = ("deployments", "services", "secrets", "poddisruptionbudgets", "pods")
    assert [kind for kind in kinds if held(lab, kind)] == []
    assert list(held(lab, "persistentvolumeclaims")) == [f"{lab.app}-data"]
    await lab.engine.remove(lab.app, volumes=True)
    assert held(lab, "persistentvolumeclaims") == {}


async def test_secrets_are_files_and_a_registrys_credentials_reach_the_kubelet(lab):
    await everything(lab.engine.fetch(lab.image, credentials=Credentials("registry.example", "me", "word")))
    release = lab.release(secrets=(SecretFile("word", "/run/secrets/word", 1),))

    await lab.apply(release, 1, {"word": b"wide open"})

    await lab.settled(1)
    (pod,) = held(lab, "pods").values()
    container = pod["spec"]["containers"][0]
    assert "env" not in container
    assert container["volumeMounts"][0]["mountPath"] == "/run/secrets/word"
    (pull,) = pod["spec"]["imagePullSecrets"]
    assert held(lab, "secrets")[pull["name"]]["type"] == "kubernetes.io/dockerconfigjson"


async def test_a_later_release_of_the_same_revision_restarts_nothing(lab):
    await lab.apply(lab.release(), 2)
    before = await lab.settled(2)
    await everything(lab.engine.fetch(lab.image, credentials=Credentials("registry.example", "me", "word")))

    await lab.apply(lab.release(number=7), 3)

    after = await lab.settled(3)
    assert {one.id for one in before} < {one.id for one in after}


async def test_the_retired_go_although_controllers_prefer_those_that_are_not_ready(lab):
    release = lab.release()
    await lab.apply(release, 2)
    old, ill = await lab.settled(2)
    await lab.sicken(ill)
    await lab.until(lambda seen: any(not one.ready for one in seen))

    await lab.apply(release, 1, retire=(old.id,))

    assert old.id not in {one.id for one in await lab.engine.observe(lab.app)}
    assert len(await lab.engine.observe(lab.app)) == 1


# --- what cannot run --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("origin", [Origin.STORED, Origin.ENGINE])
async def test_an_image_that_no_registry_has_is_refused_with_the_mend(lab, origin):
    lab.image = replace(lab.image, origin=origin)

    with pytest.raises(Conflict, match="push it to a registry"):
        await everything(lab.engine.fetch(lab.image))
    with pytest.raises(Conflict, match="push it to a registry"):
        await lab.apply(lab.release(), 1)


@pytest.mark.parametrize("restart", [Restart.NEVER, Restart.ON_FAILURE])
async def test_restart_policies_that_deployments_lack_are_refused(lab, restart):
    with pytest.raises(Conflict, match="restart=always"):
        await lab.apply(lab.release(restart=restart), 1)


async def test_a_quota_that_is_full_is_told_in_its_own_words(lab):
    lab.simulator.cluster.quota = 1

    with pytest.raises(Conflict, match="exceeded quota"):
        await lab.apply(lab.release(), 2)


async def test_a_pod_that_never_schedules_says_what_the_scheduler_says(lab):
    release = lab.release(resources=Resources(memory=1 << 50))
    lab.simulator.cluster.acts = Acts(unschedulable=True)

    await lab.apply(release, 1)

    (instance,) = await lab.settled(1, lambda one: bool(one.failure))
    assert instance.failure == f"Unschedulable: {SCHEDULER_SAYS}"
    assert instance.state is InstanceState.STARTING


async def test_a_crash_loop_is_told_with_the_exit_code_and_the_restarts(lab):
    release = lab.release()
    lab.simulator.cluster.acts = Acts(exit_code=3)

    await lab.apply(release, 1)

    (instance,) = await lab.settled(1, lambda one: "CrashLoopBackOff" in one.failure)
    assert instance.failure == "CrashLoopBackOff: exit code 3, 1 restarts"
    assert (instance.state, instance.exits) == (InstanceState.EXITED, 2)


async def test_command_checks_are_told_by_what_they_said(lab):
    release = lab.release(health=replace(QUICK, check=CommandCheck(("/bin/check", "-v"))))
    lab.simulator.cluster.acts = Acts(answer="no database")

    await lab.apply(release, 1)

    (instance,) = await lab.settled(1, lambda one: one.state is InstanceState.UNHEALTHY)
    assert instance.failure == "/bin/check -v failed: no database"


async def test_a_command_that_is_not_in_the_image_is_the_callers_mistake(lab):
    await lab.apply(lab.release(), 1)
    (instance,) = await lab.settled(1)
    lab.simulator.absent_commands.add("/bin/none")

    with pytest.raises(Invalid, match="name a program that is in the image"):
        await lab.engine.execute(instance.id, ("/bin/none",))


# --- faults -----------------------------------------------------------------------------------------------------


async def test_a_watch_that_is_too_old_lists_anew_and_misses_nothing(lab):
    release = lab.release()
    await lab.apply(release, 2)
    lost, kept = await lab.settled(2)

    lab.simulator.cluster.remove(lost.id)
    lab.simulator.objects.forget_history()
    lab.simulator.end_watches()

    after = await lab.until(lambda seen: len(seen) == 2 and lost.id not in {one.id for one in seen})
    assert kept.id in {one.id for one in after}


async def test_watches_that_end_go_on_where_they_ended(lab):
    await lab.apply(lab.release(), 1)
    await lab.settled(1)
    lists = sum(call.verb == "list" and call.resource == "pods" for call in lab.simulator.calls)

    for _ in range(5):
        lab.simulator.end_watches()
        await asyncio.sleep(0.03)
    (instance,) = await lab.settled(1)
    await lab.kill(instance)

    await lab.settled(1, lambda one: one.exits == 1)
    assert sum(call.verb == "list" and call.resource == "pods" for call in lab.simulator.calls) == lists


async def test_too_many_requests_are_made_again_when_the_server_says(lab):
    lab.simulator.busy = 2

    await lab.apply(lab.release(), 1)

    assert lab.simulator.busy == 0
    await lab.settled(1)


async def test_a_server_that_stays_busy_is_unavailable_and_says_for_how_long(lab):
    lab.simulator.busy = 1000

    with pytest.raises(Unavailable, match="too many requests") as raised:
        await lab.apply(lab.release(), 1)

    assert raised.value.retry_after == 0
    lab.simulator.busy = 0


async def test_a_slow_cluster_delays_no_other():
    async with AsyncExitStack() as stack:
        slow = await stack.enter_async_context(simulated_kubernetes_lab())
        quick = await stack.enter_async_context(simulated_kubernetes_lab())
        slow.simulator.delay = 1.0
        waiting = asyncio.create_task(slow.apply(slow.release(), 1))

        await quick.apply(quick.release(), 1)
        await quick.settled(1)

        assert not waiting.done()
        await waiting
        slow.simulator.delay = 0


async def test_a_cluster_without_metrics_lacks_the_feature(lab):
    lab.simulator.metered = False
    await lab.apply(lab.release(), 1)
    (instance,) = await lab.settled(1)

    assert Feature.STATS not in (await lab.engine.describe()).features
    with pytest.raises(Conflict, match="metrics-server"):
        await everything(lab.engine.usage(instance.id))
