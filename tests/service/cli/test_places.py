"""Where apps run, by command: the choice, targets, moves, comparisons and nodes."""

import json
from dataclasses import replace

from pydantic import TypeAdapter
from tests.service.cli.conftest import DEPLOY, rollout_of
from tests.unit.lab.test_report import COMPARISON

from naru.domain.comparison import Comparison
from naru.domain.distribution import NodeReport


def test_a_choice_names_every_target_its_shares_and_the_reasons_and_deploys_nothing(served):
    result = served.naru("choose", "shop:1", "--port", "8080", "--kind", "edge", "--memory", "64M")

    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("shop (edge) would run on fake\n  fake (fake), which alone can run it\n")
    assert "room: with it 0% of the places would be promised (1 instance)" in result.stdout
    assert json.loads(served.naru("apps", "-o", "json").stdout)["items"] == []


def test_without_a_target_that_can_run_it_the_choice_says_what_is_lacking(served, tmp_path):
    compose = tmp_path / "compose.yaml"
    compose.write_text(
        "services: {web: {image: 'shop:1', expose: ['8080'], deploy: {resources: {limits: {cpus: '90'}}}}}"
    )

    result = served.naru("choose", "-f", str(compose))

    assert result.exit_code == 1
    assert "web can run nowhere\n  fake: an instance may use 90 cores, the target has 8" in result.stdout
    refused = served.naru("choose", "shop:1", "-f", str(compose))
    assert refused.exit_code == 7
    assert "an image and a file were named" in refused.output


def test_the_place_step_keeps_what_it_decided_among(served):
    rollout = rollout_of(served.naru(*DEPLOY, "--target", "fake", "-o", "json"))

    (place,) = [step for step in rollout.steps if step.name == "place"]
    assert place.choice.target == "fake"
    assert place.choice.candidates[0].shares[0].criterion == "room"
    refused = rollout_of(served.naru(*DEPLOY, "--target", "else", "-o", "json"))
    assert "there is no target else" in refused.reason


# --- targets ----------------------------------------------------------------------------------------------------


def test_a_target_is_added_cordoned_and_removed(shop):
    shop.tell(lambda: shop.site.engine_at("plant"))
    added = shop.naru("targets", "add", "plant", "fake://plant", "--site", "busan", "-o", "json")
    assert added.exit_code == 0
    assert json.loads(added.stdout)["site"] == "busan"
    assert "cordoned" in shop.naru("targets", "cordon", "plant").stdout
    assert "answers" in shop.naru("targets", "uncordon", "plant").stdout
    assert shop.naru("targets", "remove", "plant").exit_code == 0
    assert "plant" not in shop.naru("targets").stdout


def test_a_target_that_does_not_answer_is_refused_with_the_option_that_adds_it(shop):
    shop.tell(lambda: shop.site.engine_at("plant").go_away())
    refused = shop.naru("targets", "add", "plant", "fake://plant")
    assert refused.exit_code == 6
    assert "plant was not added" in refused.stderr
    assert "add --force" in refused.stderr
    assert shop.naru("targets", "add", "plant", "fake://plant", "--force").exit_code == 0


def test_a_target_that_cannot_be_is_refused_with_its_mend(shop):
    refused = shop.naru("targets", "add", "plant", "gopher://plant")
    assert refused.exit_code == 7
    assert "no engine is reached by gopher" in refused.stderr
    assert shop.naru("targets", "remove", "fake").exit_code == 4


def test_an_app_moves_and_a_target_is_drained(shop):
    shop.tell(lambda: shop.site.engine_at("plant"))
    shop.naru("targets", "add", "plant", "fake://plant")
    moved = rollout_of(shop.naru("move", "shop", "--to", "plant", "-o", "json"))
    assert (moved.state, moved.source, moved.target) == ("succeeded", "fake", "plant")
    drained = shop.naru("targets", "drain", "plant")
    assert drained.exit_code == 0, drained.output
    assert "shop → fake  succeeded" in drained.stdout
    stuck = shop.naru("targets", "drain", "fake")
    assert stuck.exit_code == 1
    assert "shop stays: shop cannot move: plant: it is cordoned" in stuck.stdout


def test_an_app_with_volumes_moves_and_leaves_a_drained_target_when_they_may_be_copied(shop):
    shop.tell(lambda: shop.site.engine_at("plant"))
    kept = shop.naru("deploy", "shop:1", "--name", "store", "--port", "8080", "--volume", "data:/data")
    assert kept.exit_code == 0, kept.output
    shop.naru("targets", "add", "plant", "fake://plant")

    stays = shop.naru("move", "store", "--to", "plant")
    assert (stays.exit_code, "naru move store --copy-volumes" in stays.stderr) == (4, True)
    moved = rollout_of(shop.naru("move", "store", "--to", "plant", "--copy-volumes", "-o", "json"))
    assert [step.name for step in moved.steps][2] == "copy"
    drained = shop.naru("targets", "drain", "plant", "--copy-volumes")

    assert (drained.exit_code, "store → fake  succeeded" in drained.stdout) == (0, True), drained.output


# --- comparisons ------------------------------------------------------------------------------------------------


def test_an_earlier_comparison_is_shown_and_written_as_a_report(served, tmp_path):
    measured = replace(COMPARISON, id="comparison-1")
    served.do(served.site.store.comparisons.save(measured, "test"))

    listed = served.naru("compare", "--list").stdout.splitlines()
    assert listed[1].split()[:4] == ["comparison-1", "done", "box,", "cluster"]
    shown = served.naru("compare", "--show", "comparison-1", "--out", str(tmp_path / "report"))
    assert shown.exit_code == 0, shown.output
    assert "1.55 s (1.50 s to 1.60 s)" in shown.stdout
    assert "tie" in shown.stdout
    names = {path.name for path in (tmp_path / "report").iterdir()}
    plots = {"installation.svg", "deployment.svg", "failures.svg"}
    assert names == {"report.html", "report.md", "comparison.json", *plots}
    kept = (tmp_path / "report" / "comparison.json").read_bytes()
    assert TypeAdapter(Comparison).validate_json(kept) == measured
    assert "![failures" in (tmp_path / "report" / "report.md").read_text()
    assert json.loads(served.naru("compare", "--show", "comparison-1", "-o", "json").stdout)["repeats"] == 5


def test_a_comparison_that_cannot_be_is_refused_before_anything_is_measured(served, tmp_path):
    (tmp_path / "file").write_text("")

    assert served.naru("compare", "--show", "comparison-2").exit_code == 3
    assert served.naru("compare", "--out", str(tmp_path / "file" / "report")).exit_code == 7
    refused = served.naru("compare", "fake")
    assert refused.exit_code == 6
    assert "this server makes no studies" in refused.output


def test_a_node_is_invited_and_removed(served):
    assert served.naru("nodes", "invite").exit_code != 0
    head = NodeReport("head", "hall", "10.9.0.1", 7071, "passthrough", authority="ab" * 32)
    served.do(served.site.platform.nodes.report(head))
    told = served.naru("nodes", "invite", "--node", "gull")
    assert told.exit_code == 0
    assert "naru agent join naru1." in told.stdout
    assert "--via 10.9.0.1:7071" in told.stdout
    (token,) = json.loads(served.naru("nodes", "invitations", "-o", "json").stdout)["items"]
    assert "gull" in served.naru("nodes", "invitations").stdout
    assert "head" in served.naru("nodes").stdout
    assert served.naru("nodes", "uninvite", token["id"]).exit_code == 0
    assert served.naru("nodes", "remove", "head").exit_code == 0
    assert "head" not in served.naru("nodes", "list").stdout
    assert served.naru("nodes", "distributions").exit_code == 0
