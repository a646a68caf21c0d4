from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.service.control.site import Site, site


@pytest.fixture
async def naru(tmp_path: Path) -> AsyncIterator[Site]:
    """A site with a server at work."""
    async with site(tmp_path) as made:
        await made.start()
        yield made
