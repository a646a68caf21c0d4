"""What operators type, parsed."""

import contextlib
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from naru.cli import parse
from naru.domain import names
from naru.domain.errors import Invalid
from naru.domain.kind import Autoscale
from naru.domain.workload import Canary, CanaryStep, CommandCheck, HttpCheck, SecretFile, TcpCheck, Volume

NOW = datetime(2026, 1, 2, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "size"),
    [("256M", 256 << 20), ("1.5G", 3 << 29), ("512Ki", 512 << 10), ("1GiB", 1 << 30), ("64kb", 64 << 10), ("10", 10)],
)
def test_sizes_are_powers_of_1024(text, size):
    assert parse.size(text) == size


@pytest.mark.parametrize(
    ("text", "seconds"), [("500ms", 0.5), ("30s", 30), ("10m", 600), ("1h30m", 5400), ("2d", 172800), ("2.5", 2.5)]
)
def test_durations_are_seconds(text, seconds):
    assert parse.duration(text) == seconds


def test_since_is_a_time_ago_or_a_moment():
    assert parse.since("10m", NOW) == NOW - timedelta(minutes=10)
    assert parse.since("60", NOW) == NOW - timedelta(minutes=1)
    assert parse.since("2026-01-01T10:00:00Z", NOW) == datetime(2026, 1, 1, 10, tzinfo=UTC)
    assert parse.since("2026-01-01", NOW) == datetime(2026, 1, 1, tzinfo=UTC)


def test_a_variable_without_a_value_takes_ours():
    assert parse.environment(["A=1=2", "B"], {"B": "3"}) == {"A": "1=2", "B": "3"}


def test_an_environment_file_has_comments_and_blank_lines():
    assert parse.environment_file("# hello\n\nA=1\n B = x y\n") == {"A": "1", "B": " x y"}


def test_volumes_and_secrets_are_names_and_paths():
    assert parse.volume("data:/var/lib") == Volume("data", "/var/lib")
    assert parse.volume("data:/var/lib:ro") == Volume("data", "/var/lib", read_only=True)
    assert parse.secret("key:/run/key") == SecretFile("key", "/run/key")
    assert parse.secret("key@3:/run/key") == SecretFile("key", "/run/key", 3)


def test_health_is_a_request_a_connection_or_a_command():
    assert parse.health("http:/ready?x=1:2") == HttpCheck("/ready?x=1:2")
    assert parse.health("http") == HttpCheck("/")
    assert parse.health("tcp") == TcpCheck()
    assert parse.health("cmd:sh -c 'exit 0'") == CommandCheck(("sh", "-c", "exit 0"))


def test_canary_steps_are_percents_and_times():
    assert parse.canary("10:30s, 50%:1m") == Canary((CanaryStep(10, 30), CanaryStep(50, 60)))
    assert parse.canary("25") == Canary((CanaryStep(25, 10),))


@pytest.mark.parametrize(
    ("image", "name"),
    [
        ("nginx", "nginx"),
        ("nginx:1.27", "nginx"),
        ("registry.example.org:5000/team/My_Shop.web:v2", "my-shop-web"),
        ("shop@sha256:" + "0" * 64, "shop"),
        ("127.0.0.1:5000/2048", "app-2048"),
        ("x/" + "a" * 60, "a" * 40),
    ],
)
def test_an_app_is_named_after_its_image(image, name):
    assert parse.app_name(image) == name


@given(st.text(min_size=1))
def test_every_image_gives_a_name_that_an_app_may_have(image):
    assert names.label(parse.app_name(image), "an app")


PARSERS = (
    parse.size,
    parse.duration,
    lambda text: parse.since(text, NOW),
    lambda text: parse.environment([text], {}),
    parse.environment_file,
    parse.volume,
    parse.secret,
    parse.health,
    parse.words,
    parse.canary,
    lambda text: parse.headers([text]),
    lambda text: parse.expected_json([text]),
)


@given(st.sampled_from(PARSERS), st.text(max_size=30) | st.text("0123456789.:=msdhkMG@%,/ -TZ'", max_size=30))
def test_whatever_is_typed_is_understood_or_refused(parser, text):
    with contextlib.suppress(Invalid):
        parser(text)


@pytest.mark.parametrize(
    ("parser", "text"),
    [
        (parse.size, "many"),
        (parse.size, "-1M"),
        (parse.size, ""),
        (parse.duration, "soon"),
        (parse.duration, "10m x"),
        (PARSERS[2], "yesterday"),
        (PARSERS[2], "99999999d"),
        (parse.volume, "data"),
        (parse.volume, "data:/x:rx"),
        (parse.secret, "key@x:/run/key"),
        (parse.health, "tcp:80"),
        (parse.health, "/ready"),
        (parse.words, "sh -c 'oops"),
        (parse.canary, "ten:30s"),
        (PARSERS[-2], "no colon"),
        (PARSERS[-1], "ready"),
    ],
)
def test_nonsense_is_refused(parser, text):
    with pytest.raises(Invalid) as refusal:
        parser(text)
    assert refusal.value.mend


@pytest.mark.parametrize(("text", "bounds"), [("1:4", Autoscale(1, 4)), ("2:9:70", Autoscale(2, 9, 70))])
def test_bounds_of_an_autoscaled_app_are_read(text: str, bounds: Autoscale):
    assert parse.autoscale(text) == bounds


@pytest.mark.parametrize("text", ["", "4", "1:", ":4", "1:4:", "1:4:70:2", "a:b", "-1:4", "1.5:4", "²:4"])
def test_bounds_that_are_none_are_refused(text: str):
    with pytest.raises(Invalid, match="from how many"):
        parse.autoscale(text)
