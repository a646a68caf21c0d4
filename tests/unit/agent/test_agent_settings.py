"""What an agent is told, and what it tells."""

import base64
import json
import re
from pathlib import Path

import pytest
import yaml

from naru.agent.images import chain_id
from naru.agent.logins import Logins
from naru.agent.meter import Meter
from naru.agent.mirror.upstream import repository
from naru.agent.mount.support import Mode
from naru.agent.reports import report
from naru.agent.roots import lower_of
from naru.agent.settings import agent_settings
from naru.agent.snapshotter.values import Lower
from naru.agent.status import ImageStatus, Status, StoreStatus, TrafficStatus, metrics
from naru.cli.doctor import State, agent_finding
from naru.domain.distribution import Carried, Holding, Link
from naru.domain.errors import Invalid
from naru.oci.reference import Digest

ROOT = Path(__file__).parents[3]
STATUS = Status(
    version="1",
    node="one",
    site="home",
    cluster="naru",
    mode="passthrough",
    lacking=(),
    snapshots=3,
    mirror="http://127.0.0.1:7072",
    store=StoreStatus(objects=5, size=500, saved=50, pinned=100, budget=None),
    traffic=TrafficStatus(1, 2, 3, 4, 5),
    images=(ImageStatus("sha256:aa", "shop:1", 7, 5, 700, 500, 70, 60, ("snapshotter",)),),
    peers=(),
)


def test_without_a_word_an_agent_has_defaults_that_disturb_nobody():
    settings = agent_settings({})
    assert settings.state == Path("/var/lib/naru/agent")
    assert settings.snapshots == Path("/run/naru/snapshotter.sock")
    assert settings.roots.is_relative_to(settings.state)
    assert settings.mirror == ("127.0.0.1", 7072)
    assert (settings.budget, settings.mode, settings.authority) == (None, None, False)
    assert (settings.stored, settings.packed) == (None, 4 << 30)


def test_an_agent_does_what_it_is_told():
    told = {
        "NARU_AGENT_BUDGET": "20G",
        "NARU_AGENT_MODE": "eager",
        "NARU_AGENT_MIRROR": "off",
        "NARU_AGENT_PEERS": "10.0.0.1:7071, [fd00::1]:7071",
        "NARU_AGENT_ORIGIN": "no",
    }
    settings = agent_settings(told)
    assert (settings.budget, settings.mode, settings.mirror) == (20 << 30, Mode.EAGER, None)
    assert settings.peers == (("10.0.0.1", 7071), ("fd00::1", 7071))
    assert not settings.origin


@pytest.mark.parametrize(
    ("budget", "packed"),
    [("8G", 1 << 30), ("1T", 4 << 30), ("1", 0), ("9", 1)],
    ids=["an eighth", "enough", "nothing", "little"],
)
def test_a_budget_is_shared_by_files_and_compressed_pieces(budget, packed):
    settings = agent_settings({"NARU_AGENT_BUDGET": budget})
    assert settings.packed == packed
    assert settings.stored + settings.packed == settings.budget


@pytest.mark.parametrize(
    "wrong",
    [
        {"NARU_AGENT_BUDGET": "lots"},
        {"NARU_AGENT_BUDGET": "0"},
        {"NARU_AGENT_LISTEN": "7071"},
        {"NARU_AGENT_PEERS": "host"},
        {"NARU_AGENT_MODE": "fast"},
        {"NARU_AGENT_ORIGIN": "perhaps"},
        {"NARU_AGENT_PATIENCE": "-1"},
        {"NARU_LOG": "loud"},
    ],
)
def test_a_wrong_setting_is_named(wrong):
    (name,) = wrong
    with pytest.raises(Invalid, match=name):
        agent_settings(wrong)


def test_every_setting_is_in_the_documentation():
    read = set(re.findall(r'"(NARU_[A-Z_]+)"', (ROOT / "src/naru/agent/settings.py").read_text()))
    assert read == read & set(re.findall(r"NARU_[A-Z_]+", (ROOT / "docs/configuration.md").read_text()))


@pytest.mark.parametrize("name", ["daemonset.yaml", "compose.yaml"])
def test_manifests_name_settings_that_there_are(name):
    text = (ROOT / "deploy/agent" / name).read_text()
    assert all(yaml.safe_load_all(text))
    known = (ROOT / "docs/configuration.md").read_text()
    assert all(variable in known for variable in re.findall(r"NARU_[A-Z_]+", text))


def test_logins_are_those_of_the_file_and_read_again_when_it_changes(tmp_path):
    file = tmp_path / "config.json"
    logins = Logins(file)
    assert logins.of("shop.example.org") is None
    auth = base64.b64encode(b"ferry:s3:cret").decode()
    hosts = {"https://shop.example.org/v2/": {"auth": auth}, "b.example.org": {"auth": "no base64"}}
    file.write_text(json.dumps({"auths": hosts, "credHelpers": {"c": "d"}}))
    known = logins.of("shop.example.org")
    assert known is not None
    assert (known.username, known.password) == ("ferry", "s3:cret")
    assert logins.of("b.example.org") is None
    file.write_text("{broken")
    assert logins.of("shop.example.org") is None


@pytest.mark.parametrize(
    ("path", "named", "name"),
    [
        ("library/nginx", "", "hub.example.org/library/nginx"),
        ("library/nginx", "docker.io", "docker.io/library/nginx"),
        ("team/shop", "shop.example.org:5000", "shop.example.org:5000/team/shop"),
        ("shop.example.org/team/shop", "", "shop.example.org/team/shop"),
        ("localhost/shop", "", "localhost/shop"),
    ],
)
def test_a_request_means_the_registry_that_it_names(path, named, name):
    assert repository(path, named, "hub.example.org").name == name


def test_layers_are_named_together_as_the_specification_says():
    one, two = Digest.of(b"1"), Digest.of(b"2")
    assert chain_id([]) == ""
    assert chain_id([one]) == str(one)
    assert chain_id([one, two]) == str(Digest.of(f"{one} {two}".encode()))


def test_the_lower_part_of_an_overlay_goes_into_another():
    options = ("lowerdir=/meta/ab::/objects::/remote", "ro", "metacopy=on", "redirect_dir=on")
    expected = Lower("/meta/ab::/objects::/remote", "/meta/ab", ("metacopy=on", "redirect_dir=on"))
    assert lower_of(options) == expected


def test_metrics_are_prometheus_text():
    lines = metrics(STATUS).splitlines()
    assert 'naru_agent_received_bytes_total{source="outside"} 2' in lines
    assert "naru_agent_store_bytes 500" in lines
    assert all(re.fullmatch(r'# (HELP|TYPE) .+|[a-z_]+(\{[a-z]+=".*"\})? [0-9]+', line) for line in lines)


def test_the_control_plane_is_told_what_is_here():
    told = report(STATUS, "10.0.0.1", 7071, Link(12.5e6))
    assert (told.name, told.host, told.port, told.used) == ("one", "10.0.0.1", 7071, 500)
    assert told.images == (Holding("sha256:aa", 500, 700, 60, 70),)
    assert told.carried == Carried(1, 2, 3, 4)
    assert told.link == Link(12.5e6)


def test_a_link_is_as_fast_as_it_was_when_it_was_used():
    meter = Meter()
    assert meter.rate == 0.0
    for now, total in ((0.0, 1000), (1.0, 1000), (2.0, 13_000), (3.5, 28_000), (4.5, 28_500), (5.5, 28_500)):
        meter.sample(now, total)
    assert meter.rate == 12_000.0


def test_the_doctor_tells_what_a_node_lacks():
    assert agent_finding("passthrough", (), "naru").state is State.OK
    assert agent_finding("passthrough", (), "").state is State.WARN
    lacking = agent_finding("reads", ("this kernel has no FUSE passthrough",), "naru")
    assert lacking.state is State.WARN
    assert "passthrough" in lacking.detail
