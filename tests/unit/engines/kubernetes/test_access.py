import pytest
import yaml

from naru.domain.errors import Invalid
from naru.engines.kubernetes.access import access

KUBECONFIG = {
    "current-context": "home",
    "clusters": [{"name": "c", "cluster": {"server": "https://home:6443"}}, {"name": "d", "cluster": {}}],
    "users": [{"name": "u", "user": {"token": "word"}}],
    "contexts": [
        {"name": "home", "context": {"cluster": "c", "user": "u", "namespace": "theirs"}},
        {"name": "away", "context": {"cluster": "d"}},
        {"name": "lost", "context": {"cluster": "nowhere"}},
    ],
}


@pytest.fixture
def kubeconfig(tmp_path):
    path = tmp_path / "with space"
    path.write_text(yaml.safe_dump(KUBECONFIG))
    return path


def test_a_url_names_the_file_the_context_and_the_namespace(kubeconfig):
    found = access(f"kubernetes://{str(kubeconfig).replace(' ', '%20')}?context=away&namespace=shops&volume-size=5Gi")

    assert (found.config.context_name, found.namespace, found.claim_size) == ("away", "shops", "5Gi")


def test_the_current_context_and_our_own_namespace_are_meant_by_silence(kubeconfig, monkeypatch):
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig))

    found = access("kubernetes:")

    assert (found.server, found.namespace) == ("https://home:6443", "naru")
    assert "word" not in repr(found)


@pytest.mark.parametrize(
    ("query", "why"),
    [
        ("?context=other", "other"),
        ("?context=lost", "nowhere"),
        ("?namespace=No_Name", "namespace"),
        ("?names=x", "names"),
    ],
)
def test_what_cannot_be_meant_is_invalid_and_says_why(kubeconfig, query, why):
    with pytest.raises(Invalid, match=why):
        access(f"kubernetes://{kubeconfig}{query}")


@pytest.mark.parametrize("content", [None, "", "[", "clusters: 3", "clusters: [{}]\ncontexts: []"])
def test_a_kubeconfig_that_is_none_is_invalid(tmp_path, content):
    path = tmp_path / "kubeconfig"
    if content is not None:
        path.write_text(content)

    with pytest.raises(Invalid, match="kubeconfig"):
        access(f"kubernetes://{path}")


def test_a_host_in_the_url_is_a_mistake():
    with pytest.raises(Invalid, match="elsewhere"):
        access("kubernetes://elsewhere/config")
