"""The tables. A change here needs a migration in migrations/versions; a test compares the two."""

import sqlalchemy as sa

from naru.domain.app import AppState
from naru.domain.comparison import Comparison
from naru.domain.distribution import Course, Distribution, NodeReport
from naru.domain.image import Image
from naru.domain.proof import Proof
from naru.domain.release import ReleaseState
from naru.domain.rollout import Kind, LayerProgress, RolloutState, Step, StepName
from naru.domain.target import TargetState
from naru.domain.verdict import Verdict
from naru.domain.workload import Tls, Workload
from naru.store.columns import Choice, Coded, Instant, Words

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _only_one(name: str, column: sa.Column[object], where: str) -> sa.Index:
    condition = sa.text(where)
    return sa.Index(name, column, unique=True, sqlite_where=condition, postgresql_where=condition)


apps = sa.Table(
    "apps",
    metadata,
    sa.Column("name", Words, primary_key=True),
    sa.Column("state", Choice(AppState), nullable=False),
    sa.Column("host", Words, nullable=False),
    sa.Column("port", sa.Integer, nullable=False),
    sa.Column("tls", Choice(Tls), nullable=False),
    sa.Column("live", sa.Integer, nullable=False),
    sa.Column("created_by", Words, nullable=False),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("target", Words, nullable=False),
)
_only_one("uq_apps_host", apps.c.host, "host <> '' AND state <> 'removed'")
_only_one("uq_apps_port", apps.c.port, "port <> 0 AND state <> 'removed'")

releases = sa.Table(
    "releases",
    metadata,
    sa.Column("app", Words, sa.ForeignKey("apps.name"), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("workload", Coded(Workload), nullable=False),
    sa.Column("image", Coded(Image), nullable=False),
    sa.Column("state", Choice(ReleaseState), nullable=False),
    sa.Column("created_by", Words, nullable=False),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("verdict", Coded(Verdict)),
    sa.Column("index_digest", Words, nullable=False, server_default=""),
)
_only_one("uq_releases_live", releases.c.app, "state = 'live'")

rollouts = sa.Table(
    "rollouts",
    metadata,
    sa.Column("number", _NUMBER, primary_key=True),
    sa.Column("id", Words, nullable=False, unique=True),
    sa.Column("app", Words, sa.ForeignKey("apps.name"), nullable=False),
    sa.Column("kind", Choice(Kind), nullable=False),
    sa.Column("workload", Coded(Workload), nullable=False),
    sa.Column("state", Choice(RolloutState), nullable=False),
    sa.Column("requested_by", Words, nullable=False),
    sa.Column("requested_at", Instant, nullable=False),
    sa.Column("image", Coded(Image)),
    sa.Column("release", sa.Integer, nullable=False),
    sa.Column("restores", sa.Integer, nullable=False),
    sa.Column("target", Words, nullable=False),
    sa.Column("source", Words, nullable=False, server_default=""),
    sa.Column("phase", sa.Integer, nullable=False),
    sa.Column("ended_at", Instant),
    sa.Column("reason", Words, nullable=False),
    sa.Column("proof", Coded(Proof), nullable=False),
    sa.Column("progress", Coded(tuple[LayerProgress, ...]), nullable=False),
    sa.Column("cancel_requested", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("lease", sa.Integer, nullable=False, server_default="0"),
    sa.Column("lease_owner", Words, nullable=False, server_default=""),
    sa.Column("lease_until", Instant),
    sa.Index("ix_rollouts_app_number", "app", "number"),
    sqlite_autoincrement=True,
)
_only_one("uq_rollouts_unended", rollouts.c.app, "state NOT IN ('succeeded', 'failed', 'cancelled')")

steps = sa.Table(
    "steps",
    metadata,
    sa.Column("rollout", Words, sa.ForeignKey("rollouts.id"), primary_key=True),
    sa.Column("name", Choice(StepName), primary_key=True),
    sa.Column("step", Coded(Step), nullable=False),
)

events = sa.Table(
    "events",
    metadata,
    sa.Column("number", _NUMBER, primary_key=True),
    sa.Column("at", Instant, nullable=False, index=True),
    sa.Column("app", Words, nullable=False),
    sa.Column("kind", Words, nullable=False),
    sa.Column("subject", Words, nullable=False),
    sa.Column("text", Words, nullable=False),
    sa.Column("rollout", Words, nullable=False),
    sa.Index("ix_events_app_number", "app", "number"),
    sqlite_autoincrement=True,
)

accounts = sa.Table(
    "accounts",
    metadata,
    sa.Column("name", Words, primary_key=True),
    sa.Column("password_hash", Words),
    sa.Column("created_at", Instant, nullable=False),
)

sessions = sa.Table(
    "sessions",
    metadata,
    sa.Column("hash", sa.LargeBinary, primary_key=True),
    sa.Column("account", Words, sa.ForeignKey("accounts.name"), nullable=False, index=True),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("expires_at", Instant, nullable=False),
)

login_links = sa.Table(
    "login_links",
    metadata,
    sa.Column("hash", sa.LargeBinary, primary_key=True),
    sa.Column("account", Words, sa.ForeignKey("accounts.name"), nullable=False),
    sa.Column("expires_at", Instant, nullable=False),
)

tokens = sa.Table(
    "tokens",
    metadata,
    sa.Column("id", Words, primary_key=True),
    sa.Column("name", Words, nullable=False),
    sa.Column("hash", sa.LargeBinary, nullable=False, unique=True),
    sa.Column("account", Words, sa.ForeignKey("accounts.name"), nullable=False, index=True),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("expires_at", Instant),
    sa.Column("last_used_at", Instant),
)

secrets = sa.Table(
    "secrets",
    metadata,
    sa.Column("name", Words, primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("value", sa.LargeBinary),
    sa.Column("created_by", Words, nullable=False),
    sa.Column("created_at", Instant, nullable=False),
)

registries = sa.Table(
    "registries",
    metadata,
    sa.Column("registry", Words, primary_key=True),
    sa.Column("username", Words, nullable=False),
    sa.Column("password", sa.LargeBinary, nullable=False),
    sa.Column("updated_at", Instant, nullable=False),
)

targets = sa.Table(
    "targets",
    metadata,
    sa.Column("name", Words, primary_key=True),
    sa.Column("url", sa.LargeBinary, nullable=False),
    sa.Column("site", Words, nullable=False),
    sa.Column("state", Choice(TargetState), nullable=False),
    sa.Column("added_by", Words, nullable=False),
    sa.Column("added_at", Instant, nullable=False),
)

nodes = sa.Table(
    "nodes",
    metadata,
    sa.Column("name", Words, primary_key=True),
    sa.Column("site", Words, nullable=False, index=True),
    sa.Column("report", Coded(NodeReport), nullable=False),
    sa.Column("seen_at", Instant, nullable=False),
)

distributions = sa.Table(
    "distributions",
    metadata,
    sa.Column("rollout", Words, primary_key=True),
    sa.Column("site", Words, primary_key=True),
    sa.Column("begun_at", Instant, nullable=False, index=True),
    sa.Column("distribution", Coded(Distribution), nullable=False),
)

courses = sa.Table(
    "courses",
    metadata,
    sa.Column("rollout", Words, primary_key=True),
    sa.Column("site", Words, primary_key=True),
    sa.Column("begun_at", Instant, nullable=False),
    sa.Column("course", Coded(Course), nullable=False),
)

comparisons = sa.Table(
    "comparisons",
    metadata,
    sa.Column("id", Words, primary_key=True),
    sa.Column("server", Words, nullable=False),
    sa.Column("started_at", Instant, nullable=False, index=True),
    sa.Column("comparison", Coded(Comparison), nullable=False),
)

answers = sa.Table(
    "answers",
    metadata,
    sa.Column("subject", Words, primary_key=True),
    sa.Column("key", Words, primary_key=True),
    sa.Column("fingerprint", Words, nullable=False),
    sa.Column("begun_at", Instant, nullable=False, index=True),
    sa.Column("status", sa.Integer),
    sa.Column("headers", Coded(tuple[tuple[str, str], ...])),
    sa.Column("body", sa.LargeBinary),
)

seals = sa.Table(
    "seals",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("sample", sa.LargeBinary, nullable=False),
)

join_tokens = sa.Table(
    "join_tokens",
    metadata,
    sa.Column("id", Words, primary_key=True),
    sa.Column("hashed", Words, nullable=False, unique=True),
    sa.Column("node", Words, nullable=False),
    sa.Column("uses", sa.Integer, nullable=False),
    sa.Column("created_by", Words, nullable=False),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("expires_at", Instant, nullable=False),
    sa.Column("spent", sa.Boolean, nullable=False, server_default=sa.false()),
)

expulsions = sa.Table(
    "expulsions",
    metadata,
    sa.Column("node", Words, primary_key=True),
    sa.Column("at", Instant, nullable=False),
    sa.Column("lifted", sa.Boolean, nullable=False, server_default=sa.false()),
)
