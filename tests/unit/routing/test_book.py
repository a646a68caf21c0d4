"""The routes on disk."""

import pytest

from naru.domain.errors import Unavailable
from naru.domain.workload import Address, CommandCheck, Health, HttpCheck, TcpCheck, Tls
from naru.routing.base import Route, Upstream
from naru.routing.caddy import book

ROUTES = {
    app: Route(app, Address(host=f"{app}.example.org", tls=Tls.INTERNAL), (Upstream("10.0.0.1:80", 3),), Health(check))
    for app, check in {"shop": HttpCheck("/up"), "blog": TcpCheck(), "mail": CommandCheck(("true",))}.items()
}


def test_routes_are_read_as_they_were_written(tmp_path):
    file = tmp_path / "routes.json"
    book.draft(file, ROUTES).replace(file)
    assert book.read(file) == ROUTES


def test_a_draft_does_not_touch_the_routes(tmp_path):
    file = tmp_path / "routes.json"
    book.draft(file, ROUTES)
    assert book.read(file) == {}


def test_a_torn_file_is_named_with_its_mend(tmp_path):
    file = tmp_path / "routes.json"
    file.write_bytes(b'{"shop": {"app"')
    with pytest.raises(Unavailable, match="remove the file"):
        book.read(file)


def test_a_disk_that_refuses_is_reported(tmp_path):
    with pytest.raises(Unavailable, match="make room"):
        book.draft(tmp_path / "absent" / "routes.json", ROUTES)
