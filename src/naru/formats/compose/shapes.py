"""What may stand where in a Compose file: the names of the Compose specification and the kinds of their values.

A whole file is checked before anything of it is read, also where nothing will come of it: a misspelt name is an error,
never a loss. Truths and numbers may be texts as well, since a variable may have been filled in there.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import assert_never

from naru.formats.tree import At, Items, Kind, Scalar, Table

RESET = "!reset"
OVERRIDE = "!override"


@dataclass(frozen=True, slots=True)
class One:
    """A scalar of one of these kinds."""

    kinds: frozenset[Kind]


@dataclass(frozen=True, slots=True)
class Many:
    """A list."""

    item: "Shape"


@dataclass(frozen=True, slots=True)
class Keys:
    """A mapping with these names and `x-` extensions; `needed` must be there."""

    known: Mapping[str, "Shape"]
    needed: tuple[str, ...] = ()
    extensible: bool = True


@dataclass(frozen=True, slots=True)
class Named:
    """A mapping whose names are the author's own."""

    value: "Shape"
    name: str = r"(?s:.+)"


@dataclass(frozen=True, slots=True)
class Either:
    """One of several shapes, of which only one can be a scalar, one a list and one a mapping."""

    shapes: tuple["Shape", ...]


@dataclass(frozen=True, slots=True)
class Anything:
    """What nobody looks into."""


Shape = One | Many | Keys | Named | Either | Anything


def check(at: At, shape: Shape) -> None:
    """Raise Invalid, naming the path, where the node has another shape; what `!reset` takes away may have any."""
    if at.node.tag == RESET:
        return
    match shape:
        case One(kinds):
            if not isinstance(at.node, Scalar) or at.node.kind not in kinds:
                raise at.wrong(_told(shape))
        case Many(item):
            if not isinstance(at.node, Items):
                raise at.wrong(_told(shape))
            for one in at.items():
                check(one, item)
        case Keys(known, needed, extensible):
            if not isinstance(at.node, Table):
                raise at.wrong(_told(shape))
            for name, value in at.entries():
                if name in known:
                    check(value, known[name])
                elif not (extensible and name.startswith("x-")):
                    raise value.unknown(known)
            for name in needed:
                if name not in at.node.entries:
                    raise at.invalid(f"has no {name}", f"add {name}")
        case Named(value_shape, pattern):
            if not isinstance(at.node, Table):
                raise at.wrong(_told(shape))
            for name, value in at.entries():
                if not re.fullmatch(pattern, name):
                    raise value.invalid(f"has the name {name!r}", "use letters, digits and ._-")
                check(value, value_shape)
        case Either(shapes):
            fitting = next((one for one in shapes if _may_be(at, one)), None)
            if fitting is None:
                raise at.wrong(_told(shape))
            check(at, fitting)
        case Anything():
            return
        case _:
            assert_never(shape)


def _may_be(at: At, shape: Shape) -> bool:
    match shape:
        case One(kinds):
            return isinstance(at.node, Scalar) and at.node.kind in kinds
        case Many():
            return isinstance(at.node, Items)
        case Keys() | Named():
            return isinstance(at.node, Table)
        case Either(shapes):
            return any(_may_be(at, one) for one in shapes)
        case Anything():
            return True
        case _:
            assert_never(shape)


def _told(shape: Shape) -> str:
    match shape:
        case One(kinds):
            return " or ".join(str(kind) for kind in Kind if kind in kinds)
        case Many():
            return "a list"
        case Keys() | Named():
            return "a mapping"
        case Either(shapes):
            return " or ".join(_told(one) for one in shapes)
        case Anything():
            return "anything"
        case _:
            assert_never(shape)


def _keys(*, needed: tuple[str, ...] = (), extensible: bool = True, **known: Shape) -> Keys:
    return Keys(known, needed, extensible)


TEXT = One(frozenset({Kind.STRING}))
WHOLE = One(frozenset({Kind.STRING, Kind.INTEGER}))
NUMBER = One(frozenset({Kind.STRING, Kind.INTEGER, Kind.FLOAT}))
FIGURE = One(frozenset({Kind.INTEGER, Kind.FLOAT}))
FLAG = One(frozenset({Kind.STRING, Kind.BOOLEAN}))
SCALAR = One(frozenset(Kind))
SETTING = One(frozenset(Kind) - {Kind.NULL})
NULL = One(frozenset({Kind.NULL}))
TEXTS = Many(TEXT)
TEXT_OR_TEXTS = Either((TEXT, TEXTS))
PAIRS = Either((Named(SCALAR), TEXTS))
OPTIONS = Named(NUMBER)
HOSTS = Either((Named(TEXT_OR_TEXTS), TEXTS))
COMMAND = Either((NULL, TEXT, TEXTS))
NAME = r"[a-zA-Z0-9._-]+"
MOUNTED_FILES = Many(Either((TEXT, _keys(source=TEXT, target=TEXT, uid=TEXT, gid=TEXT, mode=NUMBER))))
ULIMITS = Named(Either((WHOLE, _keys(hard=WHOLE, soft=WHOLE, needed=("soft", "hard")))), name=r"(?s:.*)")
GPU: Mapping[str, Shape] = {
    "capabilities": TEXTS,
    "count": WHOLE,
    "device_ids": TEXTS,
    "driver": TEXT,
    "options": PAIRS,
}

BUILD = _keys(
    context=TEXT,
    dockerfile=TEXT,
    dockerfile_inline=TEXT,
    entitlements=TEXTS,
    args=PAIRS,
    ssh=PAIRS,
    labels=PAIRS,
    cache_from=TEXTS,
    cache_to=TEXTS,
    no_cache=FLAG,
    additional_contexts=PAIRS,
    network=TEXT,
    provenance=FLAG,
    sbom=FLAG,
    pull=FLAG,
    target=TEXT,
    shm_size=WHOLE,
    extra_hosts=HOSTS,
    isolation=TEXT,
    privileged=FLAG,
    secrets=MOUNTED_FILES,
    tags=TEXTS,
    ulimits=ULIMITS,
    platforms=TEXTS,
)
_BLOCK_RATE = Many(_keys(path=TEXT, rate=WHOLE, extensible=False))
_BLOCK_WEIGHT = Many(_keys(path=TEXT, weight=WHOLE, extensible=False))
BLOCK_IO = _keys(
    device_read_bps=_BLOCK_RATE,
    device_read_iops=_BLOCK_RATE,
    device_write_bps=_BLOCK_RATE,
    device_write_iops=_BLOCK_RATE,
    weight=WHOLE,
    weight_device=_BLOCK_WEIGHT,
    extensible=False,
)
HOOK = _keys(command=COMMAND, user=TEXT, privileged=FLAG, working_dir=TEXT, environment=PAIRS, needed=("command",))
HEALTHCHECK = _keys(
    disable=FLAG,
    interval=TEXT,
    retries=NUMBER,
    test=TEXT_OR_TEXTS,
    timeout=TEXT,
    start_period=TEXT,
    start_interval=TEXT,
)
PORT = _keys(name=TEXT, mode=TEXT, host_ip=TEXT, target=WHOLE, published=WHOLE, protocol=TEXT, app_protocol=TEXT)
VOLUME_MOUNT = _keys(
    type=TEXT,
    source=TEXT,
    target=TEXT,
    read_only=FLAG,
    consistency=TEXT,
    bind=_keys(propagation=TEXT, create_host_path=FLAG, recursive=TEXT, selinux=TEXT),
    volume=_keys(labels=PAIRS, nocopy=FLAG, subpath=TEXT),
    tmpfs=_keys(size=WHOLE, mode=NUMBER),
    image=_keys(subpath=TEXT),
    needed=("type",),
)
DEPENDENCY = _keys(restart=FLAG, required=FLAG, condition=TEXT, needed=("condition",))
NETWORK_USE = _keys(
    aliases=TEXTS,
    interface_name=TEXT,
    ipv4_address=TEXT,
    ipv6_address=TEXT,
    link_local_ips=TEXTS,
    mac_address=TEXT,
    driver_opts=OPTIONS,
    priority=FIGURE,
    gw_priority=FIGURE,
)
_UPDATE = _keys(parallelism=WHOLE, delay=TEXT, failure_action=TEXT, monitor=TEXT, max_failure_ratio=NUMBER, order=TEXT)
_GENERIC = Many(_keys(discrete_resource_spec=_keys(kind=TEXT, value=NUMBER)))
_DEVICES = Many(Keys(GPU, ("capabilities",)))
DEPLOY = _keys(
    mode=TEXT,
    endpoint_mode=TEXT,
    replicas=WHOLE,
    labels=PAIRS,
    rollback_config=_UPDATE,
    update_config=_UPDATE,
    resources=_keys(
        limits=_keys(cpus=NUMBER, memory=TEXT, pids=WHOLE),
        reservations=_keys(cpus=NUMBER, memory=TEXT, generic_resources=_GENERIC, devices=_DEVICES),
    ),
    restart_policy=_keys(condition=TEXT, delay=TEXT, max_attempts=WHOLE, window=TEXT),
    placement=_keys(constraints=TEXTS, preferences=Many(_keys(spread=TEXT)), max_replicas_per_node=WHOLE),
)
DEVELOP = _keys(
    watch=Many(
        _keys(
            ignore=TEXT_OR_TEXTS,
            include=TEXT_OR_TEXTS,
            path=TEXT,
            action=TEXT,
            target=TEXT,
            exec=HOOK,
            initial_sync=FLAG,
            needed=("path", "action"),
        )
    )
)
_SERVICE_TEXTS = (
    *("cgroup", "cgroup_parent", "container_name", "cpuset", "domainname", "hostname", "image", "ipc", "isolation"),
    *("mac_address", "network_mode", "platform", "pull_policy", "pull_refresh_after", "restart", "runtime"),
    *("stop_grace_period", "stop_signal", "user", "uts", "userns_mode", "working_dir"),
)
_SERVICE_LISTS = (
    *("cap_add", "cap_drop", "device_cgroup_rules", "dns_opt", "external_links", "links", "profiles", "security_opt"),
    "volumes_from",
)
_SERVICE_FLAGS = (
    *("attach", "init", "oom_kill_disable", "privileged", "read_only", "stdin_open", "tty", "use_api_socket"),
)
_SERVICE_NUMBERS = (
    *("cpu_shares", "cpu_quota", "cpu_period", "cpu_rt_period", "cpu_rt_runtime", "cpus"),
    *("mem_limit", "memswap_limit", "pids_limit", "shm_size"),
)
_SERVICE_WHOLE = ("cpu_count", "cpu_percent", "mem_reservation", "mem_swappiness", "oom_score_adj", "scale")
SERVICE = Keys(
    {
        **dict.fromkeys(_SERVICE_TEXTS, TEXT),
        **dict.fromkeys(_SERVICE_LISTS, TEXTS),
        **dict.fromkeys(_SERVICE_FLAGS, FLAG),
        **dict.fromkeys(_SERVICE_NUMBERS, NUMBER),
        **dict.fromkeys(_SERVICE_WHOLE, WHOLE),
        **dict.fromkeys(("annotations", "environment", "labels", "sysctls"), PAIRS),
        **dict.fromkeys(("dns", "dns_search", "tmpfs", "label_file"), TEXT_OR_TEXTS),
        **dict.fromkeys(("command", "entrypoint"), COMMAND),
        **dict.fromkeys(("configs", "secrets"), MOUNTED_FILES),
        **dict.fromkeys(("post_start", "pre_stop"), Many(HOOK)),
        "blkio_config": BLOCK_IO,
        "build": Either((TEXT, BUILD)),
        "credential_spec": _keys(config=TEXT, file=TEXT, registry=TEXT),
        "depends_on": Either((TEXTS, Named(DEPENDENCY, NAME))),
        "deploy": Either((NULL, DEPLOY)),
        "develop": Either((NULL, DEVELOP)),
        "devices": Many(Either((TEXT, _keys(source=TEXT, target=TEXT, permissions=TEXT, needed=("source",))))),
        "env_file": Either(
            (
                TEXT,
                Many(Either((TEXT, _keys(path=TEXT, format=TEXT, required=FLAG, needed=("path",), extensible=False)))),
            )
        ),
        "expose": Many(NUMBER),
        "extends": Either((TEXT, _keys(service=TEXT, file=TEXT, needed=("service",), extensible=False))),
        "extra_hosts": HOSTS,
        "gpus": Either((TEXT, Many(Keys(GPU)))),
        "group_add": Many(NUMBER),
        "healthcheck": HEALTHCHECK,
        "logging": _keys(driver=TEXT, options=Named(One(NUMBER.kinds | {Kind.NULL}))),
        "models": Either((TEXTS, Named(_keys(endpoint_var=TEXT, model_var=TEXT), NAME))),
        "networks": Either((TEXTS, Named(Either((NULL, NETWORK_USE)), NAME))),
        "pid": One(frozenset({Kind.STRING, Kind.NULL})),
        "ports": Many(Either((NUMBER, PORT))),
        "provider": _keys(
            type=TEXT,
            options=Named(Either((SETTING, Many(SETTING)))),
            needed=("type",),
            extensible=False,
        ),
        "storage_opt": Named(Anything()),
        "ulimits": ULIMITS,
        "volumes": Many(Either((TEXT, VOLUME_MOUNT))),
    }
)
_EXTERNAL = Either((FLAG, _keys(name=TEXT)))
_FILE: Mapping[str, Shape] = {
    "name": TEXT,
    "environment": TEXT,
    "file": TEXT,
    "external": _EXTERNAL,
    "labels": PAIRS,
    "template_driver": TEXT,
}
NETWORK = _keys(
    name=TEXT,
    driver=TEXT,
    driver_opts=OPTIONS,
    ipam=_keys(
        driver=TEXT,
        config=Many(_keys(subnet=TEXT, ip_range=TEXT, gateway=TEXT, aux_addresses=Named(TEXT))),
        options=Named(TEXT),
    ),
    external=_EXTERNAL,
    internal=FLAG,
    enable_ipv4=FLAG,
    enable_ipv6=FLAG,
    attachable=FLAG,
    labels=PAIRS,
)
VOLUME = _keys(name=TEXT, driver=TEXT, driver_opts=OPTIONS, external=_EXTERNAL, labels=PAIRS)
MODEL = _keys(
    name=TEXT, model=TEXT, context_size=One(frozenset({Kind.INTEGER})), runtime_flags=TEXTS, needed=("model",)
)
FILE = _keys(
    version=TEXT,
    name=TEXT,
    include=Many(
        Either((TEXT, _keys(path=TEXT_OR_TEXTS, env_file=TEXT_OR_TEXTS, project_directory=TEXT, extensible=False)))
    ),
    services=Named(SERVICE, NAME),
    models=Named(MODEL, NAME),
    networks=Named(Either((NULL, NETWORK)), NAME),
    volumes=Named(Either((NULL, VOLUME)), NAME),
    secrets=Named(Keys({**_FILE, "driver": TEXT, "driver_opts": OPTIONS}), NAME),
    configs=Named(Keys({**_FILE, "content": TEXT}), NAME),
)
