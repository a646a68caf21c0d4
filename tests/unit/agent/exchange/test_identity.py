from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from naru.agent.exchange.authority import Authority
from naru.agent.exchange.identity import Identity, Member, ask, fingerprint
from naru.agent.exchange.join import found
from naru.agent.exchange.revocations import Revocations
from naru.domain.errors import Conflict, Forbidden, Invalid, NotFound
from naru.domain.membership import Admission, Expulsion, Token

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


def test_a_certificate_is_due_when_half_of_its_time_is_left(authority: Authority, tmp_path: Path) -> None:
    identity = found(tmp_path / "n1", authority, "n1", "edge")
    assert not identity.due(identity.until - timedelta(days=8))
    assert identity.due(identity.until - timedelta(days=6))


def test_a_token_pins_its_authority_and_survives_being_written(authority: Authority, tmp_path: Path) -> None:
    token = authority.token(NOW)
    assert Token.parse(f" {token}\n") == token
    assert token.pins(fingerprint(authority.certificate))
    assert not token.pins(fingerprint(Authority.create(tmp_path / "other", "test", NOW).certificate))
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


def test_a_token_for_one_node_lets_a_second_one_in_no_more(authority: Authority) -> None:
    token = authority.token(NOW, uses=1)
    authority.enrol(token.secret, "edge", ask("n1")[1], NOW)
    with pytest.raises(Forbidden, match="as often as it may"):
        authority.enrol(token.secret, "edge", ask("n2")[1], NOW)


def test_tokens_of_the_control_plane_come_go_and_are_not_used_twice(authority: Authority) -> None:
    token = Token(fingerprint(authority.certificate), "s" * 43)
    admission = Admission(token.hashed, NOW + timedelta(hours=1), uses=1)
    own = authority.token(NOW)
    authority.admit([admission])
    assert authority.spent == ()
    authority.enrol(token.secret, "edge", ask("n1")[1], NOW)
    authority.admit([admission])
    assert authority.spent == (token.hashed,)
    with pytest.raises(Forbidden, match="as often as it may"):
        authority.enrol(token.secret, "edge", ask("n2")[1], NOW)
    authority.admit([])
    with pytest.raises(Forbidden, match="unknown"):
        authority.enrol(token.secret, "edge", ask("n2")[1], NOW)
    assert authority.enrol(own.secret, "edge", ask("n2")[1], NOW)


def serials(encoded: bytes) -> set[int]:
    return {one.serial_number for one in x509.load_der_x509_crl(encoded)}


def serial(certificate: bytes) -> int:
    return x509.load_pem_x509_certificate(certificate).serial_number


def test_all_certificates_of_a_node_that_is_thrown_out_are_listed(authority: Authority, tmp_path: Path) -> None:
    assert authority.revoked == b""
    first = authority.enrol(authority.token(NOW).secret, "edge", ask("n1")[1], NOW)
    second = authority.renew(Member("test", "edge", "n1"), ask("n1")[1], NOW)
    authority.revoke("n1", NOW)
    assert serials(authority.revoked) == {serial(first), serial(second)}
    again = authority.enrol(authority.token(NOW).secret, "edge", ask("n1")[1], NOW)
    assert serial(again) not in serials(authority.revoked)
    with pytest.raises(NotFound):
        authority.revoke("n7", NOW)
    later = NOW + timedelta(days=15)
    authority.revoke("n1", later)
    assert serials(authority.revoked) == {serial(again)}  # expired ones need no list


def test_a_removal_by_the_control_plane_counts_once(authority: Authority) -> None:
    authority.enrol(authority.token(NOW).secret, "edge", ask("n1")[1], NOW)
    removal = Expulsion("n1", NOW)
    assert authority.expel([removal, Expulsion("never-joined", NOW)], NOW)
    again = authority.enrol(authority.token(NOW, node="n1").secret, "edge", ask("n1")[1], NOW)
    assert not authority.expel([removal], NOW)
    assert serial(again) not in serials(authority.revoked)
    assert authority.expel([Expulsion("n1", NOW + timedelta(days=1))], NOW)
    assert serial(again) in serials(authority.revoked)


def test_only_the_newest_list_that_the_authority_signed_counts(authority: Authority, tmp_path: Path) -> None:
    certificates = []
    lists = []
    for name in ("n1", "n2"):
        certificates.append(authority.enrol(authority.token(NOW).secret, "edge", ask(name)[1], NOW))
        authority.revoke(name, NOW)
        lists.append(authority.revoked)
    kept = Revocations(tmp_path / "revoked.crl", authority.certificate)
    assert kept.take(lists[1])
    assert not kept.take(lists[0])
    assert not kept.take(lists[1])
    assert all(serial(one) in kept for one in certificates)
    assert serial(certificates[0]) in Revocations(tmp_path / "revoked.crl", authority.certificate)

    other = Authority.create(tmp_path / "other", "test", NOW)
    other.enrol(other.token(NOW).secret, "edge", ask("n3")[1], NOW)
    for _ in range(3):
        other.enrol(other.token(NOW, node="n3").secret, "edge", ask("n3")[1], NOW)
        other.revoke("n3", NOW)
    with pytest.raises(Invalid, match="not signed"):
        kept.take(other.revoked)
    for forged in (b"", b"nonsense", lists[1][:-1] + b"x"):
        with pytest.raises(Invalid):
            kept.take(forged)
