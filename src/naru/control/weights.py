"""The numbers behind a choice, all of them, each with where it comes from.

What was measured on the user's own machines outweighs what was published about others', and what an engine must be
able to do is a need (`naru.domain.target.needs`), never a score.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from naru.domain.choice import Criterion
from naru.domain.kind import WorkloadKind

TRUYEN = (
    "Truyen et al. 2019, A Comprehensive Feature Comparison Study of Open-Source Container Orchestration Frameworks, "
    "Applied Sciences 9(5) 931"
)
AL_JAWARNEH = (
    "Al Jawarneh et al. 2019, Container Orchestration Engines: A Thorough Functional and Performance Comparison, "
    "IEEE ICC"
)
BELTRE = (
    "Beltre et al. 2019, Enabling HPC Workloads on Cloud Infrastructure Using Kubernetes Container Orchestration "
    "Mechanisms, CANOPIE-HPC"
)
STRAESSER = (
    "Straesser et al. 2023a, An Empirical Study of Container Image Configurations and Their Impact on Start Times, "
    "IEEE/ACM CCGrid"
)
STRAESSER_BENCHMARK = (
    "Straesser et al. 2023b, A Systematic Approach for Benchmarking of Container Orchestration Frameworks, "
    "ACM/SPEC ICPE"
)
JUDGEMENT = "our judgement"


@dataclass(frozen=True, slots=True)
class Weight:
    """How much a criterion counts for each kind of workload, of 100 points, and why."""

    criterion: Criterion
    points: Mapping[WorkloadKind, int]
    why: str
    source: str


def _points(
    *, service: int, worker: int, batch: int, scheduled: int, stateful: int, training: int, edge: int
) -> Mapping[WorkloadKind, int]:
    return {
        WorkloadKind.SERVICE: service,
        WorkloadKind.WORKER: worker,
        WorkloadKind.BATCH: batch,
        WorkloadKind.SCHEDULED: scheduled,
        WorkloadKind.STATEFUL: stateful,
        WorkloadKind.TRAINING: training,
        WorkloadKind.EDGE: edge,
    }


WEIGHTS: tuple[Weight, ...] = (
    Weight(
        Criterion.ROOM,
        _points(service=25, worker=30, batch=30, scheduled=25, stateful=20, training=35, edge=20),
        "an instance that waits for room serves nobody; a training job waits for all of its instances",
        JUDGEMENT,
    ),
    Weight(
        Criterion.NEARNESS,
        _points(service=10, worker=10, batch=10, scheduled=10, stateful=15, training=15, edge=15),
        "data that need not travel is the cheapest; where nothing near is asked for, it favours nobody",
        JUDGEMENT,
    ),
    Weight(
        Criterion.START,
        _points(service=15, worker=10, batch=20, scheduled=20, stateful=5, training=10, edge=10),
        "start times vary from tenths of a second to tens of seconds in one environment and no single property "
        "explains them, so only a measurement on the target itself counts; work that ends pays it each time",
        STRAESSER,
    ),
    Weight(
        Criterion.RECOVERY,
        _points(service=20, worker=20, batch=5, scheduled=10, stateful=20, training=5, edge=15),
        "recovery after a crash belongs to what a comparison of orchestrators has to measure; how much it counts is "
        "our judgement",
        STRAESSER_BENCHMARK,
    ),
    Weight(
        Criterion.FOOTPRINT,
        _points(service=5, worker=5, batch=5, scheduled=5, stateful=5, training=5, edge=25),
        "what the engine itself takes is missing to the app, which matters on small machines",
        JUDGEMENT,
    ),
    Weight(
        Criterion.NODES,
        _points(service=15, worker=15, batch=10, scheduled=10, stateful=10, training=10, edge=5),
        "with more nodes a lost one takes less with it; a stateful app's volumes stay on their node all the same",
        JUDGEMENT,
    ),
    Weight(
        Criterion.SUITABILITY,
        _points(service=10, worker=10, batch=20, scheduled=20, stateful=25, training=20, edge=10),
        "Kubernetes has the most features, yet no significant difference in generality from Swarm was found, so "
        "the published comparisons decide little; see the table of engines",
        TRUYEN,
    ),
)
"""How much each criterion counts; the points of each kind add up to 100."""


@dataclass(frozen=True, slots=True)
class Suitability:
    """How well an engine suits a kind of workload, from 0 to 1, by what was published; `kinds` empty is any other."""

    engine: str
    kinds: tuple[WorkloadKind, ...]
    score: float
    why: str
    source: str


_SIMPLE = (WorkloadKind.SERVICE, WorkloadKind.WORKER, WorkloadKind.EDGE)

SUITABILITIES: tuple[Suitability, ...] = (
    Suitability(
        "kubernetes",
        (WorkloadKind.TRAINING,),
        0.6,
        "near bare metal over RDMA, with overheads over TCP/IP for several applications",
        BELTRE,
    ),
    Suitability(
        "kubernetes",
        (WorkloadKind.EDGE,),
        0.4,
        "does best where deployments are very complex, which those at the edge are not",
        AL_JAWARNEH,
    ),
    Suitability(
        "kubernetes",
        _SIMPLE,
        0.7,
        "does best where deployments are very complex; others can be the better choice for simple ones",
        AL_JAWARNEH,
    ),
    Suitability(
        "kubernetes",
        (WorkloadKind.STATEFUL, WorkloadKind.BATCH, WorkloadKind.SCHEDULED),
        0.9,
        "supports the most features in all nine aspects compared",
        TRUYEN,
    ),
    Suitability(
        "swarm",
        (WorkloadKind.TRAINING,),
        0.8,
        "throughput near bare metal, also over TCP/IP",
        BELTRE,
    ),
    Suitability("swarm", _SIMPLE, 0.8, "can be the better choice for simple deployments", AL_JAWARNEH),
    Suitability("swarm", (), 0.6, "no significant difference in generality from Kubernetes was found", TRUYEN),
    Suitability("docker", (WorkloadKind.EDGE,), 1.0, "one machine needs no orchestrator", JUDGEMENT),
    Suitability("docker", (), 0.6, "nothing stands between the app and its machine", JUDGEMENT),
    Suitability("podman", (WorkloadKind.EDGE,), 1.0, "one machine needs no orchestrator", JUDGEMENT),
    Suitability("podman", (), 0.6, "nothing stands between the app and its machine", JUDGEMENT),
    Suitability("marathon", (), 0.3, "Marathon is no longer developed: for what runs on it already", JUDGEMENT),
)
"""The first row of an engine that names the kind, or names none, counts."""

UNKNOWN_ENGINE = Suitability("", (), 0.5, "nothing was published about it", JUDGEMENT)

HALF_START = 2.0
"""Seconds of start at which half of the criterion's points are lost; our judgement, as are the next three."""
HALF_RECOVERY = 5.0
"""Seconds of recovery."""
HALF_FOOTPRINT = 256 * 1024**2
"""Bytes of the engine's own programs."""
CROWD = 30
"""Instances a core at which a target counts as fully promised, whatever they may use."""
UNMEASURED = 0.5
"""The score of what was not measured: it neither helps nor harms."""


def suitability(engine: str, kind: WorkloadKind) -> Suitability:
    """Return what was published of an engine for a kind of workload."""
    rows = (row for row in SUITABILITIES if row.engine == engine and (kind in row.kinds or not row.kinds))
    return next(rows, UNKNOWN_ENGINE)
