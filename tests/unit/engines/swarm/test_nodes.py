"""Which engines a swarm's URL names."""

import pytest

from naru.domain.errors import Invalid
from naru.engines.swarm.nodes import engine_urls


@pytest.mark.parametrize(
    ("url", "engines"),
    [
        ("swarm+unix:///var/run/docker.sock", ("unix:///var/run/docker.sock",)),
        (
            "swarm+tcp://10.0.0.8:2375?node=tcp://10.0.0.9:2375&node=unix:///run/n3.sock",
            ("tcp://10.0.0.8:2375", "tcp://10.0.0.9:2375", "unix:///run/n3.sock"),
        ),
    ],
)
def test_a_url_names_the_manager_and_other_nodes(url, engines):
    assert engine_urls(url) == engines


@pytest.mark.parametrize("asked", ["nodes=2375", "node=", "node=10.0.0.9:2375", "node=tcp://a:1&x=1"])
def test_what_means_nothing_behind_the_question_mark_is_refused_with_the_form(asked):
    with pytest.raises(Invalid, match="means nothing here") as refusal:
        engine_urls(f"swarm+tcp://10.0.0.8:2375?{asked}")

    assert "node=tcp://HOST:PORT" in refusal.value.mend
