"""Projects on Kubernetes, on the simulator: a namespace for each, with the rights that this takes and no others."""

from contextlib import aclosing

import pytest
from tests.contract.engine_labs import Kind, everything
from tests.contract.kubernetes_labs import NAMESPACE, SimulatorLab, manifest_rules, simulated_kubernetes_lab
from tests.contract.kubernetes_plane import PROJECTS
from tests.contract.kubernetes_simulator import allows

from naru.domain.account import Credentials
from naru.domain.errors import Conflict, Forbidden, Invalid
from naru.domain.instance import InstanceState
from naru.domain.kind import WorkloadKind
from naru.domain.target import Feature
from naru.domain.workload import Volume

pytestmark = [pytest.mark.asyncio, pytest.mark.needs("published kubernetes")]


@pytest.fixture
async def lab():
    async with simulated_kubernetes_lab(rules=manifest_rules(PROJECTS)) as lab:
        yield lab


def places(lab: SimulatorLab, plural: str) -> set[tuple[str, str]]:
    return {key[1:] for key, _ in lab.simulator.objects.all(plural)}


async def test_the_apps_of_a_project_have_a_namespace_and_short_names_in_it(lab):
    project = f"{lab.app}-mall"
    release = lab.release(app=f"{project}-db", project=project)

    await lab.apply(release, 1)

    await lab.until(lambda seen: [one.ready for one in seen] == [True], release.app)
    home = f"{NAMESPACE}-{project}"
    assert places(lab, "services") == {(home, "db"), (home, release.app)}
    assert {namespace for namespace, _ in places(lab, "pods")} == {home}


async def test_the_last_app_takes_the_namespace_with_it_and_volumes_keep_it(lab):
    project = f"{lab.app}-mall"
    releases = [lab.release(app=f"{project}-{one}", project=project, volumes=(Volume("a", "/a"),)) for one in "xy"]
    for release in releases:
        await lab.apply(release, 1)
    await lab.engine.remove(releases[0].app, volumes=True)
    await lab.engine.remove(releases[1].app)
    assert ("", f"{NAMESPACE}-{project}") in places(lab, "namespaces")

    await lab.engine.remove(releases[1].app, volumes=True)

    assert ("", f"{NAMESPACE}-{project}") not in places(lab, "namespaces")
    assert await lab.engine.observe() == []


async def test_looking_into_an_instance_looks_into_its_namespace_with_no_more_rights_than_the_manifests(lab):
    await everything(lab.engine.fetch(lab.image, credentials=Credentials("registry.example", "me", "word")))
    release = lab.release(project=lab.app, replicas=2)
    await lab.apply(release, 2)
    await lab.settled(2)
    await lab.apply(release, 1)
    (one,) = await lab.settled(1)

    assert [line.text for line in await everything(lab.engine.logs(one.id))] == ["one", "two"]
    assert (await lab.engine.execute(one.id, ("/bin/true",))).exit_code == 0
    async with aclosing(lab.engine.usage(one.id)) as samples:
        assert (await anext(samples)).instance == one.id
    (pull,) = lab.simulator.objects.get(("pods", f"{NAMESPACE}-{lab.app}", one.id))["spec"]["imagePullSecrets"]
    assert (f"{NAMESPACE}-{lab.app}", pull["name"]) in places(lab, "secrets")


async def test_a_schedule_of_a_project_is_seen_and_goes_with_it(lab):
    release = lab.release(Kind.ENDS, kind=WorkloadKind.SCHEDULED, schedule="0 4 * * *", project=lab.app)
    await lab.apply(release, 1)
    (standing,) = await lab.engine.observe(lab.app)
    assert standing.state is InstanceState.SCHEDULED

    await lab.engine.remove(lab.app)

    assert await lab.engine.observe(lab.app) == []
    assert places(lab, "namespaces") == {("", NAMESPACE)}


async def test_a_namespace_of_somebody_else_is_left_to_them(lab):
    theirs = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"labels": {"team": "harbour"}}}
    lab.simulator.objects.create(("namespaces", "", f"{NAMESPACE}-{lab.app}"), theirs, "kubectl")

    with pytest.raises(Conflict, match="did not make for the project"):
        await lab.apply(lab.release(project=lab.app), 1)


async def test_a_project_whose_name_is_too_long_for_a_namespace_is_told_how_long_it_may_be():
    query = f"?namespace={'n' * 30}"
    async with simulated_kubernetes_lab(rules=manifest_rules(PROJECTS), query=query) as lab:
        with pytest.raises(Invalid, match="at most 32 characters"):
            await lab.apply(lab.release(project="p" * 33), 1)


async def test_without_the_right_to_make_namespaces_there_are_no_projects():
    async with simulated_kubernetes_lab() as lab:
        assert Feature.PROJECT_NETWORKS not in (await lab.engine.describe()).features
        with pytest.raises(Forbidden, match=r"rbac-projects\.yaml"):
            await lab.apply(lab.release(project=lab.app), 1)


async def test_every_right_that_projects_add_is_needed(lab):
    release = lab.release(project=lab.app)
    await lab.apply(release, 1)
    await lab.engine.remove(lab.app)
    await lab.engine.remove(lab.app)

    added = [
        {**rule, "verbs": [verb], "resources": [resource]}
        for rule in manifest_rules(PROJECTS)
        if "namespace" not in rule and not rule.get("resourceNames")
        for verb in rule["verbs"]
        for resource in rule["resources"]
        if resource == "namespaces" or (verb == "list" and resource not in ("pods", "events", "nodes"))
    ]
    unused = [rule for rule in added if not any(allows(rule, call) for call in lab.simulator.calls)]
    assert unused == []
