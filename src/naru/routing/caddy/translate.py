"""Routes as configurations of the two Caddy processes: pure.

Written for Caddy 2.6 and newer (JSON structure: caddyserver.com/docs/json). Paths of sockets are relative to the
state directory, in which both processes run.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import assert_never

from naru.domain.app import Endpoint
from naru.domain.errors import Conflict, Invalid
from naru.domain.workload import Address, Health, HttpCheck, Tls
from naru.routing.base import Route, Upstream
from naru.routing.caddy.settings import CaddySettings
from naru.routing.weights import in_turn, turns

Json = dict[str, object]

PATIENCE = "5s"
"""How long a request waits for somebody who takes it."""
PARKED = "parked."
"""The switch's server for upstreams that get no new requests but may have some under way. No app's name has a dot."""

_DIAL_TIMEOUT = "1s"
_EDGE_RETRIES = 20
_SWITCH_RETRIES = 1
_KEEP_ALIVE: Json = {"idle_timeout": "4s", "max_idle_conns_per_host": 256}
_SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
# Caddy names itself before a proxied answer may name its server; without this a client would read both.
_ANONYMOUS: Json = {"handler": "headers", "response": {"delete": ["Server"]}}
_PLAIN: Json = {"Content-Type": ["text/plain; charset=utf-8"]}


def endpoint(address: Address, settings: CaddySettings) -> Endpoint:
    """Say where an address is reached; the ports that a browser assumes are left out."""
    scheme, usual = ("http", 80) if address.tls is Tls.OFF else ("https", 443)
    shared = settings.http_port if address.tls is Tls.OFF else settings.https_port
    port = shared if address.host else address.port
    return Endpoint(f"{scheme}://{address.host or settings.machine}{'' if port == usual else f':{port}'}")


def place(address: Address) -> str:
    """Return what only one app can have of an address: its host name or its port."""
    return address.host or f":{address.port}"


def check(route: Route, others: Iterable[Route], settings: CaddySettings) -> None:
    """Raise Invalid when the route's address can never be served, Conflict when another app or the door has it."""
    if not route.address.host and not route.address.port:
        raise Invalid(f"{route.app} has neither a host name nor a port", "give its address one of them")
    if not route.address.host and route.address.port in (settings.http_port, settings.https_port):
        raise Conflict(f"port {route.address.port} is the front door's own", "choose another port, or use a host name")
    for other in others:
        if other.app != route.app and place(other.address) == place(route.address):
            raise Conflict(f"{other.app} already has the address of {route.app}", "choose another address")


def ports(routes: Iterable[Route], settings: CaddySettings) -> frozenset[int]:
    """Return the ports on which the edge listens for these routes."""
    return frozenset(port for route in routes for port in _ports_of(route.address, settings))


def edge_config(routes: Mapping[str, Route], settings: CaddySettings) -> Json:
    """Configure the edge: ports, host names, certificates; it depends on the routes' addresses alone.

    It dials a switch afresh for each request: a reload of the switch closes idle connections, and a request that
    must not be repeated could be on its way into one of them.
    """
    ordered = [routes[app] for app in sorted(routes)]
    servers: Json = {}
    plain, secure = [], []
    for route in ordered:
        address = route.address
        if address.port:
            tls = {} if address.tls is Tls.OFF else {"tls_connection_policies": [{"default_sni": settings.machine}]}
            servers[f"port-{address.port}"] = _server(settings, address.port, [_to_switch(route.app)]) | tls
        elif address.tls is Tls.OFF:
            plain.append(_for_host(address.host, _to_switch(route.app)))
        else:
            plain.append(_for_host(address.host, _redirect(settings)))
            secure.append(_for_host(address.host, _to_switch(route.app)))
    if plain:
        servers["http"] = _server(settings, settings.http_port, [*plain, _unknown()])
    if secure:
        policies: Json = {"tls_connection_policies": [{}]}
        servers["https"] = _server(settings, settings.https_port, [*secure, _unknown()]) | policies
    http: Json = {"http_port": settings.http_port, "https_port": settings.https_port, "servers": servers}
    return _program("edge", settings, {"http": http} | _certificates(ordered, settings))


def switch_config(routes: Mapping[str, Route], parked: Collection[str], settings: CaddySettings) -> Json:
    """Configure the switch: one socket an app, and behind it the app's instances.

    Caddy counts requests under way only to upstreams that its configuration names, so those that just left a
    route stay in it as `parked`, where no request reaches them.
    """
    servers: Json = {app: _switch_server(app, _instances(routes[app])) for app in sorted(routes)}
    if parked:
        dials = [{"dial": address} for address in sorted(parked)]
        servers[PARKED] = _switch_server(PARKED, {"handler": "reverse_proxy", "upstreams": dials})
    return _program("switch", settings, {"http": {"servers": servers}})


def _program(name: str, settings: CaddySettings, apps: Json) -> Json:
    log = {"output": "file", "filename": f"{name}.log", "roll_size_mb": 10, "roll_keep": 2}
    return {
        "admin": {"listen": f"unix/{name}.sock", "origins": ["caddy"], "config": {"persist": False}},
        "logging": {"logs": {"default": {"level": "WARN", "writer": log}}},
        "storage": {"module": "file_system", "root": str(settings.storage)},
        "apps": apps,
    }


def _ports_of(address: Address, settings: CaddySettings) -> tuple[int, ...]:
    if address.port:
        return (address.port,)
    return (settings.http_port,) if address.tls is Tls.OFF else (settings.http_port, settings.https_port)


def _server(settings: CaddySettings, port: int, routes: list[Json]) -> Json:
    interface = f"[{settings.interface}]" if ":" in settings.interface else settings.interface
    return {
        "listen": [f"{interface}:{port}"],
        "protocols": ["h1", "h2"],
        "automatic_https": {"disable": True},
        "read_header_timeout": "30s",
        "routes": routes,
    }


def _for_host(host: str, route: Json) -> Json:
    return {"match": [{"host": [host]}], **route, "terminal": True}


def _redirect(settings: CaddySettings) -> Json:
    port = "" if settings.https_port == 443 else f":{settings.https_port}"
    location = f"https://{{http.request.host}}{port}{{http.request.uri}}"
    return {"handle": [{"handler": "static_response", "status_code": 308, "headers": {"Location": [location]}}]}


def _unknown() -> Json:
    return {"handle": [_answer(404, "No app has this address.")]}


def _answer(status: int | str, text: str) -> Json:
    return {"handler": "static_response", "status_code": status, "headers": _PLAIN, "body": text + "\n"}


def _to_switch(app: str) -> Json:
    proxy: Json = {
        "handler": "reverse_proxy",
        "upstreams": [{"dial": _socket(app)}],
        "transport": {"protocol": "http", "dial_timeout": _DIAL_TIMEOUT, "keep_alive": {"enabled": False}},
        "load_balancing": _patience(_EDGE_RETRIES),
        # It is never taken out of service; its failures are counted for the retries' sake.
        "health_checks": {"passive": {"fail_duration": PATIENCE, "max_fails": 1_000_000}},
    }
    failed = {"routes": [{"handle": [_answer("{http.error.status_code}", f"{app} does not answer.")]}]}
    return {"handle": [{"handler": "subroute", "routes": [{"handle": [_ANONYMOUS, proxy]}], "errors": failed}]}


def _switch_server(app: str, handler: Json) -> Json:
    """Serve an app on its socket; when no instance answers, drop the connection.

    A reload ends a request's wait for an instance. The edge sees the dropped connection, and asks the new
    configuration.
    """
    return {
        "listen": [_socket(app)],
        "automatic_https": {"disable": True},
        "routes": [{"handle": [_ANONYMOUS, handler]}],
        "errors": {"routes": [{"handle": [{"handler": "static_response", "abort": True}]}]},
    }


def _socket(app: str) -> str:
    return f"unix/apps/{app}"


def _instances(route: Route) -> Json:
    upstreams = tuple(upstream for upstream in route.upstreams if upstream.weight > 0)
    if not upstreams:
        return _answer(503, f"{route.app} has no ready instance.")
    dials = _round(upstreams)
    forwarded = ("X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host")
    return {
        "handler": "reverse_proxy",
        "upstreams": [{"dial": address} for address in dials],
        # Many servers close a connection after five idle seconds; we do it first, lest a request runs into that.
        # flush_interval stays unset: -1 ties requests to the configuration, and a reload would cancel them.
        "transport": {"protocol": "http", "dial_timeout": _DIAL_TIMEOUT, "keep_alive": _KEEP_ALIVE},
        "load_balancing": _patience(_SWITCH_RETRIES) | {"selection_policy": {"policy": "round_robin"}},
        # Caddy trusts no forwarding header that comes through a socket without an address: hand on the edge's.
        "headers": {"request": {"set": {name: [f"{{http.request.header.{name}}}"] for name in forwarded}}},
        **_health_checks(route.health, dials),
    }


def _round(upstreams: tuple[Upstream, ...]) -> tuple[str, ...]:
    return in_turn([u.address for u in upstreams], turns([u.weight for u in upstreams]))


def _patience(retries: int) -> Json:
    """Try again when nobody accepted the connection; else only what is safe, while `retries` are not used up.

    An upstream's failures are forgotten after its fail_duration. Without the bound, one request that crashes its
    instance would be carried to the others for as long as it waits.
    """
    used = [str(failures) for failures in range(retries)]
    safe = {"method": list(_SAFE_METHODS), "vars": {"{http.reverse_proxy.upstream.fails}": used}}
    return {"try_duration": PATIENCE, "try_interval": "50ms", "retry_match": [safe]}


def _health_checks(health: Health, dials: tuple[str, ...]) -> Json:
    """Check instances where there is a choice among them.

    The only instance gets every request in any case. Caddy checks each entry of the list for itself, so a list
    with repetitions (a canary's) would multiply the requests: there the engine's own checks decide.
    """
    if len(set(dials)) < 2:
        return {}
    checks: Json = {"passive": {"fail_duration": "1s", "max_fails": 3}}
    match health.check:
        case HttpCheck(path) if len(set(dials)) == len(dials):
            checks["active"] = {"uri": path, "interval": f"{health.interval}s", "timeout": f"{health.timeout}s"}
        case _:
            pass
    return {"health_checks": checks}


def _certificates(routes: Iterable[Route], settings: CaddySettings) -> Json:
    internal: set[str] = set()
    public: set[str] = set()
    for route in routes:
        match route.address.tls:
            case Tls.OFF:
                pass
            case Tls.INTERNAL:
                internal |= {route.address.host} if route.address.host else {settings.machine, "localhost", "127.0.0.1"}
            case Tls.ACME:
                public.add(route.address.host)
            case _:
                assert_never(route.address.tls)
    if not internal | public:
        return {}
    policies: list[Json] = [{"subjects": sorted(public), "issuers": [_acme(settings)]}] if public else []
    policies.append({"issuers": [{"module": "internal"}]})
    authority = {"name": "Naru", "install_trust": False}
    return {
        "pki": {"certificate_authorities": {"local": authority}},
        "tls": {"certificates": {"automate": sorted(internal | public)}, "automation": {"policies": policies}},
    }


def _acme(settings: CaddySettings) -> Json:
    issuer: Json = {
        "module": "acme",
        "challenges": {
            "http": {"alternate_port": settings.http_port},
            "tls-alpn": {"alternate_port": settings.https_port},
        },
    }
    if settings.acme_directory:
        issuer["ca"] = settings.acme_directory
    if settings.acme_email:
        issuer["email"] = settings.acme_email
    if settings.acme_root:
        issuer["trusted_roots_pem_files"] = [str(settings.acme_root.absolute())]
    return issuer
