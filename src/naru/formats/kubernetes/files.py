"""ConfigMaps and Secrets: where their values go."""

import base64
import binascii
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from naru.domain.workload import SecretFile, Volume
from naru.formats.kubernetes.words import SECRET_KEY, expand
from naru.formats.loss import Losses, StoredFile
from naru.formats.names import as_label
from naru.formats.tree import At

_IN_ENVIRONMENT = "secrets are files, as everyone who may look at an app sees its environment"


@dataclass(frozen=True, slots=True)
class Contents:
    """The values of the ConfigMaps and Secrets that the file holds, by name and key."""

    configs: Mapping[str, Mapping[str, bytes]]
    secrets: Mapping[str, Mapping[str, bytes]]


@dataclass(frozen=True, slots=True)
class Mounts:
    """What one mount becomes."""

    volumes: tuple[Volume, ...] = ()
    secrets: tuple[SecretFile, ...] = ()
    files: tuple[StoredFile, ...] = ()


def read_contents(configs: Iterable[At], secrets: Iterable[At]) -> Contents:
    """Return the values; raise Invalid where one is not base64."""
    return Contents(
        {
            at["metadata"]["name"].text(): {
                **{key: value.text().encode() for key, value in at["data"].entries()},
                **{key: _decoded(value) for key, value in at["binaryData"].entries()},
            }
            for at in configs
        },
        {
            at["metadata"]["name"].text(): {
                **{key: _decoded(value) for key, value in at["data"].entries()},
                **{key: value.text().encode() for key, value in at["stringData"].entries()},
            }
            for at in secrets
        },
    )


def environment(container: At, contents: Contents, losses: Losses) -> dict[str, str]:
    """Return the environment of a container; a variable may refer to those before it."""
    found: dict[str, str] = {}
    for source in container["envFrom"].items():
        prefix = source["prefix"].text()
        for kind, known in (("configMapRef", contents.configs), ("secretRef", contents.secrets)):
            name = source[kind]["name"].text()
            if name and name not in known:
                losses.add(source.path, f"the variables of {name}", "it is not in the file")
            for key, value in known.get(name, {}).items():
                found[f"{prefix}{key}"] = _text(source, value)
            if name in known and kind == "secretRef":
                losses.add(source.path, f"the secret {name}", _IN_ENVIRONMENT, "plain variables")
    for variable in container["env"].items():
        name = variable["name"].text()
        if variable["value"].given or not variable["valueFrom"].meant:
            found[name] = expand(variable["value"].text(), found)
        else:
            found |= _value_from(variable, name, contents, losses)
    return found


def _value_from(variable: At, name: str, contents: Contents, losses: Losses) -> dict[str, str]:
    source = variable["valueFrom"]
    for kind, known in (("configMapKeyRef", contents.configs), ("secretKeyRef", contents.secrets)):
        if not (ref := source[kind]).given:
            continue
        value = known.get(ref["name"].text(), {}).get(ref["key"].text())
        if value is None:
            losses.add(variable.path, name, f"{ref['name'].text()} is not in the file, or has no such key")
            return {}
        if kind == "secretKeyRef":
            losses.add(variable.path, f"the secret in {name}", _IN_ENVIRONMENT, "a plain variable")
        return {name: _text(ref, value)}
    losses.add(variable.path, name, "Naru tells a container nothing of its pod")
    return {}


def mounts(mount: At, source: At, contents: Contents, losses: Losses) -> Mounts:
    """Return what a mount of that volume becomes: a volume, or a file for each key."""
    path = mount["mountPath"].text()
    if (claim := source["persistentVolumeClaim"]).given:
        if mount["subPath"].meant:
            losses.add(mount.path, f"subPath {mount['subPath'].text()}", "a volume is mounted as a whole", "all of it")
        name = as_label(claim["claimName"].text(), "a volume")
        return Mounts(volumes=(Volume(name, path, mount["readOnly"].boolean() or claim["readOnly"].boolean()),))
    for kind, title, known in (("secret", "secretName", contents.secrets), ("configMap", "name", contents.configs)):
        if source[kind].given:
            return _files(mount, source[kind], source[kind][title].text(), known, losses)
    kind = next((name for name, value in source.entries() if name != "name" and value.given), "emptyDir")
    losses.add(mount.path, f"{kind} at {path}", "Naru mounts named volumes and secrets only")
    return Mounts()


def _files(mount: At, source: At, name: str, known: Mapping[str, Mapping[str, bytes]], losses: Losses) -> Mounts:
    values = known.get(name)
    items = [(item["key"].text(), item["path"].text()) for item in source["items"].items()]
    if not items and values is None:
        losses.add(mount.path, f"the files of {name}", "it is not in the file, so its keys are not known")
        return Mounts()
    items = items or [(key, key) for key in values or {}]
    wanted = mount["subPath"].text()
    secrets, files = [], []
    for key, file in items:
        if wanted and file != wanted:
            continue
        stored = as_label(name if key == SECRET_KEY else f"{name}-{key}", "a secret")
        path = mount["mountPath"].text()
        secrets.append(SecretFile(stored, path if wanted else str(PurePosixPath(path, file))))
        if values is None:
            losses.add(mount.path, f"the value of {name}", "it is not in the file", f"naru secret set {stored} FILE")
        elif key in values:
            files.append(StoredFile(stored, values[key]))
        else:
            raise mount.invalid(f"asks for the key {key!r}, which {name} does not have", "correct the key")
    return Mounts(secrets=tuple(secrets), files=tuple(files))


def _decoded(at: At) -> bytes:
    try:
        return base64.b64decode("".join(at.text().split()), validate=True)
    except binascii.Error as error:
        raise at.invalid("is not base64", "encode it, or use stringData") from error


def _text(at: At, value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise at.invalid("holds a value that is no text", "mount it as a file") from error
