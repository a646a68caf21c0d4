"""What Kubernetes makes of each kind of workload, on the simulator: runs, schedules, numbers, autoscaling."""

import pytest
from tests.contract.engine_labs import Kind
from tests.contract.kubernetes_cluster import Acts
from tests.contract.kubernetes_labs import SimulatorLab, simulated_kubernetes_lab

from naru.domain.errors import Conflict
from naru.domain.instance import InstanceState
from naru.domain.kind import Autoscale, WorkloadKind
from naru.domain.target import Feature
from naru.domain.workload import Resources, Restart, Volume

pytestmark = [pytest.mark.asyncio, pytest.mark.needs("published kubernetes")]

SCALED = {"autoscale": Autoscale(2, 5, 70), "resources": Resources(cpus=0.5), "replicas": 2}
STORE = {"kind": WorkloadKind.STATEFUL, "volumes": (Volume("data", "/data"),)}


@pytest.fixture
async def lab():
    async with simulated_kubernetes_lab() as lab:
        yield lab


def held(lab: SimulatorLab, plural: str) -> dict[str, dict]:
    return {key[2]: value for key, value in lab.simulator.objects.all(plural)}


def claims(lab: SimulatorLab) -> list[str]:
    pods = held(lab, "pods").values()
    return sorted(one["spec"]["volumes"][0]["persistentVolumeClaim"]["claimName"] for one in pods)


# --- runs -------------------------------------------------------------------------------------------------------


async def test_the_first_instance_of_a_run_that_fails_ends_no_other(lab):
    release = lab.release(Kind.ENDS, restart=Restart.NEVER, kind=WorkloadKind.TRAINING)

    await lab.apply(release, 3)

    await lab.settled(3, lambda one: one.state is InstanceState.COMPLETED)
    (job,) = held(lab, "jobs").values()
    assert job["spec"]["completionMode"] == "Indexed"
    assert (job["spec"]["backoffLimitPerIndex"], "backoffLimit" in job["spec"]) == (0, False)
    assert held(lab, "services") == held(lab, "poddisruptionbudgets") == {}


async def test_what_is_restarted_on_failure_fails_as_often_as_it_likes(lab):
    release = lab.release(Kind.EXITS, kind=WorkloadKind.BATCH, restart=Restart.ON_FAILURE)

    await lab.apply(release, 1)

    (instance,) = await lab.settled(1, lambda one: "CrashLoopBackOff" in one.failure)
    assert instance.exit_code == 3
    assert next(iter(held(lab, "jobs").values()))["spec"]["backoffLimit"] == 2**31 - 1


async def test_each_release_of_a_batch_is_a_run_of_its_own(lab):
    first, second = lab.release(Kind.ENDS), lab.release(Kind.ENDS, number=2)
    await lab.apply(first, 1)
    await lab.apply(second, 1)

    await lab.settled(2, lambda one: one.state is InstanceState.COMPLETED)
    await lab.apply(first, 0)

    assert {one.release for one in await lab.engine.observe(lab.app)} == {2}


async def test_a_quota_that_lets_no_run_start_is_told_in_its_own_words(lab):
    release = lab.release(Kind.ENDS)
    lab.simulator.cluster.quota = 0

    with pytest.raises(Conflict, match="exceeded quota"):
        await lab.apply(release, 1)


# --- schedules --------------------------------------------------------------------------------------------------


async def test_the_runs_of_a_schedule_are_instances_beside_it(lab):
    release = lab.release(Kind.ENDS, kind=WorkloadKind.SCHEDULED, schedule="30 4 * * *", replicas=2)
    await lab.apply(release, 1)
    (standing,) = await lab.engine.observe(lab.app)

    lab.simulator.cluster.due.append(standing.id)

    seen = await lab.until(lambda all_: sum(one.state is InstanceState.COMPLETED for one in all_) == 2)
    assert {one.revision for one in seen} == {release.revision}
    assert sum(one.state is InstanceState.SCHEDULED for one in seen) == 1
    (made,) = held(lab, "cronjobs").values()
    assert (made["spec"]["schedule"], made["spec"]["timeZone"]) == ("30 4 * * *", "Etc/UTC")
    await lab.engine.remove(lab.app)
    assert await lab.engine.observe(lab.app) == []


async def test_the_longest_name_of_an_app_is_short_enough_for_a_schedule(lab):
    release = lab.release(Kind.ENDS, kind=WorkloadKind.SCHEDULED, schedule="30 4 * * *", app="a" * 40)

    await lab.apply(release, 1)

    (standing,) = await lab.engine.observe(release.app)
    assert len(standing.id) == 52


# --- numbered instances -----------------------------------------------------------------------------------------


async def test_each_number_has_claims_of_its_own_and_the_first_has_those_of_a_service(lab):
    await lab.apply(lab.release(**STORE), 2)

    await lab.settled(2)

    assert claims(lab) == [f"{lab.app}-data", f"{lab.app}-data-2"]
    assert sorted(held(lab, "statefulsets")) == [f"{lab.app}-1", f"{lab.app}-2"]


async def test_a_number_that_left_is_given_again_to_whichever_revision_comes_next(lab):
    old, new = lab.release(**STORE), lab.release(number=2, arguments=("again",), **STORE)
    await lab.apply(old, 2)
    leaver, stayer = await lab.settled(2)

    await lab.apply(old, 1, retire=(leaver.id,))
    await lab.apply(new, 1)

    seen = {one.revision: one.id for one in await lab.settled(2)}
    assert (leaver.id, seen) == (f"{lab.app}-1-1", {old.revision: stayer.id, new.revision: f"{lab.app}-1-2"})
    assert claims(lab) == [f"{lab.app}-data", f"{lab.app}-data-2"]


async def test_two_revisions_of_a_stateful_app_never_share_a_number(lab):
    await lab.apply(lab.release(**STORE), 2)
    await lab.apply(lab.release(number=2, arguments=("again",), **STORE), 2)

    await lab.settled(4)

    assert len(set(claims(lab))) == 4


async def test_an_instance_of_a_stateful_app_that_drifted_is_made_anew_with_its_volumes(lab):
    release = lab.release(**STORE)
    await lab.apply(release, 2)
    touched, _ = await lab.settled(2)
    before = held(lab, "pods")[touched.id]["metadata"]["uid"]
    await lab.meddle(touched)
    await lab.until(lambda seen: any(one.drift for one in seen))

    await lab.apply(release, 2, retire=(touched.id,))

    await lab.settled(2, lambda one: one.ready and not one.drift)
    assert held(lab, "pods")[touched.id]["metadata"]["uid"] != before


async def test_volumes_of_all_numbers_go_only_when_asked(lab):
    await lab.apply(lab.release(**STORE), 2)

    await lab.engine.remove(lab.app)

    assert len(held(lab, "persistentvolumeclaims")) == 2
    assert held(lab, "statefulsets") == {}
    await lab.engine.remove(lab.app, volumes=True)
    assert held(lab, "persistentvolumeclaims") == {}


# --- autoscaling ------------------------------------------------------------------------------------------------


async def test_the_cluster_scales_once_all_are_there_and_what_it_chose_stays(lab):
    release = lab.release(**SCALED)
    name = f"{lab.app}-{release.revision}"
    await lab.apply(release, 1)
    assert held(lab, "horizontalpodautoscalers") == {}
    await lab.apply(release, 2)
    (scaler,) = held(lab, "horizontalpodautoscalers").values()
    assert (scaler["spec"]["minReplicas"], scaler["spec"]["maxReplicas"]) == (2, 5)

    lab.simulator.cluster.edit("deployments", name, {"spec": {"replicas": 4}}, "kube-controller-manager")
    await lab.settled(4)
    await lab.apply(release, 2)

    assert len(await lab.settled(4)) == 4
    assert held(lab, "deployments")[name]["spec"]["replicas"] == 4


async def test_naru_counts_again_on_the_way_out(lab):
    release = lab.release(**SCALED)
    await lab.apply(release, 2)
    await lab.settled(2)

    await lab.apply(release, 1)

    await lab.settled(1)
    assert held(lab, "horizontalpodautoscalers") == {}


async def test_a_cluster_without_metrics_cannot_scale(lab):
    lab.simulator.metered = False

    assert Feature.AUTOSCALE not in (await lab.engine.describe()).features


# --- workers ----------------------------------------------------------------------------------------------------


async def test_what_listens_nowhere_has_no_service_and_no_checks(lab):
    release = lab.release(Kind.IDLES)
    lab.simulator.cluster.acts = Acts()

    await lab.apply(release, 1)

    (instance,) = await lab.settled(1)
    assert (instance.address, held(lab, "services")) == ("", {})
    container = held(lab, "pods")[instance.id]["spec"]["containers"][0]
    assert container.keys().isdisjoint({"readinessProbe", "livenessProbe", "ports"})
