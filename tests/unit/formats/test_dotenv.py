from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from naru.domain.errors import Invalid
from naru.formats.compose.dotenv import parse_dotenv, parse_raw


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("VAR=VAL", "VAL"),
        ('VAR="VAL"', "VAL"),
        ("VAR='VAL'", "VAL"),
        ("VAR = VAL ", "VAL"),
        ("export VAR=VAL", "VAL"),
        ("VAR: VAL", "VAL"),
        ("VAR=VAL # comment", "VAL"),
        ("VAR=VAL# not a comment", "VAL# not a comment"),
        ('VAR="VAL # not a comment"', "VAL # not a comment"),
        ('VAR="VAL" # comment', "VAL"),
        ("VAR='$OTHER'", "$OTHER"),
        ("VAR='${OTHER}'", "${OTHER}"),
        ("VAR=$OTHER", "other"),
        ('VAR="${OTHER}!"', "other!"),
        ("VAR=${UNSET:-default}", "default"),
        (r"VAR='Let\'s go!'", "Let's go!"),
        (r'VAR="{\"hello\": \"json\"}"', '{"hello": "json"}'),
        (r'VAR="some\tvalue"', "some\tvalue"),
        (r"VAR='some\tvalue'", r"some\tvalue"),
        (r"VAR=some\tvalue", r"some\tvalue"),
        (r'VAR="a\\b"', r"a\b"),
        (r'VAR="\$OTHER"', "$OTHER"),
        ('VAR="two\nlines"', "two\nlines"),
        ("VAR=", ""),
        ("VAR= # nothing", ""),
        ("VAR=a=b", "a=b"),
        ("\n# comment\n\n  VAR=VAL\r\n", "VAL"),
    ],
)
def test_a_line_is_read_as_compose_reads_it(line: str, value: str):
    assert parse_dotenv(line, ".env", {"OTHER": "other"}) == {"VAR": value}


def test_later_lines_see_earlier_ones_and_the_environment_wins():
    text = "A=file\nB=${A}-b\nC=$D\n"

    assert parse_dotenv(text, ".env", {"A": "shell", "D": "d"}) == {"A": "file", "B": "shell-b", "C": "d"}


def test_a_name_alone_takes_the_value_of_the_environment_or_is_left_out():
    assert parse_dotenv("A\nB # comment\nC=1\n", ".env", {"A": "a"}) == {"A": "a", "C": "1"}


@pytest.mark.parametrize(
    ("text", "line"), [("A=1\n=2", 2), ('A=1\n\nB="open', 3), ("A='x' y", 1), ("A=${", 1), ("1A=2", 1), ("A b", 1)]
)
def test_what_is_wrong_is_named_with_its_line(text: str, line: int):
    with pytest.raises(Invalid, match=rf"\.env:{line}"):
        parse_dotenv(text, ".env", {})


def test_the_raw_format_takes_values_as_they_are():
    assert parse_raw("A='$X' # y\n\n# no\n", "raw.env") == {"A": "'$X' # y"}


@given(
    st.dictionaries(st.from_regex(r"[A-Z]{1,5}", fullmatch=True), st.text(st.characters(exclude_characters="\r'\\")))
)
def test_single_quotes_keep_every_text(variables: dict[str, str]):
    text = "".join(f"{name}='{value}'\n" for name, value in variables.items())

    assert parse_dotenv(text, ".env", {}) == variables


@given(st.text("AB=$\"'\\# {}:-\n", max_size=40))
def test_any_file_is_read_or_refused_with_a_line(text: str):
    with suppress(Invalid):
        parse_dotenv(text, ".env", {})
