"""The pages of comparisons: what was found, in words; a new one; one as it goes on."""

import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from tests.unit.console.conftest import Stage, words

from naru.console.findings import ASPECTS, SAID, drawn, findings
from naru.domain.comparison import MEASURES, Aspect, Compared, Comparison, ComparisonState, Measure, Result

BEGUN = datetime(2026, 3, 1, 12, tzinfo=UTC)
FOUND = Comparison(
    "comparison-1",
    ("docker", "swarm"),
    3,
    ComparisonState.DONE,
    "admin",
    BEGUN,
    targets=(Compared("docker", "docker", "20.10", 1, 2, 1 << 30), Compared("swarm", "swarm", "20.10", 3, 6, 3 << 30)),
    results=(
        Result("docker", Measure.START_1, (0.4, 0.5, 0.6)),
        Result("swarm", Measure.START_1, (1.4, 1.5, 1.6)),
        Result("docker", Measure.CRASH, (1.0, 2.0, 3.0)),
        Result("swarm", Measure.CRASH, (2.0, 2.5, 4.0)),
        Result("docker", Measure.UPDATE_LOST, (0.0, 0.0, 0.0)),
        Result("swarm", Measure.UPDATE_LOST, (0.0, 0.0, 0.0)),
        Result("docker", Measure.KEPT_BY_RESTART, (1.0, 1.0, 0.0)),
        Result("docker", Measure.NODE_LOSS, (), "it has <one> node"),
        Result("docker", Measure.MEMORY, (3.0 * 1024**2,)),
        Result("swarm", Measure.MEMORY, (9.0 * 1024**2,)),
    ),
    ended_at=BEGUN + timedelta(seconds=754),
)


def of(measure: Measure, comparison: Comparison = FOUND):
    return next(one for all_ in findings(comparison).aspects.values() for one in all_ if one.measure is measure)


@pytest.fixture
async def kept(stage: Stage) -> None:
    await stage.platform.pipeline.store.comparisons.save(FOUND, "test")


def test_every_measure_and_aspect_has_the_words_of_its_domain():
    assert {one: (said.title, said.how) for one, said in SAID.items()} == {
        one: (about.title, about.how) for one, about in MEASURES.items()
    }
    assert set(ASPECTS) == set(Aspect)


def test_a_target_is_better_only_where_the_intervals_lie_apart():
    assert of(Measure.START_1).best == ("docker",)
    assert of(Measure.CRASH).best == ("docker", "swarm")
    assert of(Measure.MEMORY).best == ()
    assert not of(Measure.MEMORY).sure
    found = findings(FOUND)
    assert (found.wins, found.ties) == ({"docker": 1, "swarm": 0}, 2)


def test_rounds_are_counted_while_they_go_on():
    found = findings(replace(FOUND, repeats=6, results=(Result("docker", Measure.START_1, (0.4, 0.5)),)))
    assert (found.done, found.rounds) == (2, 12)


def test_plots_are_drawn_where_they_say_more_than_the_figures():
    assert {one["measure"] for one in drawn(findings(FOUND))} == {"start-1", "crash", "memory"}
    (memory,) = (one for one in drawn(findings(FOUND)) if one["measure"] == "memory")
    assert memory["rows"][0] == {"name": "docker", "values": [3.0], "low": 3.0, "median": 3.0, "high": 3.0}


async def test_a_comparison_is_shown_with_its_figures_and_who_is_better(browser, kept):
    page = (await browser.get("/comparisons/comparison-1")).text
    said = words(page)
    assert "docker is better in 1" in said
    assert "Medians with their 75 % interval" in said
    assert "2 of 3 times" in said
    assert "fewer than 3 values" in said
    assert "it has &lt;one&gt; node" in page
    assert "volume snapshots" in said
    told = json.loads(re.search(r'data-found="([^"]*)"', page)[1].replace("&#34;", '"'))
    assert len(told) == 3


async def test_one_that_has_just_begun_is_shown_too(browser, stage: Stage):
    begun = replace(FOUND, state=ComparisonState.RUNNING, targets=(), results=(), ended_at=None, step="<opening>")
    await stage.platform.pipeline.store.comparisons.save(begun, "test")
    page = (await browser.get("/comparisons/comparison-1")).text
    assert "0 of 6 rounds" in page
    assert "&lt;opening&gt;" in page
    assert "Download" not in page


async def test_it_is_shown_in_korean(browser, kept):
    page = (await browser.get("/comparisons/comparison-1", **{"Accept-Language": "ko"})).text
    assert "인스턴스 1개: 무에서 준비까지" in page
    assert "3번 중 2번" in page


async def test_its_report_is_one_file_to_keep(browser, kept):
    answer = await browser.get("/comparisons/comparison-1/report.html")
    assert answer.headers["content-disposition"] == 'attachment; filename="comparison-1.html"'
    assert "Again: naru compare docker swarm --repeats 3" in answer.text


async def test_comparisons_are_listed_with_how_long_they_took(browser, kept):
    said = words((await browser.get("/comparisons")).text)
    assert "docker, swarm done 3 admin" in said
    assert "12 min 34 s" in said


async def test_a_new_one_needs_a_target(browser):
    answer = await browser.post("/comparisons", {"repeats": "3"})
    assert answer.status_code == 422
    assert "no target is chosen" in answer.text


async def test_what_was_typed_stays_when_it_is_refused(browser):
    answer = await browser.post("/comparisons", {"target": "fake", "repeats": "900", "image": "shop:1"})
    assert answer.status_code in (422, 503)  # this server makes no studies
    assert 'value="900"' in answer.text
    assert 'value="shop:1"' in answer.text
    assert 'value="fake" checked' in answer.text


async def test_one_that_is_not_there_is_a_page_not_found(browser):
    assert (await browser.get("/comparisons/comparison-none")).status_code == 404
    assert (await browser.get("/comparisons/comparison-none/report.html")).status_code == 404
