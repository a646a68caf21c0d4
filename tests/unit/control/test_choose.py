"""Where an app should run: needs filter, wishes score, and the same question has one answer."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.control.values import IMAGE, target, workload

from naru.control.choose import Load, Prospect, Survey, choose, directed, elsewhere, placed
from naru.control.weights import SUITABILITIES, WEIGHTS, suitability
from naru.domain.choice import Choice, Criterion, Figures
from naru.domain.errors import Conflict, Unavailable
from naru.domain.image import Platform
from naru.domain.kind import Affinity, WorkloadKind
from naru.domain.target import Capacity, Feature, Target, TargetState, lacking
from naru.domain.workload import Address, CommandCheck, Health, Resources, SecretFile, Volume, Workload

ROOMY = Capacity(4, 8 << 30, 100 << 30, 0)
BUSY = Load(instances=60, cpus=3.0, memory=6 << 30)


def survey(*targets: Target | Prospect, **more: str) -> Survey:
    prospects = tuple(one if isinstance(one, Prospect) else Prospect(one) for one in targets)
    return Survey(prospects, image=IMAGE, **more)


def chosen(asked: Workload, seen: Survey) -> str:
    return placed(choose(asked, seen), seen).name


def test_the_emptiest_of_equal_targets_is_chosen_and_every_other_is_named_with_its_reasons():
    away = target("away", problem="does not answer")

    choice = choose(workload(), survey(away, Prospect(target("full"), BUSY), target("empty")))

    assert choice.target == "empty"
    assert choice.reason == "empty (docker) with 60 of 100, before full with 50, by room"
    assert [one.target for one in choice.candidates] == ["empty", "full", "away"]
    assert choice.candidates[2].refusals == ("does not answer",)
    assert choice.candidates[2].shares == ()


def test_an_app_stays_where_it_is_while_it_can():
    choice = choose(workload(), survey(Prospect(target("full"), BUSY), target("empty"), current="full"))

    assert (choice.target, choice.reason) == ("full", "full (docker), where it runs already")
    assert choice.candidates[0].target == "empty"


def test_an_app_leaves_a_target_that_cannot_run_it_any_more():
    small = target("small", capacity=replace(ROOMY, memory=1 << 20))
    asked = workload(resources=Resources(memory=1 << 30))

    assert chosen(asked, survey(small, target("large"), current="small")) == "large"


def test_an_app_never_leaves_its_volumes_behind():
    asked = workload(volumes=(Volume("data", "/data"),), resources=Resources(memory=1 << 30))
    small = target("small", capacity=replace(ROOMY, memory=1 << 20))

    with pytest.raises(Conflict, match="large: its volumes are on small"):
        chosen(asked, survey(small, target("large"), current="small", data="small"))
    with pytest.raises(Unavailable):  # it will be back
        chosen(asked, survey(target("home", problem="does not answer"), target("large"), data="home"))
    assert chosen(asked, survey(target("large"), data="gone for good")) == "large"


def test_a_project_stays_together_until_its_target_is_given_up():
    asked = workload(project="mall")

    assert chosen(asked, survey(Prospect(target("full"), BUSY), target("empty"), project="full")) == "full"
    with pytest.raises(Conflict, match="the other apps of its project are on full"):
        chosen(asked, survey(target("full", features=()), target("empty"), project="full"))
    cordoned = target("full", state=TargetState.CORDONED)
    assert chosen(asked, survey(cordoned, target("empty"), project="full")) == "empty"
    assert chosen(asked, survey(target("empty"), project="gone")) == "empty"


def test_what_is_near_counts_by_target_then_by_site():
    asked = workload(affinity=Affinity(near="db"))
    here, beside, far = target("here"), target("beside"), target("far", site="away")

    choice = choose(asked, survey(far, beside, here, near="here"))

    scores = {one.target: share(choice, one.target, Criterion.NEARNESS).score for one in choice.candidates}
    assert scores == {"here": 1.0, "beside": 0.5, "far": 0.0}


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        (Affinity(targets=("b",)), "there is no target b"),
        (Affinity(engines=("swarm", "kubernetes")), "there is no engine swarm or kubernetes"),
        (Affinity(sites=("away",)), "there is no site away"),
    ],
)
def test_affinity_is_a_need(wanted, words):
    with pytest.raises(Conflict, match=words):
        chosen(workload(affinity=wanted), survey(target("a")))
    there = target("b", engine="swarm", site="away")
    assert chosen(workload(affinity=wanted), survey(target("a"), there)) == "b"
    with pytest.raises(Conflict, match=words.replace("there is no", "a: it may run only on the")):
        chosen(workload(affinity=wanted), survey(target("a"), replace(there, state=TargetState.CORDONED)))


@pytest.mark.parametrize(
    ("asked", "there", "words"),
    [
        ({"resources": Resources(memory=16 << 30)}, {}, "16384 MiB, the target has 8192 MiB"),
        ({"resources": Resources(cpus=8)}, {}, "8 cores, the target has 4"),
        ({}, {"platform": Platform("linux", "arm64")}, "the image is for linux/amd64, the target is linux/arm64"),
        ({"volumes": (Volume("data", "/data"),)}, {"features": ()}, "cannot do volumes"),
        ({"secrets": (SecretFile("key", "/key"),)}, {"features": ()}, "cannot do secret-files"),
        ({"health": Health(CommandCheck(("true",)))}, {"features": ()}, "cannot do command-checks"),
        ({"resources": Resources(cpus=1)}, {"features": (Feature.EXEC,)}, "cannot do limits"),
        ({}, {"capacity": replace(ROOMY, disk_free=1 << 20)}, "of disk"),
    ],
)
def test_what_is_lacking_is_named(asked, there, words):
    seen = replace(survey(target(**there)), image=replace(IMAGE, size=1 << 30))
    with pytest.raises(Conflict, match=words):
        chosen(workload(**asked), seen)


def test_an_image_that_nobody_looked_up_yet_is_no_hindrance():
    arm = target(platform=Platform("linux", "arm64"))
    assert choose(workload(), replace(survey(arm), image=None)).target == "docker"


@pytest.mark.parametrize("targets", [[], [target(problem="docker does not answer")]])
def test_without_a_target_that_answers_it_is_worth_trying_again(targets):
    with pytest.raises(Unavailable):
        chosen(workload(), survey(*targets))


def test_the_kind_decides_which_wish_counts():
    docker = Prospect(target("box"), figures=Figures(start=0.5, recovery=4.0, footprint=80 << 20))
    kubernetes = Prospect(
        target("cluster", engine="kubernetes", capacity=replace(ROOMY, cpus=12, nodes=3)),
        figures=Figures(start=1.5, recovery=1.5, footprint=900 << 20),
    )

    def best(kind: WorkloadKind) -> str:
        return chosen(workload(kind=kind, address=Address()), survey(docker, kubernetes))

    assert best(WorkloadKind.EDGE) == "box"
    assert best(WorkloadKind.SERVICE) == "cluster"
    assert best(WorkloadKind.TRAINING) == "cluster"


@pytest.mark.parametrize("kind", WorkloadKind)
def test_the_weights_of_a_kind_add_up_to_a_hundred_and_each_names_its_source(kind):
    assert [row.criterion for row in WEIGHTS] == list(Criterion)
    assert sum(row.points[kind] for row in WEIGHTS) == 100
    assert all(row.why and row.source for row in (*WEIGHTS, *SUITABILITIES))
    assert all(0 <= suitability(engine, kind).score <= 1 for engine in ("docker", "swarm", "kubernetes", "x"))


# --- properties -------------------------------------------------------------------------------------------------

seconds = st.none() | st.floats(0, 1e4)
prospects = st.builds(
    lambda name, engine, site, features, capacity, problem, load, figures: Prospect(
        target(name, engine=engine, site=site, features=features, capacity=capacity, problem=problem), load, figures
    ),
    st.sampled_from("abcdefgh"),
    st.sampled_from(("docker", "swarm", "kubernetes", "marathon", "other")),
    st.sampled_from(("home", "away")),
    st.sampled_from((tuple(Feature), (), (Feature.VOLUMES, Feature.LIMITS))),
    st.builds(
        Capacity,
        st.floats(0, 64),
        st.integers(0, 1 << 36),
        st.integers(0, 1 << 40),
        st.integers(0, 99),
        st.integers(1, 9),
    ),
    st.sampled_from(("", "", "", "does not answer")),
    st.builds(Load, st.integers(0, 2000), st.floats(0, 200), st.integers(0, 1 << 38)),
    st.builds(Figures, seconds, seconds, st.none() | st.floats(0, 1e11)),
)
surveys = st.builds(
    Survey,
    st.lists(prospects, max_size=6, unique_by=lambda one: one.target.name).map(tuple),
    st.sampled_from(("", "a", "b")),
    st.sampled_from(("", "", "c", "d")),
    st.sampled_from(("", "a", "e")),
    st.sampled_from((None, IMAGE, replace(IMAGE, size=1 << 38))),
)
workloads = st.builds(
    lambda kind, resources, volumes, near, sites: replace(
        workload(), resources=resources, volumes=volumes, kind=kind, affinity=Affinity(near=near, sites=sites)
    ),
    st.sampled_from((WorkloadKind.SERVICE, WorkloadKind.STATEFUL, WorkloadKind.EDGE)),
    st.builds(Resources, st.none() | st.floats(0.01, 64), st.none() | st.integers(6 << 20, 1 << 36)),
    st.sampled_from(((), (Volume("data", "/data"),))),
    st.sampled_from(("", "db")),
    st.sampled_from(((), (), ("home",))),
)


def share(choice: Choice, name: str, criterion: Criterion):
    shares = next(one.shares for one in choice.candidates if one.target == name)
    return next(one for one in shares if one.criterion is criterion)


def rank(choice: Choice, name: str) -> int:
    return [one.target for one in choice.candidates].index(name)


@given(workloads, surveys, st.randoms(use_true_random=False))
def test_the_order_of_the_targets_changes_nothing(asked, seen, random):
    shuffled = list(seen.prospects)
    random.shuffle(shuffled)

    assert choose(asked, replace(seen, prospects=tuple(shuffled))) == choose(asked, seen)


@given(workloads, surveys)
def test_a_need_is_never_violated(asked, seen):
    choice = choose(asked, seen)

    for one in choice.candidates:
        there = next(p.target for p in seen.prospects if p.target.name == one.target)
        sound = (
            not there.problem
            and not lacking(asked, there.features)
            and (not asked.affinity.sites or there.site in asked.affinity.sites)
            and (asked.resources.memory or 0) <= there.capacity.memory
            and (asked.resources.cpus or 0) <= there.capacity.cpus
        )
        assert sound or one.refusals
        assert 0 <= one.score <= 100
    if choice.target:
        assert not next(one for one in choice.candidates if one.target == choice.target).refusals
    else:
        assert all(one.refusals for one in choice.candidates)


@given(workloads, surveys, st.data())
def test_a_better_figure_never_lowers_the_rank(asked, seen, data):
    if not seen.prospects:
        return
    index = data.draw(st.integers(0, len(seen.prospects) - 1))
    before = seen.prospects[index]
    better = data.draw(st.sampled_from(improvements(before)))
    improved = (*seen.prospects[:index], better, *seen.prospects[index + 1 :])

    assert rank(choose(asked, replace(seen, prospects=improved)), before.target.name) <= rank(
        choose(asked, seen), before.target.name
    )


def improvements(one: Prospect) -> list[Prospect]:
    """Every way to be a little better: a lower figure, less promised, more nodes."""
    figures, load, room = one.figures, one.load, one.target.capacity
    better = [
        replace(one, load=replace(load, instances=load.instances // 2)),
        replace(one, load=replace(load, cpus=load.cpus / 2)),
        replace(one, load=replace(load, memory=load.memory // 2)),
        replace(one, target=replace(one.target, capacity=replace(room, nodes=room.nodes + 1))),
    ]
    for name in ("start", "recovery", "footprint"):
        if (value := getattr(figures, name)) is not None:
            better.append(replace(one, figures=replace(figures, **{name: value / 2})))
    return better


@given(workloads, surveys, prospects)
def test_a_target_more_leaves_the_scores_of_the_others_alone(asked, seen, other):
    if any(one.target.name == other.target.name for one in seen.prospects) or other.target.name in (
        seen.data,
        seen.near,
    ):
        return
    before = {one.target: one for one in choose(asked, seen).candidates}
    after = {one.target: one for one in choose(asked, replace(seen, prospects=(*seen.prospects, other))).candidates}

    assert before.items() <= after.items()


def test_a_named_target_is_chosen_also_when_another_scores_higher():
    asked = workload()
    seen = survey(Prospect(target("home")), Prospect(target("plant")), current="home")
    best = elsewhere(asked, seen)
    assert (best.target, [one.target for one in best.candidates]) == ("plant", ["plant"])
    assert directed(asked, seen, "plant").target == "plant"
    assert "as was asked for" in directed(asked, seen, "plant").reason


def test_a_named_target_that_will_not_do_is_refused_with_its_reasons():
    asked = workload()
    cordoned = replace(target("plant"), state=TargetState.CORDONED)
    seen = survey(Prospect(target("home")), Prospect(cordoned), current="home")
    assert (directed(asked, seen, "plant").target, directed(asked, seen, "plant").reason) == (
        "",
        "plant: it is cordoned",
    )
    assert directed(asked, seen, "nowhere").reason == "there is no target nowhere"
    assert elsewhere(asked, seen).reason == "plant: it is cordoned"
    assert elsewhere(asked, survey(Prospect(target("home")), current="home")).reason == "there is no other target"


def test_an_app_stays_on_a_target_that_is_cordoned_and_nothing_new_comes():
    cordoned = replace(target("home"), state=TargetState.CORDONED)
    assert chosen(workload(), survey(Prospect(cordoned), Prospect(target("plant")), current="home")) == "home"
    assert chosen(workload(), survey(Prospect(cordoned), Prospect(target("plant")))) == "plant"
