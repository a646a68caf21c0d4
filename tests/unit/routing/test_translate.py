"""Routes as configurations of Caddy."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from naru.domain.errors import Conflict, Invalid
from naru.domain.workload import Address, Health, HttpCheck, TcpCheck, Tls
from naru.routing.base import Route, Upstream
from naru.routing.caddy.settings import CaddySettings
from naru.routing.caddy.translate import check, edge_config, endpoint, ports, switch_config

SETTINGS = CaddySettings(Path("/state"), machine="edge.example.org")
BROWSER = CaddySettings(Path("/state"), http_port=80, https_port=443)
HTTP = Health(HttpCheck("/up"), interval=1.5, timeout=0.5)

addresses = st.one_of(
    st.builds(Address, port=st.integers(1, 65535), tls=st.sampled_from([Tls.OFF, Tls.INTERNAL])),
    st.builds(Address, host=st.from_regex(r"[a-z]{1,9}\.example", fullmatch=True), tls=st.sampled_from(Tls)),
)
upstreams = st.lists(
    st.builds(Upstream, st.sampled_from(["10.0.0.1:80", "10.0.0.2:80"]), st.integers(0, 9)), max_size=3
)
routes = st.builds(Route, st.sampled_from(["shop", "blog"]), addresses, upstreams.map(tuple), st.just(HTTP))


PORT = Address(port=5000)


def shop(address: Address = PORT, *given: Upstream, health: Health = HTTP) -> Route:
    return Route("shop", address, given, health)


def proxy(*given: Upstream, health: Health = HTTP) -> dict:
    config = switch_config({"shop": shop(Address(port=5000), *given, health=health)}, (), SETTINGS)
    return config["apps"]["http"]["servers"]["shop"]["routes"][0]["handle"][-1]


@pytest.mark.parametrize(
    ("address", "settings", "url"),
    [
        (Address(port=5000), SETTINGS, "http://edge.example.org:5000"),
        (Address(port=5000, tls=Tls.INTERNAL), SETTINGS, "https://edge.example.org:5000"),
        (Address(port=443, tls=Tls.INTERNAL), SETTINGS, "https://edge.example.org"),
        (Address(host="shop.example.org"), SETTINGS, "http://shop.example.org:8080"),
        (Address(host="shop.example.org", tls=Tls.ACME), SETTINGS, "https://shop.example.org:8443"),
        (Address(host="shop.example.org"), BROWSER, "http://shop.example.org"),
        (Address(host="shop.example.org", tls=Tls.INTERNAL), BROWSER, "https://shop.example.org"),
    ],
)
def test_an_endpoint_is_what_a_user_would_type(address, settings, url):
    assert endpoint(address, settings).url == url


def test_the_doors_shared_ports_are_no_apps_own():
    with pytest.raises(Conflict, match="8080 is the front door's own"):
        check(shop(Address(port=8080)), [], SETTINGS)
    with pytest.raises(Invalid):
        check(shop(Address()), [], SETTINGS)


def test_an_app_may_keep_its_address_and_not_take_anothers():
    check(shop(), [shop()], SETTINGS)
    with pytest.raises(Conflict, match="blog already has"):
        check(shop(), [Route("blog", Address(port=5000), (), HTTP)], SETTINGS)


@given(st.dictionaries(st.sampled_from(["shop", "blog"]), routes))
def test_the_edge_listens_where_it_says_and_nowhere_else(given_routes):
    servers = edge_config(given_routes, SETTINGS)["apps"]["http"]["servers"]
    listening = {int(listen.rpartition(":")[2]) for server in servers.values() for listen in server["listen"]}
    assert listening == ports(given_routes.values(), SETTINGS)


@given(routes, upstreams)
def test_instances_that_come_and_go_leave_the_edge_alone(route, others):
    changed = Route(route.app, route.address, tuple(others), Health(TcpCheck()))
    assert edge_config({route.app: route}, SETTINGS) == edge_config({route.app: changed}, SETTINGS)


@given(routes)
def test_the_switch_dials_exactly_the_upstreams_with_weight(route):
    handler = switch_config({route.app: route}, (), SETTINGS)["apps"]["http"]["servers"][route.app]["routes"][0][
        "handle"
    ][-1]
    dialled = {upstream["dial"] for upstream in handler.get("upstreams", ())}
    by_address = {u.address for u in route.upstreams if u.weight > 0}
    assert dialled == by_address


def test_parked_upstreams_are_named_where_no_request_reaches_them():
    servers = switch_config({"shop": shop()}, {"10.0.0.9:80"}, SETTINGS)["apps"]["http"]["servers"]
    assert servers["parked."]["listen"] == ["unix/apps/parked."]
    assert "10.0.0.9:80" not in str(servers["shop"])


def test_requests_are_never_tied_to_a_configuration():
    assert "flush_interval" not in str(proxy(Upstream("10.0.0.1:80")))
    assert "flush_interval" not in str(edge_config({"shop": shop()}, SETTINGS))


def test_instances_are_checked_where_there_is_a_choice():
    one, two = Upstream("10.0.0.1:80"), Upstream("10.0.0.2:80")
    assert "health_checks" not in proxy(one)
    assert proxy(one, two)["health_checks"]["active"] == {"uri": "/up", "interval": "1.5s", "timeout": "0.5s"}
    assert "active" not in proxy(one, two, health=Health(TcpCheck()))["health_checks"]
    assert "active" not in proxy(one, Upstream("10.0.0.2:80", 3))["health_checks"]


def test_certificates_come_from_whom_the_address_names():
    # given
    given_routes = {
        "own": Route("own", Address(port=5000, tls=Tls.INTERNAL), (), HTTP),
        "inner": Route("inner", Address(host="inner.example", tls=Tls.INTERNAL), (), HTTP),
        "outer": Route("outer", Address(host="outer.example", tls=Tls.ACME), (), HTTP),
    }
    settings = CaddySettings(Path("/state"), acme_directory="https://ca.example/dir", acme_email="a@b.example")
    # when
    apps = edge_config(given_routes, settings)["apps"]
    # then
    assert apps["tls"]["certificates"]["automate"] == ["127.0.0.1", "inner.example", "localhost", "outer.example"]
    public, rest = apps["tls"]["automation"]["policies"]
    assert public["subjects"] == ["outer.example"]
    assert (
        public["issuers"][0].items()
        >= {"module": "acme", "ca": "https://ca.example/dir", "email": "a@b.example"}.items()
    )
    assert rest == {"issuers": [{"module": "internal"}]}
    assert apps["pki"]["certificate_authorities"]["local"]["install_trust"] is False


def test_without_tls_no_authority_is_made():
    assert set(edge_config({"shop": shop()}, SETTINGS)["apps"]) == {"http"}


def test_a_state_directory_with_a_long_path_is_refused():
    with pytest.raises(Invalid, match="too long for a socket"):
        CaddySettings(Path("/" + "x" * 100))
