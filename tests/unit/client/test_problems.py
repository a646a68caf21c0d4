"""What answers that are no success mean."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from naru.client.problems import problem
from naru.domain.errors import (
    Conflict,
    Forbidden,
    Invalid,
    NaruError,
    NotFound,
    SignInRequired,
    Stale,
    Unavailable,
)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, SignInRequired),
        (403, Forbidden),
        (404, NotFound),
        (409, Conflict),
        (412, Stale),
        (422, Invalid),
        (400, Invalid),
        (413, Invalid),
        (429, Unavailable),
        (500, Unavailable),
        (503, Unavailable),
    ],
)
def test_each_status_is_one_kind_with_its_cause_and_mend(status, kind):
    body = json.dumps({"title": "x", "status": status, "detail": "the cause", "mend": "the mend"}).encode()
    error = problem(status, body)
    assert type(error) is kind
    assert (error.cause, error.mend) == ("the cause", "the mend")


@pytest.mark.parametrize("status", [409, 503])
def test_the_field_that_overrides_an_error_arrives(status):
    assert problem(status, b'{"detail": "x", "override": "force"}').override == "force"
    assert problem(status, b'{"detail": "x"}').override == ""


def test_a_busy_server_says_how_long_to_wait():
    error = problem(503, b"{}", "7")
    assert isinstance(error, Unavailable)
    assert error.retry_after == 7


def test_an_answer_of_something_else_in_between_is_named_as_such():
    error = problem(404, b"<html>nginx</html>")
    assert isinstance(error, NotFound)
    assert "404" in error.cause
    assert "Naru server" in error.mend


def test_who_is_not_known_is_told_how_to_sign_in():
    assert "naru login" in problem(401, b"").mend


@given(st.integers(300, 599), st.binary(max_size=60), st.text(max_size=5))
def test_every_answer_is_an_error_with_a_cause(status, body, retry_after):
    error = problem(status, body, retry_after)
    assert isinstance(error, NaruError)
    assert error.cause
