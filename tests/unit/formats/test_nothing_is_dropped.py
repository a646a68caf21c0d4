"""Every single name that a service may have changes the app, is reported, or is refused: none is dropped silently."""

from collections.abc import Iterator
from pathlib import PurePath

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.formats.test_shapes import drawn

from naru.domain.errors import NaruError
from naru.formats.compose import Ask, lost, read_project
from naru.formats.compose.shapes import SERVICE, Either, Keys, Many, Named, One, Shape
from naru.formats.loss import Imported
from naru.formats.text import Plain, write_yaml
from naru.formats.tree import Kind

VALUES = {
    "app_protocol": "http",
    "condition": "service_healthy",
    "cpus": "0.5",
    "delay": "5s",
    "failure_action": "pause",
    "file": "other.yaml",
    "format": "raw",
    "interval": "5s",
    "memory": "64m",
    "mem_limit": "64m",
    "mode": "global",
    "monitor": "5s",
    "order": "start-first",
    "parallelism": 2,
    "path": "vars.env",
    "protocol": "udp",
    "published": "8000",
    "replicas": 2,
    "restart": "on-failure",
    "required": "false",
    "retries": 5,
    "scale": 3,
    "service": "base",
    "source": "data",
    "start_interval": "1s",
    "start_period": "5s",
    "stop_grace_period": "1m",
    "test": "true",
    "timeout": "5s",
    "type": "volume",
}
"""Values that mean something where any other text would be refused."""

MEANINGLESS_WITHOUT: dict[str, dict[str, Plain]] = {
    "ports[]": {"target": 80},
    "volumes[]": {"type": "volume", "source": "data", "target": "/data"},
}
"""What must be said beside a name before it means anything."""

REPORTED_AS_A_WHOLE = {
    *lost.SERVICE,
    "build",
    "deploy.placement",
    "deploy.resources.reservations.devices",
    "deploy.resources.reservations.generic_resources",
    *(f"volumes[].{name}" for name in lost.VOLUME_MOUNT),
}

CARRIED_OUT_ELSEWHERE = {
    "depends_on": "orders the apps",
    "depends_on.*.condition": "orders the apps",
    "depends_on.*.required": "matters where the other service is not deployed",
    "env_file[].required": "matters where the file is absent",
    "extends": "is taken away when it is followed",
    "extends.service": "is taken away when it is followed",
    "profiles": "chooses the services",
}


def sample(name: str, shape: Shape) -> Plain:
    match shape:
        case One(kinds) if name in VALUES and Kind.STRING in kinds:
            return VALUES[name]
        case One(kinds):
            return "some" if kinds == {Kind.STRING} else "true" if Kind.BOOLEAN in kinds else 7
        case Many(item):
            return [sample(name, item)]
        case Keys(known, needed):
            return {one: sample(one, known[one]) for one in needed or list(known)[:1]}
        case Named(value):
            return {"other": sample(name, value)}
        case Either(several):
            return sample(name, next(one for one in several if not (isinstance(one, One) and one.kinds == {Kind.NULL})))
        case _:
            return {"some": "some"}


def leaves(path: str, name: str, shape: Shape) -> Iterator[tuple[str, Plain, Plain]]:
    """Yield each name below, what to say for it, and the same without it."""
    match shape:
        case _ if path in REPORTED_AS_A_WHOLE:
            yield path, sample(name, shape), None
        case Keys(known, needed):
            least = {one: sample(one, known[one]) for one in needed} | MEANINGLESS_WITHOUT.get(path, {})
            for one, inner in known.items():
                for below, value, without in leaves(f"{path}.{one}", one, inner):
                    others = {key: kept for key, kept in least.items() if key != one}
                    base = others if without is None else {**others, one: without}
                    yield below, {**others, one: value}, base
        case Many(item) if isinstance(item, (Keys, Either)):
            for below, value, without in leaves(f"{path}[]", name, item):
                yield below, [value], [without] if without else []
        case Named(value_shape) if isinstance(value_shape, (Keys, Either)):
            for below, value, without in leaves(f"{path}.*", name, value_shape):
                yield below, {"other": value}, {"other": without} if without else {}
        case Either(several):
            for one in several:
                if not (isinstance(one, One) and one.kinds == {Kind.NULL}):
                    yield from leaves(path, name, one)
        case _:
            yield path, sample(name, shape), None


def read(attributes: dict[str, Plain]) -> Imported | str:
    service = {"image": "i", "ports": ["9000:80"], **attributes}
    service = {name: value for name, value in service.items() if value is not None}
    other: Plain = {"image": "i", "ports": ["81"]}
    document: Plain = {
        "services": {"web": service, "other": other, "base": other, "some": other},
        "volumes": {"data": {}, "some": {}},
        "secrets": {"data": {"external": True}, "some": {"external": True}},
        "configs": {"data": {"external": True}, "some": {"external": True}},
    }
    files = {"c.yaml": write_yaml(document), "vars.env": "A='1'", "some": "B='1'"}
    try:
        return read_project(
            Ask(lambda path: files[str(path)].encode() if str(path) in files else None, {}, (PurePath("c.yaml"),))
        )
    except NaruError as error:
        return str(error)


LEAVES = [
    pytest.param(key, value, without, id=path)
    for key, shape in SERVICE.known.items()
    for path, value, without in leaves(key, key, shape)
    if path not in CARRIED_OUT_ELSEWHERE
]


@pytest.mark.parametrize(("key", "value", "without"), LEAVES)
def test_a_name_changes_the_app_is_reported_or_is_refused(key: str, value: Plain, without: Plain):
    assert read({key: value}) != read({key: without})


@pytest.mark.parametrize("name", sorted(SERVICE.known))
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_whatever_fits_the_table_is_read_or_refused(name: str, data: st.DataObject):
    assert read({name: data.draw(drawn(SERVICE.known[name]))})  # type: ignore[dict-item]
