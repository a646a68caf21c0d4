"""Which server, and as whom."""

import pytest

from naru.cli.settings import ClientSettings, Stored, choose, config_file, load, store
from naru.domain.errors import Invalid

LOCAL = ClientSettings("http://127.0.0.1:7070", "local")
ELSEWHERE = Stored("https://naru.example.org", "stored-token")


def test_the_environment_goes_before_what_was_stored():
    environ = {"NARU_URL": "https://other.example.org", "NARU_TOKEN": "mine"}
    assert choose(environ, ELSEWHERE, LOCAL) == ClientSettings("https://other.example.org", "mine")


def test_what_was_stored_goes_before_the_server_of_this_machine():
    assert choose({}, ELSEWHERE, LOCAL) == ClientSettings(ELSEWHERE.url, ELSEWHERE.token)


def test_without_a_sign_in_the_server_of_this_machine_is_asked_with_its_own_token():
    assert choose({}, None, LOCAL) == LOCAL


@pytest.mark.parametrize("stored", [None, ELSEWHERE])
def test_a_token_is_never_sent_to_another_server(stored):
    environ = {"NARU_URL": "https://evil.example.org"}
    assert choose(environ, stored, LOCAL) == ClientSettings("https://evil.example.org", "")


def test_what_login_stores_only_its_owner_reads_and_load_finds(tmp_path):
    environ = {"XDG_CONFIG_HOME": str(tmp_path), "NARU_STATE": str(tmp_path / "none")}
    path = store(environ, Stored("http://[::1]:7070", 'a"b\\c'))
    assert path == config_file(environ)
    assert path.stat().st_mode & 0o777 == 0o600
    assert [file.name for file in path.parent.iterdir()] == ["config.toml"]
    assert load(environ) == ClientSettings("http://[::1]:7070", 'a"b\\c')


def test_the_local_token_is_read_from_the_state_directory(tmp_path):
    (tmp_path / "cli-token").write_text("secret\n")
    environ = {"XDG_CONFIG_HOME": str(tmp_path), "NARU_STATE": str(tmp_path)}
    assert load(environ) == ClientSettings(LOCAL.url, "secret")


@pytest.mark.parametrize("content", ["url =", "url = 'x'", "\xff\x00"])
def test_a_broken_file_says_how_to_make_another(tmp_path, content):
    environ = {"XDG_CONFIG_HOME": str(tmp_path)}
    config_file(environ).parent.mkdir()
    config_file(environ).write_bytes(content.encode("latin-1"))
    with pytest.raises(Invalid) as raised:
        load(environ)
    assert "naru login" in raised.value.mend


def test_a_token_with_a_line_break_is_refused(tmp_path):
    with pytest.raises(Invalid):
        store({"XDG_CONFIG_HOME": str(tmp_path)}, Stored("http://a", "one\ntwo"))
