"""What may be said of which kind of workload, and when a schedule comes."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from naru.domain import schedule
from naru.domain.errors import Invalid
from naru.domain.image import Image, Origin, Platform
from naru.domain.kind import Affinity, Autoscale, WorkloadKind
from naru.domain.release import revision
from naru.domain.target import Feature, needs
from naru.domain.workload import Address, BlueGreen, Canary, Health, HttpCheck, Resources, Restart, Volume, Workload

IMAGE = Image("shop:1", "sha256:" + "a" * 64, "sha256:" + "b" * 64, Platform(), Origin.REGISTRY)


def workload(kind: WorkloadKind = WorkloadKind.SERVICE, port: int = 80, **told: object) -> Workload:
    if kind is WorkloadKind.SCHEDULED:
        told = {"schedule": "0 4 * * *", **told}
    return Workload("shop", "shop:1", port, 2, kind=kind, **told)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", WorkloadKind)
def test_only_services_must_have_a_port(kind):
    if kind in (WorkloadKind.SERVICE, WorkloadKind.EDGE):
        with pytest.raises(Invalid, match="kind=worker"):
            workload(kind, 0)
    else:
        assert not workload(kind, 0).served
        assert not workload(kind, 0).checked


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({"kind": WorkloadKind.SCHEDULED, "schedule": ""}, "needs a schedule"),
        ({"schedule": "0 4 * * *"}, "has no schedule"),
        ({"kind": WorkloadKind.WORKER, "address": Address(port=8000)}, "no address"),
        ({"kind": WorkloadKind.WORKER, "strategy": Canary()}, "gets none"),
        ({"kind": WorkloadKind.BATCH, "strategy": BlueGreen()}, "gets none"),
        ({"kind": WorkloadKind.STATEFUL, "strategy": BlueGreen()}, "room for one"),
        ({"kind": WorkloadKind.WORKER, "port": 0, "health": Health(HttpCheck("/"))}, "needs a port"),
        ({"private": True}, "has none"),
        ({"project": "Not a name"}, "no name for a project"),
        ({"autoscale": Autoscale(1, 4)}, "name cpus"),
        ({"autoscale": Autoscale(3, 4), "resources": Resources(cpus=1)}, "replicas is 2"),
        ({"autoscale": Autoscale(4, 3), "resources": Resources(cpus=1)}, "max is 3"),
        ({"kind": WorkloadKind.BATCH, "autoscale": Autoscale(1, 4)}, "cannot grow"),
        ({"affinity": Affinity(near="shop")}, "near itself"),
        ({"affinity": Affinity(sites=("seoul", "seoul"))}, "appears twice"),
    ],
)
def test_what_makes_no_sense_for_a_kind_is_refused_with_its_cause(asked, why):
    with pytest.raises(Invalid, match=why):
        workload(**asked)


@pytest.mark.parametrize(
    ("asked", "needed"),
    [
        ({}, set()),
        ({"restart": Restart.NEVER}, {Feature.RESTARTS}),
        ({"kind": WorkloadKind.BATCH, "restart": Restart.NEVER}, {Feature.JOBS}),
        ({"kind": WorkloadKind.SCHEDULED}, {Feature.JOBS, Feature.SCHEDULES}),
        ({"kind": WorkloadKind.STATEFUL}, set()),
        (
            {"kind": WorkloadKind.STATEFUL, "volumes": (Volume("data", "/data"),)},
            {Feature.VOLUMES, Feature.OWN_VOLUMES},
        ),
        ({"project": "mall"}, {Feature.PROJECT_NETWORKS}),
        ({"autoscale": Autoscale(1, 4), "resources": Resources(cpus=1)}, {Feature.AUTOSCALE, Feature.LIMITS}),
    ],
)
def test_a_kind_says_what_its_engine_must_be_able_to_do(asked, needed):
    assert needs(workload(**asked)) == needed


def test_a_service_keeps_the_revision_that_it_had_before_there_were_kinds():
    assert revision(workload(), IMAGE, 1) == revision(workload(), IMAGE, 2) == "210e6541a988"


def test_each_release_of_a_batch_is_a_run_of_its_own():
    assert revision(workload(WorkloadKind.BATCH), IMAGE, 1) != revision(workload(WorkloadKind.BATCH), IMAGE, 2)
    assert revision(workload(WorkloadKind.WORKER), IMAGE, 1) == revision(workload(WorkloadKind.WORKER), IMAGE, 2)


@pytest.mark.parametrize(
    ("text", "after", "then"),
    [
        ("* * * * *", "2026-01-01 00:00", "2026-01-01 00:01"),
        ("30 4 * * *", "2026-01-01 04:30", "2026-01-02 04:30"),
        ("*/15 9-17 * * mon-fri", "2026-01-02 17:45", "2026-01-05 09:00"),
        ("0 0 29 2 *", "2026-01-01 00:00", "2028-02-29 00:00"),
        ("0 0 29 2 *", "2096-03-01 00:00", "2104-02-29 00:00"),
        ("0 12 13 * 5", "2026-11-07 00:00", "2026-11-13 12:00"),
        ("0 12 1 * 7", "2026-11-02 00:00", "2026-11-08 12:00"),
        ("5/20 1,2 1 JAN *", "2026-01-01 01:45", "2026-01-01 02:05"),
    ],
)
def test_a_schedule_names_its_next_moment(text, after, then):
    assert schedule.parse(text).after(datetime.fromisoformat(after)) == datetime.fromisoformat(then)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "* * * *",
        "* * * * * *",
        "@daily",
        "60 * * * *",
        "* 24 * * *",
        "* * 0 * *",
        "* * * 13 *",
        "* * * * 8",
        "5-1 * * * *",
        "*/0 * * * *",
        "x * * * *",
        "-1 * * * *",
        "1,,2 * * * *",
        "² * * * *",
        "0 0 30 2 *",
        "0 0 31 4,6 *",
    ],
)
def test_a_schedule_that_nobody_could_keep_is_refused(text):
    with pytest.raises(Invalid):
        schedule.parse(text)


@given(st.text("0123456789*/,- janmo", max_size=20))
def test_any_text_is_a_schedule_or_invalid(text):
    try:
        found = schedule.parse(text)
    except Invalid:
        return
    assert found.after(datetime(2026, 1, 1, tzinfo=UTC)) is not None


@given(
    st.integers(0, 59),
    st.integers(0, 23),
    st.datetimes(datetime.fromisoformat("2000-01-01"), datetime.fromisoformat("2100-01-01")),
)
def test_the_next_moment_is_the_first_that_fits(minute, hour, moment):
    found = schedule.parse(f"{minute} {hour} * * *").after(moment)

    assert found is not None
    assert (found.hour, found.minute) == (hour, minute)
    assert timedelta(0) < found - moment <= timedelta(days=1)
