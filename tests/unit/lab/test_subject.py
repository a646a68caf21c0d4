"""What a study leaves: nothing, or the engine's own words on what it refused to remove."""

from tests.contract.fake_engine import FakeEngine

from naru.domain.errors import Conflict
from naru.lab.studies.subject import apps, clear


async def test_what_an_engine_refuses_to_remove_is_told_and_keeps_nothing_else_from_being_removed():
    engine = FakeEngine()
    engine.fail("remove", Conflict("the network has active endpoints"), times=2)

    left = await clear(engine, "mine")

    assert left == "the network has active endpoints"
    asked = [call[1] for call in engine.calls if call[0] == "remove"]
    assert asked == [apps("mine")[0], *apps("mine")]
    assert await clear(engine, "mine") == ""


def test_studies_with_different_marks_share_no_app():
    assert not set(apps("mine")) & set(apps("yours"))
