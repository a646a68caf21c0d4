from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from naru.agent.exchange.identity import Authority, Identity, Member, Token, ask, fingerprint
from naru.agent.exchange.join import found
from naru.domain.errors import Conflict, Forbidden, Invalid, NotFound

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority.create(tmp_path / "authority", "test", NOW)


def test_a_token_lets_a_node_join_until_it_expires(authority: Authority, tmp_path: Path) -> None:
    token = authority.token(NOW, timedelta(hours=1))
    key, request = ask("n1")
    certificate = authority.enrol(token.secret, "edge", request, NOW + timedelta(minutes=59))
    identity = Identity.save(tmp_path / "n1", key, certificate, authority.certificate)
    assert identity.member == Member("test", "edge", "n1")
    assert Identity.load(tmp_path / "n1") == identity
    with pytest.raises(Forbidden, match="expired"):
        authority.enrol(token.secret, "edge", ask("n2")[1], NOW + timedelta(minutes=61))


def test_a_made_up_secret_is_refused_and_no_secret_lies_on_the_disk(authority: Authority, tmp_path: Path) -> None:
    token = authority.token(NOW)
    with pytest.raises(Forbidden):
        authority.enrol("x" * 43, "edge", ask("n1")[1], NOW)
    kept = b"".join(path.read_bytes() for path in (tmp_path / "authority").iterdir())
    assert token.secret.encode() not in kept


def test_the_name_of_a_node_is_taken_until_a_token_is_made_for_it(authority: Authority) -> None:
    authority.enrol(authority.token(NOW).secret, "edge", ask("n1")[1], NOW)
    with pytest.raises(Conflict, match="n1"):
        authority.enrol(authority.token(NOW).secret, "edge", ask("n1")[1], NOW)
    assert authority.enrol(authority.token(NOW, node="n1").secret, "edge", ask("n1")[1], NOW)
    with pytest.raises(Forbidden, match="for the node n1"):
        authority.enrol(authority.token(NOW, node="n1").secret, "edge", ask("n2")[1], NOW)


def test_a_node_renews_its_own_certificate_only(authority: Authority) -> None:
    n1 = Member("test", "edge", "n1")
    assert authority.renew(n1, ask("n1")[1], NOW)
    with pytest.raises(Forbidden):
        authority.renew(n1, ask("n2")[1], NOW)
    with pytest.raises(Forbidden):
        authority.renew(Member("other", "edge", "n1"), ask("n1")[1], NOW)


def test_a_certificate_is_due_when_a_third_of_its_time_is_left(authority: Authority, tmp_path: Path) -> None:
    identity = found(tmp_path / "n1", authority, "n1", "edge")
    assert not identity.due(identity.until - timedelta(days=11))
    assert identity.due(identity.until - timedelta(days=9))


def test_a_token_pins_its_authority_and_survives_being_written(authority: Authority, tmp_path: Path) -> None:
    token = authority.token(NOW)
    assert Token.parse(f" {token}\n") == token
    assert token.pins(authority.certificate)
    assert not token.pins(Authority.create(tmp_path / "other", "test", NOW).certificate)
    for wrong in ("", "naru1.x.y", str(token)[:-1], str(token) + "a"):
        with pytest.raises(Invalid):
            Token.parse(wrong)
    with pytest.raises(Invalid):
        fingerprint(b"no certificate")


@pytest.mark.parametrize("name", ["", "A", "a/b", "a b", "-a", "a" * 64, "a\n"])
def test_names_that_could_be_taken_for_others_are_refused(name: str) -> None:
    with pytest.raises(Invalid):
        Member("test", "edge", name)


def test_keys_are_for_their_owner_only(authority: Authority, tmp_path: Path) -> None:
    found(tmp_path / "n1", authority, "n1", "edge")
    for path in (tmp_path / "authority" / "authority.key", tmp_path / "n1" / "node.pem"):
        assert path.stat().st_mode & 0o077 == 0
    assert (tmp_path / "n1").stat().st_mode & 0o077 == 0


def test_there_is_one_authority_and_it_is_not_made_twice(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        Authority.open(tmp_path / "authority")
    made = Authority.create(tmp_path / "authority", "test", NOW)
    assert Authority.open(tmp_path / "authority").certificate == made.certificate
    with pytest.raises(Conflict):
        Authority.create(tmp_path / "authority", "test", NOW)
