"""Compose files as texts, read as `naru up` reads them."""

from collections.abc import Mapping
from pathlib import PurePath

from naru.domain.workload import Workload
from naru.formats.compose import Ask, read_project
from naru.formats.loss import Imported

WEB = "services: {web: {image: 'shop:1', ports: ['8000:80'], %s}}"


def read(
    *texts: str,
    files: Mapping[str, str] | None = None,
    environ: Mapping[str, str] | None = None,
    project: str = "",
    profiles: tuple[str, ...] = (),
) -> Imported:
    """Read Compose files called 0.yaml, 1.yaml, … and whatever they name."""
    held = {f"{number}.yaml": text for number, text in enumerate(texts)} | dict(files or {})

    def held_file(path: PurePath) -> bytes | None:
        text = held.get(str(path))
        return None if text is None else text.encode()

    names = tuple(PurePath(f"{number}.yaml") for number in range(len(texts)))
    return read_project(Ask(held_file, environ or {}, names, project=project, profiles=profiles))


def web(attributes: str, **ask: object) -> Workload:
    """Read one service that has these attributes too."""
    return read(WEB % attributes, **ask).workloads[0]  # type: ignore[arg-type]


def losses(imported: Imported) -> set[tuple[str, str]]:
    return {(loss.where, loss.what) for loss in imported.losses}
