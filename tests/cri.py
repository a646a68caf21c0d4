"""The few messages of the CRI (`runtime.v1`) with which tests do what a kubelet does.

Pods share the machine's network, so no network plugin is needed.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import grpc

from naru.agent.protobuf import at, decode, encode

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Named:
    """ImageSpec, and the answer to PullImage: both hold one name."""

    image: str = at(1, "")


@dataclass(frozen=True, slots=True)
class Pull:
    """PullImageRequest."""

    image: Named | None = at(1, None)


@dataclass(frozen=True, slots=True)
class PodName:
    """PodSandboxMetadata."""

    name: str = at(1, "")
    uid: str = at(2, "")
    namespace: str = at(3, "")


@dataclass(frozen=True, slots=True)
class Namespaces:
    """NamespaceOption; 2 is the machine's."""

    network: int = at(1, 2)


@dataclass(frozen=True, slots=True)
class SandboxSecurity:
    """LinuxSandboxSecurityContext."""

    namespace_options: Namespaces | None = at(1, None)


@dataclass(frozen=True, slots=True)
class LinuxPod:
    """LinuxPodSandboxConfig."""

    security_context: SandboxSecurity | None = at(2, None)


@dataclass(frozen=True, slots=True)
class Pod:
    """PodSandboxConfig."""

    metadata: PodName | None = at(1, None)
    log_directory: str = at(3, "")
    linux: LinuxPod | None = at(8, None)


@dataclass(frozen=True, slots=True)
class RunPod:
    """RunPodSandboxRequest."""

    config: Pod | None = at(1, None)


@dataclass(frozen=True, slots=True)
class Id:
    """Every answer, and every request, that holds one identifier."""

    id: str = at(1, "")


@dataclass(frozen=True, slots=True)
class ContainerName:
    """ContainerMetadata."""

    name: str = at(1, "")


@dataclass(frozen=True, slots=True)
class Container:
    """ContainerConfig."""

    metadata: ContainerName | None = at(1, None)
    image: Named | None = at(2, None)
    command: tuple[str, ...] = at(3, ())


@dataclass(frozen=True, slots=True)
class Create:
    """CreateContainerRequest."""

    pod_sandbox_id: str = at(1, "")
    config: Container | None = at(2, None)
    sandbox_config: Pod | None = at(3, None)


@dataclass(frozen=True, slots=True)
class Exec:
    """ExecSyncRequest."""

    container_id: str = at(1, "")
    cmd: tuple[str, ...] = at(2, ())
    timeout: int = at(3, 20)


@dataclass(frozen=True, slots=True)
class Said:
    """ExecSyncResponse."""

    stdout: str = at(1, "")
    stderr: str = at(2, "")
    exit_code: int = at(3, 0)


def ask(socket: Path, call: str, asked: object, answer: type[T]) -> T:
    """Make one call, such as `ImageService/PullImage`."""
    read: Callable[[bytes], T] = lambda content: decode(answer, content)  # noqa: E731
    with grpc.insecure_channel(f"unix:{socket}") as channel:
        calling = channel.unary_unary(f"/runtime.v1.{call}", request_serializer=encode, response_deserializer=read)
        return calling(asked, timeout=120)


def pull(socket: Path, reference: str) -> None:
    """Pull an image as a kubelet does."""
    ask(socket, "ImageService/PullImage", Pull(Named(reference)), Id)


def start_pod(socket: Path, logs: Path, reference: str, *command: str, name: str = "pod") -> str:
    """Start a pod with one container; return the container's id."""
    pod = Pod(PodName(name, name, "default"), str(logs), LinuxPod(SandboxSecurity(Namespaces())))
    sandbox = ask(socket, "RuntimeService/RunPodSandbox", RunPod(pod), Id).id
    container = Container(ContainerName("main"), Named(reference), command)
    made = ask(socket, "RuntimeService/CreateContainer", Create(sandbox, container, pod), Id).id
    ask(socket, "RuntimeService/StartContainer", Id(made), Id)
    return made


def execute(socket: Path, container: str, *command: str) -> Said:
    """Run a command in a container to its end."""
    return ask(socket, "RuntimeService/ExecSync", Exec(container, command), Said)
