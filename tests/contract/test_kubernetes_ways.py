"""The cluster's own ways in, on the simulator: a Gateway's route, else an Ingress, else a port of the nodes."""

import pytest
from tests.contract.kubernetes_labs import NAMESPACE, manifest_rules, simulated_kubernetes_lab
from tests.contract.kubernetes_plane import EXPOSE
from tests.contract.kubernetes_simulator import allows

from naru.domain.errors import Conflict
from naru.domain.workload import Address

pytestmark = [pytest.mark.asyncio, pytest.mark.needs("published kubernetes")]
HOST = {"address": Address(host="shop.example")}


@pytest.fixture
async def lab():
    async with simulated_kubernetes_lab(rules=manifest_rules(EXPOSE), query="?expose=auto") as lab:
        yield lab


def held(lab, plural):
    return {key[2]: value for key, value in lab.simulator.objects.all(plural)}


def gateway(lab, name):
    made = {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway", "metadata": {}, "spec": {}}
    lab.simulator.has_gateways = True
    lab.simulator.objects.create(("gateways", "edge", name), made, "kubectl")


def ingress_class(lab, name, **annotations):
    made = {"apiVersion": "networking.k8s.io/v1", "kind": "IngressClass", "metadata": {"annotations": annotations}}
    lab.simulator.objects.create(("ingressclasses", "", name), made, "kubectl")


async def test_a_gateway_comes_first(lab):
    gateway(lab, "public")
    ingress_class(lab, "nginx")

    await lab.apply(lab.release(**HOST), 1)

    route = held(lab, "httproutes")[lab.app]["spec"]
    assert route["parentRefs"] == [{"namespace": "edge", "name": "public"}]
    assert route["hostnames"] == ["shop.example"]
    assert route["rules"] == [{"backendRefs": [{"name": lab.app, "port": 8080}]}]
    assert (held(lab, "ingresses"), held(lab, "services")[lab.app]["spec"]["type"]) == ({}, "ClusterIP")


async def test_the_default_class_of_ingresses_comes_next(lab):
    ingress_class(lab, "apache")
    ingress_class(lab, "nginx", **{"ingressclass.kubernetes.io/is-default-class": "true"})

    await lab.apply(lab.release(**HOST), 1)

    made = held(lab, "ingresses")[lab.app]["spec"]
    assert (made["ingressClassName"], made["rules"][0]["host"]) == ("nginx", "shop.example")


async def test_without_a_host_or_anybody_who_routes_there_is_a_port_of_the_nodes(lab):
    await lab.apply(lab.release(**HOST), 1)

    assert held(lab, "services")[lab.app]["spec"]["type"] == "NodePort"


async def test_a_better_way_takes_the_place_of_the_one_before(lab):
    release = lab.release(**HOST)
    ingress_class(lab, "nginx")
    await lab.apply(release, 1)

    gateway(lab, "public")
    await lab.apply(release, 1)

    assert (list(held(lab, "httproutes")), held(lab, "ingresses")) == ([lab.app], {})
    await lab.engine.remove(lab.app)
    assert held(lab, "httproutes") == {}


async def test_of_several_gateways_one_must_be_named(lab):
    gateway(lab, "public")
    gateway(lab, "private")

    with pytest.raises(Conflict, match=r"edge/private, edge/public.*expose="):
        await lab.apply(lab.release(**HOST), 1)


async def test_a_gateway_that_is_named_and_not_there_is_told():
    async with simulated_kubernetes_lab(rules=manifest_rules(EXPOSE), query="?expose=edge/public") as lab:
        with pytest.raises(Conflict, match="no Gateway edge/public"):
            await lab.apply(lab.release(**HOST), 1)


async def test_nothing_is_exposed_unasked():
    async with simulated_kubernetes_lab() as lab:
        ingress_class(lab, "nginx")

        await lab.apply(lab.release(**HOST), 1)

        assert (held(lab, "ingresses"), held(lab, "services")[lab.app]["spec"]["type"]) == ({}, "ClusterIP")


async def test_every_right_that_this_takes_is_needed(lab):
    ingress_class(lab, "nginx")
    await lab.apply(lab.release(**HOST), 1)
    gateway(lab, "public")
    await lab.apply(lab.release(**HOST), 1)
    await lab.engine.remove(lab.app)

    for rule in manifest_rules(EXPOSE)[len(manifest_rules()) :]:
        for verb in rule["verbs"]:
            only = {**rule, "verbs": [verb]}
            assert any(allows(only, call) for call in lab.simulator.calls), (
                f"{verb} {rule['resources']} is never needed"
            )
    assert {call.namespace for call in lab.simulator.calls if call.resource == "ingresses"} == {NAMESPACE}
