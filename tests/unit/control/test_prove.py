import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from naru.control.prove import FAILURES_IN_A_ROW, SHOWN_BODY, SHOWN_PROBLEMS, Tally, judge, percentile, served
from naru.domain.proof import Answer, ProbeRequest


def answer(status: int = 200, body: str = "", seconds: float = 0.01, problem: str = "") -> Answer:
    return Answer(status, (), body, len(body), seconds, problem)


@pytest.mark.parametrize(
    ("request_", "given_", "problem"),
    [
        (ProbeRequest(), answer(), ""),
        (ProbeRequest(), answer(302), ""),
        (
            ProbeRequest(),
            answer(404, "no such\n page"),
            "GET / answered 404 instead of a status below 400: no such page",
        ),
        (ProbeRequest(expect_status=404), answer(404), ""),
        (ProbeRequest(expect_status=200), answer(204), "GET / answered 204 instead of 200"),
        (ProbeRequest(expect_body="ok"), answer(body="all ok"), ""),
        (ProbeRequest(expect_body="ok"), answer(body="no"), "the body does not contain 'ok'"),
        (ProbeRequest(expect_json={"a.b": "1"}), answer(body='{"a": {"b": 1}}'), ""),
        (ProbeRequest(expect_json={"a.1": '"x"'}), answer(body='{"a": [0, "x"]}'), ""),
        (ProbeRequest(expect_json={"a.b": "1"}), answer(body='{"a": {"b": 2}}'), "a.b is 2 instead of 1"),
        (ProbeRequest(expect_json={"a.b": "1"}), answer(body='{"a": 5}'), "the body has no a.b"),
        (ProbeRequest(expect_json={"a.7": "1"}), answer(body='{"a": [1]}'), "the body has no a.7"),
        (ProbeRequest(expect_json={"a." + "9" * 5000: "1"}), answer(body='{"a": [1]}'), "the body has no"),
        (ProbeRequest(expect_json={"a": "1"}), answer(body="<html>"), "the body is not JSON"),
        (ProbeRequest(expect_json={"a": "1"}), answer(body="[" * 100_000), "the body is not JSON"),
        (ProbeRequest(expect_within=0.1), answer(seconds=0.5), "the answer took 500 ms, more than 100 ms"),
    ],
)
def test_an_answer_is_judged_by_what_was_expected(request_, given_, problem):
    judged = judge(request_, given_).problem

    assert judged == problem or (problem and judged.startswith(problem))


def test_the_whole_body_is_judged_and_its_start_is_kept():
    long = "x" * SHOWN_BODY + "ok"

    judged = judge(ProbeRequest(expect_body="ok"), answer(body=long))

    assert judged.problem == ""
    assert len(judged.body) == SHOWN_BODY
    assert judged.body_bytes == len(long)


@given(st.integers(100, 599), st.sampled_from(["", "wrong body"]))
def test_while_two_releases_serve_only_server_errors_count(status, problem):
    assert bool(served(answer(status, problem=problem)).problem) is (bool(problem) and status >= 500)


def test_no_answer_counts_always():
    assert served(answer(0, problem="refused")).problem == "refused"


@given(st.lists(st.floats(0, 10), min_size=1), st.floats(0.01, 1))
def test_a_percentile_is_the_least_value_that_so_many_do_not_exceed(seconds, part):
    found = percentile(seconds, part)

    assert found in seconds
    assert sum(s <= found for s in seconds) >= math.ceil(part * len(seconds))
    assert sum(s < found for s in seconds) < math.ceil(part * len(seconds))


def test_without_answers_every_percentile_is_nothing():
    assert percentile([], 0.99) == 0.0


answers = st.builds(
    answer, st.sampled_from([0, 200, 500]), problem=st.sampled_from(["", "", "a", "b", "c", "d", "e", "f"])
)


@given(st.lists(answers))
def test_the_tally_counts_what_was_sent_and_what_failed(given_):
    tally = Tally()
    for one in given_:
        tally.count(one)

    proof = tally.proof()

    assert proof.sent == len(given_)
    assert proof.failed == sum(bool(one.problem) for one in given_)
    assert len(proof.problems) == len(set(proof.problems)) <= SHOWN_PROBLEMS
    assert len(tally.seconds) == sum(bool(one.status) for one in given_)


def test_an_endpoint_that_answered_and_then_does_not_is_dead():
    tally = Tally()
    tally.count(answer())
    for _ in range(FAILURES_IN_A_ROW - 1):
        tally.count(answer(502, problem="502"))
    assert tally.vital() == ""

    tally.count(answer(502, problem="502"))

    assert tally.vital() == "502"


def test_an_endpoint_that_recovered_is_not_dead():
    tally = Tally()
    for _ in range(FAILURES_IN_A_ROW):
        tally.count(answer())
        tally.count(answer(502, problem="502"))

    assert tally.vital() == ""


def test_an_endpoint_that_never_answered_has_not_died():
    tally = Tally()
    for _ in range(3 * FAILURES_IN_A_ROW):
        tally.count(answer(502, problem="502"))

    assert tally.vital() == ""


def test_the_reason_of_death_is_the_last_problem_even_when_many_kinds_were_seen():
    tally = Tally()
    tally.count(answer())
    for n in range(SHOWN_PROBLEMS + 3):
        tally.count(answer(500, problem=f"problem {n}"))

    assert tally.vital() == f"problem {SHOWN_PROBLEMS + 2}"


def test_a_tally_goes_on_from_what_an_earlier_worker_counted():
    first = Tally()
    first.count(answer(500, problem="a"))
    first.count(answer())

    second = Tally.after(first.proof())
    second.count(answer(500, problem="b"))

    assert (second.proof().sent, second.proof().failed, second.proof().problems) == (3, 2, ("a", "b"))
