from tests.unit.engines.docker.test_translate import inspected, release

from naru.engines.docker.ledger import Ledger
from naru.engines.docker.translate import End, Known, owned
from naru.engines.dockerapi.answers import Row


def row(container, **changes):
    listed = {
        "Id": container.id,
        "State": container.state.status,
        "Names": [container.name],
        "NetworkSettings": {"Networks": {"naru-shop": {}}},
    }
    return Row.model_validate({**listed, **changes})


def listening():
    ledger = Ledger()
    ledger.listening = True
    return ledger


def test_what_was_inspected_is_recalled_until_an_event_speaks_against_it():
    ledger, one = listening(), owned(inspected(release()), "naru")
    ledger.keep(one, ledger.edition(one.id))

    assert ledger.recall(row(one.container)) is one
    ledger.spoil(one.id)
    assert ledger.recall(row(one.container)) is None


def test_an_event_during_the_inspection_wins():
    ledger, one = listening(), owned(inspected(release()), "naru")
    edition = ledger.edition(one.id)
    ledger.spoil(one.id)

    ledger.keep(one, edition)

    assert ledger.recall(row(one.container)) is None


def test_a_container_listed_otherwise_than_inspected_is_not_recalled():
    ledger, one = listening(), owned(inspected(release()), "naru")
    ledger.keep(one, 0)

    assert ledger.recall(row(one.container, State="exited")) is None
    assert ledger.recall(row(one.container, Names=["/other"])) is None
    assert ledger.recall(row(one.container, NetworkSettings=None)) is None


def test_nothing_is_kept_while_nobody_listens():
    ledger, one = Ledger(), owned(inspected(release()), "naru")
    ledger.keep(one, 0)

    assert ledger.find(one.id) is None


def test_a_kill_for_want_of_memory_is_told_from_another():
    ledger, one = listening(), owned(inspected(release()), "naru")
    ledger.ran_out_of_memory(one.id)
    ledger.ended(one.id, 137)
    assert ledger.known(one) == Known(end=End(137, oom_killed=True))

    ledger.ended(one.id, 137)
    assert ledger.known(one) == Known(end=End(137, oom_killed=False))


def test_containers_that_went_are_forgotten():
    ledger, one = listening(), owned(inspected(release()), "naru")
    ledger.keep(one, 0)
    ledger.ended(one.id, 1)

    ledger.retain([])

    assert ledger.find(one.id) is None
    assert ledger.known(one).end is None
