"""What a Compose file may ask for and an app of Naru has no place for: one table, with reasons and substitutes."""

from collections.abc import Mapping

from naru.formats.loss import Losses
from naru.formats.tree import At, Scalar, told

_LABELS = "Naru labels containers for itself alone"
_LIMITS = "Naru limits CPU and memory, nothing else"
_PRIVILEGES = "containers run with the engine's default privileges"
_NETWORK = "the apps of a project share one network, with the engine's name service"
_NAMES = "instances are named by the engine's rules, as an app may have several"
_IMAGE = "a container runs as its image says"
_KERNEL = "containers have the engine's default namespaces and kernel settings"
_PLACE = "Naru chooses where an instance runs"
_DEVICES = "containers are given no devices"
_HOOKS = "nothing is run around the life of a container"

SERVICE: Mapping[str, tuple[str, str]] = {
    **dict.fromkeys(("annotations", "labels", "label_file"), (_LABELS, "left out")),
    **dict.fromkeys(
        (
            *("blkio_config", "cpu_count", "cpu_percent", "cpu_shares", "cpu_quota", "cpu_period", "cpu_rt_period"),
            *("cpu_rt_runtime", "cpuset", "mem_reservation", "mem_swappiness", "memswap_limit", "oom_kill_disable"),
            *("oom_score_adj", "pids_limit", "shm_size", "storage_opt", "ulimits"),
        ),
        (_LIMITS, "left out"),
    ),
    **dict.fromkeys(
        ("cap_add", "cap_drop", "credential_spec", "group_add", "privileged", "security_opt", "use_api_socket"),
        (_PRIVILEGES, "the engine's defaults"),
    ),
    **dict.fromkeys(
        ("dns", "dns_opt", "dns_search", "extra_hosts", "mac_address", "network_mode", "networks"),
        (_NETWORK, "that network"),
    ),
    **dict.fromkeys(("links", "external_links"), (_NETWORK, "address the other app by its own name")),
    **dict.fromkeys(("container_name", "domainname", "hostname"), (_NAMES, "the engine's names")),
    **dict.fromkeys(("user", "working_dir", "stop_signal"), (_IMAGE, "what the image says")),
    **dict.fromkeys(
        ("cgroup", "cgroup_parent", "ipc", "isolation", "pid", "runtime", "sysctls", "userns_mode", "uts"),
        (_KERNEL, "the engine's defaults"),
    ),
    **dict.fromkeys(("device_cgroup_rules", "devices", "gpus"), (_DEVICES, "left out")),
    **dict.fromkeys(("post_start", "pre_stop"), (_HOOKS, "left out")),
    "attach": ("rollouts show steps, not logs", "naru logs shows them"),
    "develop": ("Naru runs images and watches no sources", "left out"),
    "init": ("no process is put before that of the image", "the image's own process"),
    "logging": ("logs stay with the engine, as it is configured", "naru logs reads them"),
    "models": ("Naru runs no language models", "left out"),
    "platform": (_PLACE, "the platform of the target"),
    "provider": ("Naru runs images only", "left out"),
    "pull_policy": ("a tag is resolved anew by each deployment and runs by its digest", "that"),
    "pull_refresh_after": ("a tag is resolved anew by each deployment", "that"),
    "read_only": (_IMAGE, "a root file system that can be written"),
    "stdin_open": ("nobody is there to type", "left out"),
    "tmpfs": ("Naru mounts volumes and secrets only", "the container's own file system"),
    "tty": ("nobody is there to read it", "left out"),
    "volumes_from": ("volumes belong to one app", "left out"),
}
DEPLOY: Mapping[str, tuple[str, str]] = {
    "endpoint_mode": ("the front door balances requests", "left out"),
    "labels": (_LABELS, "left out"),
    "placement": (_PLACE, "left out"),
    "rollback_config": ("a failed rollout is rolled back by Naru, all at once", "that"),
}
UPDATE: Mapping[str, tuple[str, str]] = {
    "delay": ("the next instance is replaced when the last is ready", "that"),
    "max_failure_ratio": ("a rollout fails with its first failing instance", "that"),
    "monitor": ("a release is watched by its proof", "that"),
}
RESTART: Mapping[str, tuple[str, str]] = {
    "delay": ("the engine chooses how long it waits", "that"),
    "max_attempts": ("a process is started again as often as it ends", "that"),
    "window": ("a process is started again as often as it ends", "that"),
}
PORT: Mapping[str, tuple[str, str]] = {
    "app_protocol": ("the front door speaks HTTP", "left out"),
    "host_ip": ("the front door listens where the server is configured to", "that"),
    "name": ("an app has one port, which needs no name", "left out"),
}
VOLUME_MOUNT: Mapping[str, tuple[str, str]] = {
    "bind": ("the engine mounts volumes as it does by default", "left out"),
    "consistency": ("the engine mounts volumes as it does by default", "left out"),
    "image": ("Naru mounts named volumes only", "left out"),
    "tmpfs": ("Naru mounts named volumes only", "left out"),
    "volume": ("the engine mounts volumes as it does by default", "left out"),
}
MOUNTED_FILE: Mapping[str, tuple[str, str]] = {
    "gid": ("all processes of the container may read the file", "mode 0444"),
    "mode": ("all processes of the container may read the file", "mode 0444"),
    "uid": ("all processes of the container may read the file", "mode 0444"),
}
VOLUME: Mapping[str, tuple[str, str]] = {
    "driver": ("volumes are made by the engine's default driver", "that"),
    "driver_opts": ("volumes are made by the engine's default driver", "left out"),
    "external": ("a volume belongs to one app and is made with it", "a new, empty volume"),
    "labels": (_LABELS, "left out"),
    "name": ("Naru names volumes after their app", "that name"),
}
STORED_FILE: Mapping[str, tuple[str, str]] = {
    "driver": ("secrets are kept by Naru itself", "that"),
    "driver_opts": ("secrets are kept by Naru itself", "left out"),
    "labels": (_LABELS, "left out"),
    "template_driver": ("secrets are taken as they are", "left out"),
}
PROJECT: Mapping[str, tuple[str, str]] = {
    "models": ("Naru runs no language models", "left out"),
    "networks": (_NETWORK, "that network"),
}
_HARMLESS: Mapping[str, frozenset[str]] = {
    "cgroup": frozenset({"private"}),
    "driver": frozenset({"local"}),
    "ipc": frozenset({"private"}),
    "isolation": frozenset({"default"}),
    "network_mode": frozenset({"bridge"}),
    "pull_policy": frozenset({"always", "missing", "if_not_present"}),
}
"""Values that ask for what Naru does anyway."""


def note(at: At, table: Mapping[str, tuple[str, str]], losses: Losses) -> None:
    """Note everything below `at` that the table knows as lost and that asks for something."""
    for name, (why, instead) in table.items():
        value = at[name]
        if value.meant and not _is_harmless(name, value):
            losses.add(at.path or "the file", told(name, value), why, instead)


def _is_harmless(name: str, value: At) -> bool:
    return isinstance(value.node, Scalar) and value.node.text in _HARMLESS.get(name, ())
