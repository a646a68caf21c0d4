from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from naru.domain.errors import Invalid
from naru.formats.compose.interpolate import escape, interpolate

VARIABLES = {"SET": "value", "EMPTY": "", "OTHER": "other"}


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("$SET", "value"),
        ("${SET}", "value"),
        ("a$SET.b", "avalue.b"),
        ("${EMPTY:-default}", "default"),
        ("${EMPTY-default}", ""),
        ("${UNSET-default}", "default"),
        ("${UNSET:-}", ""),
        ("${SET:-default}", "value"),
        ("${SET:+there}", "there"),
        ("${EMPTY:+there}", ""),
        ("${EMPTY+there}", "there"),
        ("${UNSET+there}", ""),
        ("${SET:?needed}", "value"),
        ("${EMPTY?needed}", ""),
        ("${UNSET:-${EMPTY:-${OTHER}}}", "other"),
        ("${UNSET:-$OTHER-x}", "other-x"),
        ("${SET:+${OTHER}}", "other"),
        ("$$SET", "$SET"),
        ("$${SET}", "${SET}"),
        ("$$$SET", "$value"),
        ("5$", "5$"),
        ("$1 and $-", "$1 and $-"),
        ("${UNSET:-a$$b}", "a$b"),
        ('${UNSET:-{"a": 1}', '{"a": 1'),
    ],
)
def test_variables_are_filled_in_as_the_specification_says(text: str, wanted: str):
    assert interpolate(text, VARIABLES) == wanted


@pytest.mark.parametrize("text", ["${SET", "${", "${}", "${1A}", "${SET/a/b}", "${SET!}", "${UNSET:-${SET}"])
def test_what_is_no_expression_is_refused(text: str):
    with pytest.raises(Invalid):
        interpolate(text, VARIABLES)


def test_a_required_variable_that_is_missing_is_refused_in_the_authors_words():
    with pytest.raises(Invalid, match="DB_URL is missing: name the value database"):
        interpolate("${DB_URL:?name the $SET database}", VARIABLES)


def test_an_operand_that_is_not_used_may_ask_for_what_is_missing():
    assert interpolate("${SET:-${UNSET:?no}}", VARIABLES) == "value"


def test_an_unset_variable_without_a_default_is_empty_and_told():
    unset: list[str] = []

    assert interpolate("a${X}b$Y${Z:-}", {}, unset.append) == "ab"
    assert unset == ["X", "Y"]


def test_deep_nesting_ends_with_an_error_and_not_with_the_stack():
    with pytest.raises(Invalid, match="nested"):
        interpolate("${A:-" * 5000 + "}" * 5000, {})


@given(st.text())
def test_escaped_text_comes_back_as_it_was(text: str):
    assert interpolate(escape(text), VARIABLES) == text


@given(st.text("${}:-?+AB$ ", max_size=40))
def test_any_text_is_filled_in_or_refused(text: str):
    with suppress(Invalid):
        interpolate(text, {"A": "$B", "B": ""})
