"""A Compose project: its services as apps, in the order in which they may be deployed."""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import PurePath

from naru.domain.errors import Invalid, NotFound
from naru.domain.workload import Workload
from naru.formats.compose import extension, lost
from naru.formats.compose.files import Ask, Gathered, ReadFile, gather
from naru.formats.compose.service import Surroundings, read_service
from naru.formats.loss import Imported, Losses, StoredFile
from naru.formats.names import as_label
from naru.formats.order import in_order
from naru.formats.tree import At


def read_project(ask: Ask) -> Imported:
    """Read a project; raise Invalid, naming file, line and path, or NotFound for a file that is not there."""
    losses = Losses()
    gathered = gather(ask, losses)
    tree = gathered.tree
    name = ask.project or ask.environ.get("COMPOSE_PROJECT_NAME", "") or tree["name"].text()
    prefix = as_label(name, "a project") if name else ""
    services = _active(tree, {*ask.profiles, *_listed(ask.environ.get("COMPOSE_PROFILES", ""))})
    if not services:
        raise Invalid("no service is to be deployed", "describe one under services:, or name its --profile")
    lost.note(tree, lost.PROJECT, losses)
    apps = _apps(services, prefix, losses)
    ours = tree[extension.KEY]
    extension.only_known(ours, extension.OF_A_FILE)
    shared = prefix or _of_directory(ask.directory / gathered.directory) if len(services) > 1 else ""
    project = extension.read_project(ours["project"], shared)
    awaited = set(_awaited(services))
    files = {kind: _files(tree[kind], prefix, _used(services, kind), losses) for kind in ("secrets", "configs")}
    image_prefix = _compose_name(name or (ask.directory / gathered.directory).name)
    workloads = {
        service: read_service(
            at,
            Surroundings(
                app=apps[service],
                project=project,
                awaited=service in awaited,
                built="-".join(filter(None, (image_prefix, service))),
                variables=gathered.variables,
                read=ask.read,
                secrets=files["secrets"],
                configs=files["configs"],
                losses=losses,
            ),
        )
        for service, at in services.items()
    }
    _note_sharing(tree, services, losses)
    _note_strangers(workloads.values(), losses)
    waits = {service: tuple(_waits(at, workloads, losses)) for service, at in services.items()}
    return Imported(
        workloads=tuple(workloads[service] for service in in_order(waits)),
        waits={apps[service]: tuple(apps[other] for other in others) for service, others in waits.items()},
        files=tuple(_contents(tree, files, gathered, ask.read)),
        losses=losses.rows(),
    )


def _active(tree: At, profiles: set[str]) -> dict[str, At]:
    """Return the services without a profile, and those of the profiles that are asked for."""
    found: dict[str, At] = {}
    for name, service in tree["services"].entries():
        wanted = set(service["profiles"].texts())
        if not wanted or "*" in profiles or wanted & profiles:
            found[name] = service
    return found


def _apps(services: Iterable[str], prefix: str, losses: Losses) -> dict[str, str]:
    apps: dict[str, str] = {}
    for service in services:
        label = as_label(service, "an app")
        app = as_label(f"{prefix}-{label}", "an app") if prefix else label
        if label != service:
            losses.add(
                f"services.{service}", f"the name {service}", "an app's name is a DNS label", f"it is called {app}"
            )
        if app in apps.values():
            raise Invalid(f"two services become the app {app}", "name them more differently")
        apps[service] = app
    return apps


def _used(services: Mapping[str, At], kind: str) -> set[str]:
    return {mount["source"].text() for service in services.values() for mount in service[kind].items()}


def _files(described: At, prefix: str, used: set[str], losses: Losses) -> dict[str, str]:
    """Return under which name each secret or config is stored."""
    names: dict[str, str] = {}
    for name, file in described.entries():
        if name not in used:
            continue
        lost.note(file, lost.STORED_FILE, losses)
        external = file["external"]
        outer = file["name"].text() or external["name"].text()
        if _is_external(file):
            names[name] = outer or name
            continue
        own = outer or (f"{prefix}-{name}" if prefix else name)
        names[name] = as_label(own, "a secret")
    return names


def _contents(
    tree: At, names: Mapping[str, Mapping[str, str]], gathered: Gathered, read: ReadFile
) -> Iterator[StoredFile]:
    for kind, stored in names.items():
        for name, as_name in stored.items():
            file = tree[kind][name]
            if not _is_external(file):
                yield StoredFile(as_name, _value(file, gathered, read))


def _value(file: At, gathered: Gathered, read: ReadFile) -> bytes:
    if file["content"].given:
        return file["content"].text().encode()
    if file["environment"].given:
        variable = file["environment"].text()
        if variable not in gathered.variables:
            raise file["environment"].invalid(f"names {variable}, which is not set", "set it, here or in .env")
        return gathered.variables[variable].encode()
    if not file["file"].given:
        raise file.invalid("says nowhere what it holds", "add file:, environment: or external: true")
    path = gathered.directory / PurePath(file["file"].text())
    content = read(path)
    if content is None:
        raise NotFound(f"there is no file {path}, which {file.path} names", "create it, or correct the path")
    return content


def _is_external(file: At) -> bool:
    external = file["external"]
    return external["name"].given or (external.given and external.meant)


def _note_sharing(tree: At, services: Mapping[str, At], losses: Losses) -> None:
    """Note what services of one Compose project share and apps do not: volumes."""
    users: dict[str, list[str]] = {}
    for name, service in services.items():
        for mount in service["volumes"].items():
            if mount["type"].text() == "volume" and mount["source"].given:
                source = mount["source"].text()
                users.setdefault(source, []).append(name)
                if source not in dict(tree["volumes"].entries()):
                    raise mount.invalid(
                        f"names the volume {source!r}, which volumes does not describe", "describe it under volumes:"
                    )
    for volume, names in users.items():
        lost.note(tree["volumes"][volume], lost.VOLUME, losses)
        if len(set(names)) > 1:
            why = "a volume belongs to one app"
            losses.add(f"volumes.{volume}", f"shared by {', '.join(dict.fromkeys(names))}", why, "a volume for each")


def _note_strangers(workloads: Collection[Workload], losses: Losses) -> None:
    """Note that services which are in no project do not know each other."""
    if len(workloads) > 1 and not all(workload.project for workload in workloads):
        why = "an app without a project has a network of its own, where only its own name is known"
        losses.add(
            "services", "names of services as host names", why, "those that speak HTTP are reached at their endpoints"
        )


def _awaited(services: Mapping[str, At]) -> Iterator[str]:
    """Yield the services that others wait for until they have ended."""
    for at in services.values():
        for name, dependency in at["depends_on"].entries():
            if dependency["condition"].text() == "service_completed_successfully":
                yield name


def _waits(at: At, services: Mapping[str, Workload], losses: Losses) -> Iterator[str]:
    """Yield the services that come before this one."""
    for name, dependency in at["depends_on"].entries():
        if name not in services:
            if dependency["required"].boolean(True):
                raise dependency.invalid("is no service that is deployed", "describe it, or name its --profile")
            losses.add(dependency.path, name, "it is not deployed and not required")
            continue
        if dependency["restart"].boolean():
            losses.add(dependency.path, "restart", "an app is restarted by its own rollouts only")
        match dependency["condition"].text():
            case "service_started" | "service_healthy":
                pass
            case "service_completed_successfully" if not services[name].kind.ends:
                losses.add(
                    dependency.path,
                    "service_completed_successfully",
                    f"a workload of the kind {services[name].kind} is not meant to end",
                    "it waits until it is ready",
                )
            case "service_completed_successfully":
                pass
            case other:
                raise dependency["condition"].invalid(f"is {other!r}", "use service_started or service_healthy")
        yield name
    for link in at["links"].texts():
        name = link.partition(":")[0]
        if name in services:
            yield name


def _of_directory(directory: PurePath) -> str:
    """Return the project of a file that names none, after its directory as Compose does."""
    try:
        return as_label(directory.name, "a project")
    except Invalid:
        return "project"


def _listed(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _compose_name(name: str) -> str:
    """Return a project's name as Compose puts it before the images that it builds."""
    return re.sub(r"[^-_a-z0-9]", "", name.lower()).lstrip("-_")
