import pytest

from naru.domain.errors import Conflict, Forbidden, Invalid, NotFound, Unavailable
from naru.engines.dockerapi.errors import OF_A_CONTAINER, OF_A_PULL, absence, refusal


@pytest.mark.parametrize(
    ("status", "message", "kind"),
    [
        (400, 'OCI runtime create failed: exec: "/nope": stat /nope: no such file or directory: unknown', Invalid),
        (500, 'runc create failed: exec: "/nope": executable file not found in $PATH: unknown', Invalid),
        (400, "standard_init_linux.go:228: exec user process caused: exec format error", Invalid),
        (400, 'OCI runtime create failed: exec: "/etc": permission denied: unknown', Invalid),
        (
            500,
            "driver failed programming external connectivity: Bind for 0.0.0.0:80: port is already allocated",
            Conflict,
        ),
        (500, 'the container name "naru-shop-1" is already in use by 3b63', Conflict),
        (500, "write /var/lib/docker/tmp: no space left on device", Unavailable),
        (409, "removal of container is in progress", Conflict),
        (404, "No such container: shop", NotFound),
        (500, "dial unix /run/containerd/containerd.sock: connect: no such file or directory: unknown", Unavailable),
        (500, "something new", Unavailable),
    ],
)
def test_what_is_said_of_containers(status, message, kind):
    error = refusal("docker", status, message, OF_A_CONTAINER)

    assert type(error) is kind
    assert message in error.cause


@pytest.mark.parametrize(
    ("status", "message", "kind"),
    [
        (500, "Get https://r.example.org/v2/: unauthorized: authentication required", Forbidden),
        (500, "Get http://r.example.org/v2/shop/manifests/1: no basic auth credentials", Forbidden),
        (404, "manifest for r.example.org/shop@sha256:77 not found: manifest unknown", NotFound),
        (500, "dial tcp: lookup r.example.org: no such host", Unavailable),
        (0, "failed to register layer: no space left on device", Unavailable),
    ],
)
def test_what_is_said_of_pulls(status, message, kind):
    assert type(refusal("docker", status, message, OF_A_PULL)) is kind


def test_an_absent_engine_says_where_it_was_looked_for_and_how_to_mend_that():
    told = absence("docker", "unix:///run/docker.sock", ConnectionRefusedError(111, "Connect call failed"))
    assert told.cause == "docker does not answer at unix:///run/docker.sock: connection refused"
    assert "group docker" in absence("docker", "unix:///x", PermissionError(13, "Permission denied")).mend
    assert absence("docker", "tcp://x", TimeoutError()).cause == "docker does not answer at tcp://x: TimeoutError"
