"""Compose files gathered: found, interpolated, checked, extended and merged into one tree.

Files are read through what the caller hands in; nothing here opens one.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath

from naru.domain.errors import Invalid, NotFound
from naru.formats.compose.dotenv import parse_dotenv
from naru.formats.compose.forms import written_out
from naru.formats.compose.interpolate import interpolate
from naru.formats.compose.merge import merge
from naru.formats.compose.shapes import FILE, check
from naru.formats.loss import Losses
from naru.formats.text import decoded, parse_yaml
from naru.formats.tree import At, Items, Kind, Node, Scalar, Table

ReadFile = Callable[[PurePath], bytes | None]
"""Returns what a file of the user's machine holds, None when it does not exist."""

DEFAULT_NAMES = ("compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml")
OVERRIDE_NAMES = tuple(name.replace(".y", ".override.y") for name in DEFAULT_NAMES)
MAX_EXTENDS = 16


@dataclass(frozen=True, slots=True)
class Ask:
    """What the user names: the files in their order, files of variables, the project, profiles, and the environment.

    `directory` is where the user is. An empty `files` stands for compose.yaml and its override there, found as the
    Compose specification says.
    """

    read: ReadFile
    environ: Mapping[str, str]
    files: tuple[PurePath, ...] = ()
    env_files: tuple[PurePath, ...] = ()
    project: str = ""
    profiles: Collection[str] = ()
    directory: PurePath = PurePath(".")


@dataclass(frozen=True, slots=True)
class Gathered:
    """One tree made of all files, the variables that were used, and where relative paths start."""

    tree: At
    variables: Mapping[str, str]
    directory: PurePath


def gather(ask: Ask, losses: Losses) -> Gathered:
    """Return the files as one tree; raise NotFound for an absent file and Invalid for a wrong one."""
    files = ask.files or _found(ask)
    directory = files[0].parent
    variables = {**_dotenv(ask, directory), **ask.environ}
    if ask.project:
        variables["COMPOSE_PROJECT_NAME"] = ask.project
    loader = _Loader(ask.read, variables, losses, dict.fromkeys(files, directory))
    tree: Node | None = None
    for file in files:
        for document in loader.documents(file):
            tree = merge(tree, document)
    if not isinstance(tree, Table):
        raise Invalid(f"{files[0]} is empty", "describe at least one service")
    return Gathered(At("", tree), variables, directory)


def read_text(read: ReadFile, file: PurePath) -> str:
    """Return the text of a file; raise NotFound when it does not exist."""
    content = read(file)
    if content is None:
        raise NotFound(f"there is no file {file}", "check its name and the directory you are in")
    return decoded(content, str(file))


def _found(ask: Ask) -> tuple[PurePath, ...]:
    for name in DEFAULT_NAMES:
        if ask.read(ask.directory / name) is not None:
            extra = [ask.directory / other for other in OVERRIDE_NAMES if ask.read(ask.directory / other) is not None]
            return (ask.directory / name, *extra[:1])
    raise NotFound("there is no compose.yaml here", "name the file with -f FILE")


def _dotenv(ask: Ask, directory: PurePath) -> dict[str, str]:
    found: dict[str, str] = {}
    for file in ask.env_files:
        found |= parse_dotenv(read_text(ask.read, file), str(file), {**found, **ask.environ})
    if not ask.env_files and ask.read(directory / ".env") is not None:
        found = parse_dotenv(read_text(ask.read, directory / ".env"), str(directory / ".env"), ask.environ)
    return found


class _Loader:
    """Loads files one by one, each only once.

    Relative paths start at `directories`, which the files of the command line share, or at the file's own directory.
    """

    def __init__(
        self, read: ReadFile, variables: Mapping[str, str], losses: Losses, directories: Mapping[PurePath, PurePath]
    ) -> None:
        self._read = read
        self._variables = variables
        self._losses = losses
        self._directories = directories
        self._raw: dict[PurePath, tuple[Table, ...]] = {}

    def documents(self, file: PurePath) -> Sequence[Table]:
        """Return the documents of a file, with everything done that concerns one file alone."""
        return [self._extended(document, file) for document in self._checked(file)]

    def _checked(self, file: PurePath) -> tuple[Table, ...]:
        if file not in self._raw:
            self._raw[file] = tuple(self._documents(file))
        return self._raw[file]

    def _documents(self, file: PurePath) -> Iterable[Table]:
        for document in parse_yaml(read_text(self._read, file), str(file)):
            if isinstance(document, Scalar) and document.kind is Kind.NULL:
                continue
            tree = At("", self._interpolated(At("", document)))
            check(tree, FILE)
            if tree["include"].meant:
                raise tree["include"].invalid("is not followed", "name the included files with -f instead")
            entries = dict(tree.node.entries) if isinstance(tree.node, Table) else {}
            directory = self._directories.get(file, file.parent)
            if tree["services"].given:
                services: dict[str, Node] = {
                    name: written_out(_anchored(service, directory)) for name, service in tree["services"].entries()
                }
                at = tree["services"].node
                entries["services"] = Table(services, at.place, at.tag)
            yield Table(entries, document.place)

    def _interpolated(self, at: At) -> Node:
        match at.node:
            case Scalar(text, Kind.STRING) if "$" in text:
                try:
                    value = interpolate(text, self._variables, lambda name: self._unset(at, name))
                except Invalid as error:
                    raise at.invalid(f"cannot be filled in: {error.cause}", error.mend) from error
                return replace(at.node, text=value)
            case Items():
                return replace(at.node, items=tuple(self._interpolated(item) for item in at.items()))
            case Table():
                return replace(at.node, entries={name: self._interpolated(value) for name, value in at.entries()})
            case _:
                return at.node

    def _unset(self, at: At, name: str) -> None:
        self._losses.add(at.path, f"${name}", "the variable is not set, here or in .env", "an empty text")

    def _extended(self, document: Table, file: PurePath) -> Table:
        services = document.entries.get("services")
        if not isinstance(services, Table):
            return document
        resolved: dict[str, Node] = {name: self._service(name, file, ()) for name in services.entries}
        return replace(document, entries={**document.entries, "services": replace(services, entries=resolved)})

    def _service(self, name: str, file: PurePath, chain: tuple[tuple[PurePath, str], ...]) -> Node:
        """Return a service with what it extends below it."""
        link = (file, name)
        at = self._find(name, file)
        extends = at["extends"]
        if not extends.given:
            return at.node
        chain = (*chain, link)
        base_name = extends.text() if isinstance(extends.node, Scalar) else extends["service"].text()
        other = extends["file"].text() if isinstance(extends.node, Table) else ""
        base_file = file.parent / other if other else file
        if (base_file, base_name) in chain or len(chain) > MAX_EXTENDS:
            circle = " → ".join(service for _, service in (*chain, (base_file, base_name)))
            raise extends.invalid(f"goes in a circle: {circle}", "let one of them extend nothing")
        try:
            base = self._service(base_name, base_file, chain)
        except NotFound as error:
            raise extends.invalid(f"cannot be followed: {error.cause}", error.mend) from error
        own = Table({key: value.node for key, value in at.entries() if key != "extends"}, at.node.place)
        wrapped = merge(_wrap(name, base), _wrap(name, own))
        return At("", wrapped)["services"][name].node

    def _find(self, name: str, file: PurePath) -> At:
        for document in reversed(self._checked(file)):
            found = At("", document)["services"][name]
            if found.given:
                return found
        raise NotFound(f"{file} has no service {name}", "name a service of that file")


def _wrap(name: str, service: Node) -> Table:
    return Table({"services": Table({name: service})})


def _anchored(service: At, directory: PurePath) -> At:
    """Write the paths of variable files so that they do not depend on the file that they stand in."""
    at = service["env_file"]
    if not at.given or not isinstance(service.node, Table):
        return service

    def anchored(one: At) -> Node:
        if isinstance(one.node, Table):
            return replace(one.node, entries={**one.node.entries, "path": anchored(one["path"])})
        return replace(one.node, text=str(directory / one.text())) if isinstance(one.node, Scalar) else one.node

    node = (
        replace(at.node, items=tuple(anchored(one) for one in at.items()))
        if isinstance(at.node, Items)
        else anchored(at)
    )
    return At(service.path, replace(service.node, entries={**service.node.entries, "env_file": node}))
