"""What tells engines apart and no measurement shows: by their documentation, as read in 2026."""

from dataclasses import dataclass

ENGINES = ("docker", "swarm", "kubernetes", "marathon")


@dataclass(frozen=True, slots=True)
class FeatureRow:
    """One question, and what each of ENGINES has to say to it."""

    what: str
    docker: str
    swarm: str
    kubernetes: str
    marathon: str
    source: str

    def of(self, engine: str) -> str:
        """Return the engine's answer, empty for one that the table does not know."""
        return {"docker": self.docker, "podman": self.docker}.get(engine) or (
            str(getattr(self, engine)) if engine in ENGINES else ""
        )


FEATURES: tuple[FeatureRow, ...] = (
    FeatureRow(
        "commands from a bare Debian 12 to one node",
        "1: the package docker.io",
        "2: the package, swarm init",
        "about 10: a runtime, the packages' source, kubeadm, kubelet and kubectl, swap and sysctl, kubeadm init, "
        "a network add-on",
        "packages are no longer published: built from source, with ZooKeeper beside it",
        "counted by us in Debian's package and the projects' installation pages",
    ),
    FeatureRow(
        "commands for each further node",
        "not possible",
        "2: the package, swarm join",
        "about 7: as above, kubeadm join in place of init",
        "a Mesos agent, built from source",
        "counted by us in the same pages",
    ),
    FeatureRow(
        "volumes follow an instance to another node",
        "no other node",
        "with a plug-in; cluster volumes by CSI from Docker 23 on",
        "by CSI drivers for network storage",
        "external volumes by plug-in",
        "Docker: Swarm mode; Kubernetes: Persistent Volumes; Marathon: Stateful Applications",
    ),
    FeatureRow(
        "volume snapshots",
        "none; by the file system below",
        "none; by the file system below",
        "VolumeSnapshot, where the CSI driver has it",
        "none",
        "Kubernetes: Volume Snapshots; the others' pages name none",
    ),
    FeatureRow(
        "volume drivers",
        "local (bind, tmpfs, NFS by mount options) and plug-ins",
        "as Docker, on every node",
        "CSI, and volumes of the node",
        "local persistent volumes, external by plug-in",
        "Docker: Volumes; Kubernetes: Volumes; Marathon: Persistent Volumes",
    ),
    FeatureRow(
        "growing with load by itself",
        "no",
        "no",
        "HorizontalPodAutoscaler",
        "no",
        "Kubernetes: Horizontal Pod Autoscaling; the others' pages name none",
    ),
    FeatureRow(
        "runs by a schedule",
        "no",
        "no; jobs that run once",
        "CronJob",
        "no; other Mesos frameworks do",
        "Kubernetes: CronJob; Docker: service create --mode",
    ),
    FeatureRow(
        "going back after a failed update, by itself",
        "no updates of its own",
        "if asked to (failure action)",
        "no: it stops and says so",
        "no: the deployment waits",
        "Docker: service update; Kubernetes: Deployments; Marathon: Deployments",
    ),
    FeatureRow(
        "its own control plane survives a lost machine",
        "no",
        "with 3 managers or more (Raft)",
        "with 3 members of etcd or more",
        "with 3 masters and ZooKeeper servers or more",
        "Docker: Administer and maintain a swarm; Kubernetes: Options for Highly Available Topology",
    ),
)
