"""The fluid model against its papers, against arithmetic, and against itself."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from naru.domain.distribution import Way
from naru.lab.models.distribution import (
    Burden,
    Site,
    decide,
    estimate,
    kumar_ross,
    qiu_srikant,
    unfold,
    waves,
)

MIB = float(1 << 20)
rates = st.floats(0.5 * MIB, 1000 * MIB)
sizes = st.floats(MIB, 2000 * MIB)
sites = st.builds(
    Site,
    nodes=st.integers(1, 40),
    uplink=rates,
    upload=rates,
    download=rates,
    round_trip=st.floats(0, 0.3),
    holders=st.integers(0, 3),
)


@st.composite
def burdens(draw: st.DrawFn) -> Burden:
    missing = draw(sizes)
    hot = missing * draw(st.floats(0, 1))
    share = draw(st.floats(0, 1))
    trips, compute, start = draw(st.floats(0, 20)), draw(st.floats(0, 5)), draw(st.floats(0, 5))
    return Burden(missing, hot, missing * share, hot * share, trips, compute, start)


def test_each_term_of_the_bound_can_be_the_one_that_binds():
    assert kumar_ross(100, 10, [100] * 3, [100] * 3) == 10
    assert kumar_ross(100, 100, [100] * 3, [100, 5, 100]) == 20
    assert kumar_ross(100, 20, [10] * 9, [100] * 9) == pytest.approx(900 / 110)
    assert kumar_ross(100, 10, [], []) == 0


@given(st.floats(0.1, 50), st.floats(0.001, 0.1), st.floats(0.001, 0.1), st.floats(0.0005, 0.1), st.floats(0, 0.01))
def test_the_steady_state_is_one_of_the_papers_equations(arrivals, upload, download, leaving, giving_up):
    steady = qiu_srikant(arrivals, upload, download, leaving, useful=0.9, giving_up=giving_up)
    served = min(download * steady.fetching, upload * (0.9 * steady.fetching + steady.seeding))
    assert arrivals == pytest.approx(giving_up * steady.fetching + served, rel=1e-6)
    assert served == pytest.approx(leaving * steady.seeding, rel=1e-6)
    assert steady.seconds > 0


def test_more_arrivals_make_no_peer_wait_longer():
    assert qiu_srikant(1, 0.01, 0.1, 0.02).seconds == qiu_srikant(100, 0.01, 0.1, 0.02).seconds


@given(sites, burdens())
def test_peers_never_cost_the_outside_or_the_last_node_more_than_each_for_itself(site, burden):
    site = replace(site, upload=max(site.upload, site.download))
    alone, together = estimate(Way.DIRECT, site, burden), estimate(Way.PEERS, site, burden)
    assert together.egress <= alone.egress * (1 + 1e-9)
    assert together.complete <= alone.complete * (1 + 1e-9)


@given(sites, burdens(), st.sampled_from(Way), st.floats(1, 4))
def test_a_faster_uplink_never_makes_a_site_slower(site, burden, way, factor):
    before, after = (estimate(way, one, burden) for one in (site, replace(site, uplink=site.uplink * factor)))
    assert after.ready <= before.ready * (1 + 1e-9)
    assert after.complete <= before.complete * (1 + 1e-9)


@given(sites, burdens())
def test_the_way_taken_is_nearly_the_soonest_and_no_equally_soon_one_costs_the_outside_less(site, burden):
    taken, *others = decide(site, burden)
    soonest = min(one.ready for one in (taken, *others))
    assert taken.ready <= soonest * 1.1 * (1 + 1e-9)
    assert all(other.egress >= taken.egress for other in others if other.ready <= soonest * 1.1)


def test_a_lone_node_has_nothing_to_share_and_many_behind_a_thin_link_have():
    thin = Site(16, uplink=12.5e6, upload=125e6, download=125e6, round_trip=0.02)
    burden = Burden(180e6, 12e6, 180e6, 12e6, round_trips=5, start=0.8)
    assert decide(thin, burden)[0].way is Way.PEERS
    assert estimate(Way.DIRECT, thin, burden).complete == pytest.approx(16 * 14.4 + 0.1)
    assert estimate(Way.PEERS, thin, burden).complete == pytest.approx(14.4 + 0.1)
    assert estimate(Way.PEERS, thin, burden).ready == pytest.approx(0.1 + 0.96 + 0.8)
    lone = replace(thin, nodes=1)
    assert len({one.egress for one in decide(lone, burden)}) == 1


def test_a_site_that_wants_nothing_takes_no_time():
    assert estimate(Way.PEERS, Site(0, 1, 1, 1), Burden(1, 1, 1, 1)).complete == 0


@settings(max_examples=30)
@given(st.integers(1, 6), rates, rates, rates, sizes)
def test_nodes_that_arrive_together_never_beat_the_bounds(nodes, uplink, upload, download, size):
    site = Site(nodes, uplink, upload, download)
    course = unfold(site, size, [0.0] * nodes)
    assert course.makespan >= 0.99 * estimate(Way.PEERS, site, Burden(size, 0, size, 0)).complete
    assert course.makespan >= 0.99 * kumar_ross(size, uplink, [upload] * nodes, [download] * nodes)
    assert course.egress == size


@settings(max_examples=30)
@given(st.integers(1, 6), rates, rates, sizes)
def test_nodes_whose_uploads_do_not_bind_fare_as_the_estimate_says(nodes, uplink, download, size):
    site = Site(nodes, uplink, upload=2 * download, download=download)
    expected = estimate(Way.PEERS, site, Burden(size, 0, size, 0)).complete
    assert unfold(site, size, [0.0] * nodes).makespan == pytest.approx(expected, rel=0.01)


def test_who_comes_after_the_site_has_it_waits_for_the_neighbours_alone():
    site = Site(2, uplink=1e6, upload=100e6, download=50e6)
    course = unfold(site, 100e6, [0.0, 500.0])
    assert course.seconds[0] == pytest.approx(100, rel=0.01)
    assert course.seconds[1] == pytest.approx(2, rel=0.03)


@given(st.integers(0, 500), rates, rates)
def test_waves_hold_every_node_once_and_fill_the_uplink(nodes, uplink, download):
    split = waves(nodes, uplink, download)
    assert sum(split) == nodes
    assert all(size * download >= uplink * (1 - 1e-9) or size == 1 for size in split[:-1])


def test_what_is_done_before_beside_and_between_the_bytes_is_counted():
    site = Site(nodes=1, uplink=10.0, upload=10.0, download=10.0, round_trip=0.5)
    burden = Burden(100.0, 20.0, 100.0, 20.0, round_trips=4, prepare=1.0, pause=2.0)
    bare = estimate(Way.PEERS, site, burden)
    assert (bare.ready, bare.complete) == (3.0 + 2.0, 3.0 + 10.0 + 2.0)
    busy = estimate(Way.PEERS, site, replace(burden, work=25.0, compute=4.0))
    assert (busy.ready, busy.complete) == (3.0 + 4.0, 3.0 + 25.0 + 2.0)
