"""docs/choice.md shows the numbers that the choice uses."""

from pathlib import Path

import pytest

from naru.control.weights import SUITABILITIES, WEIGHTS
from naru.domain.kind import WorkloadKind

PAGE = Path(__file__).parents[3] / "docs" / "choice.md"

CELLS = [
    *((row.criterion, *(row.points[kind] for kind in WorkloadKind), row.why, row.source) for row in WEIGHTS),
    *((row.engine, ", ".join(row.kinds) or "any other", row.score, row.why, row.source) for row in SUITABILITIES),
]


@pytest.mark.parametrize("cells", CELLS)
def test_the_page_shows_every_row_of_the_tables(cells: tuple[object, ...]):
    *most, source = map(str, cells)
    row = f"| {' | '.join((*most, source.split(',')[0]))} |"
    assert row in PAGE.read_text().splitlines()
