"""docs/choice.md shows the numbers that the choice uses."""

from pathlib import Path

import pytest

from naru.control.weights import SUITABILITIES, WEIGHTS
from naru.domain.kind import WorkloadKind

PAGE = Path(__file__).parents[3] / "docs" / "choice.md"

ROWS = [
    *(
        f"| {row.criterion} | {' | '.join(str(row.points[kind]) for kind in WorkloadKind)} | {row.why} | {_cited} |"
        for row in WEIGHTS
        for _cited in [row.source.split(",")[0]]
    ),
    *(
        f"| {row.engine} | {', '.join(row.kinds) or 'any other'} | {row.score} | {row.why} | {row.source.split(',')[0]} |"
        for row in SUITABILITIES
    ),
]


@pytest.mark.parametrize("row", ROWS)
def test_the_page_shows_every_row_of_the_tables(row: str):
    assert row in PAGE.read_text().splitlines()
