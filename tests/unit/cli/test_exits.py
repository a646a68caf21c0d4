"""Exit codes: one table, also in the manual and in --help."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from naru.cli import app
from naru.cli.exits import EXIT_CODES, exit_code, told
from naru.domain import errors

MANUAL = Path(__file__).parents[3] / "docs" / "cli.md"


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (errors.NotFound, 3),
        (errors.Conflict, 4),
        (errors.Stale, 4),
        (errors.SignInRequired, 5),
        (errors.Forbidden, 5),
        (errors.Unavailable, 6),
        (errors.Invalid, 7),
        (errors.NaruError, 1),
    ],
)
def test_each_kind_of_error_has_its_code(kind, code):
    assert exit_code(kind("cause")) == code


def test_codes_are_told_apart():
    codes = [row.code for row in EXIT_CODES]
    assert len(codes) == len(set(codes))


def test_an_error_says_its_cause_and_its_mend():
    assert told(errors.Conflict("taken", "choose another")) == "error: taken\n  mend: choose another"
    assert told(errors.Conflict("taken")) == "error: taken"


def test_an_error_names_the_option_that_overrides_it():
    away = errors.Unavailable("it is away", "start it", override="force")
    assert told(away) == "error: it is away\n  mend: start it; to do it all the same, add --force"
    stops = errors.Conflict("it has volumes", override="copy_volumes")
    assert told(stops) == "error: it has volumes\n  mend: to do it all the same, add --copy-volumes"


def test_the_manual_and_the_help_hold_the_same_table():
    manual = MANUAL.read_text("utf-8")
    help_text = " ".join(CliRunner().invoke(app, ["--help"], env={"COLUMNS": "200"}).output.split())
    for row in EXIT_CODES:
        assert f"| {row.code} | {row.meaning} |" in manual
        assert f"{row.code} {row.meaning}" in help_text
