"""Accounts, sessions, login links and API tokens."""

import asyncio
from dataclasses import replace

import pytest
from tests.service.store.values import MINUTE, NOON

from naru.domain.account import ApiToken
from naru.domain.errors import NotFound, SignInRequired
from naru.store import Account, Session, Store

ADMIN = Account("admin", NOON)
SESSION = Session("admin", NOON, NOON + MINUTE)
TOKEN = ApiToken("t1", "ci", "admin", NOON)


@pytest.fixture
async def admin(store: Store) -> Account:
    return await store.accounts.ensure(ADMIN)


async def test_an_account_is_made_once_and_kept(store: Store, admin: Account) -> None:
    await store.accounts.set_password("admin", "$argon2id$…")
    kept = await store.accounts.ensure(Account("admin", NOON + MINUTE, "another"))
    assert kept == replace(admin, password_hash="$argon2id$…")
    assert await store.accounts.get("admin") == kept
    assert await store.accounts.all() == [kept]
    assert "argon2id" not in repr(kept)


async def test_an_unknown_account_is_not_found(store: Store) -> None:
    with pytest.raises(NotFound, match="no account kim"):
        await store.accounts.get("kim")
    with pytest.raises(NotFound, match="no account kim"):
        await store.accounts.set_password("kim", "hash")
    with pytest.raises(NotFound, match="no account admin"):
        await store.sessions.open("secret", SESSION)
    with pytest.raises(NotFound, match="no account admin"):
        await store.sessions.offer_link("secret", "admin", NOON)
    with pytest.raises(NotFound, match="no account admin"):
        await store.tokens.issue("secret", TOKEN)


@pytest.mark.usefixtures("admin")
async def test_a_session_lasts_until_its_time_is_over(store: Store) -> None:
    await store.sessions.open("secret", SESSION)
    assert await store.sessions.get("secret", NOON) == SESSION
    with pytest.raises(SignInRequired):
        await store.sessions.get("secret", NOON + MINUTE)
    with pytest.raises(SignInRequired):
        await store.sessions.get("guess \ud800\0", NOON)


@pytest.mark.usefixtures("admin")
async def test_signing_out_ends_one_session_or_all_of_them(store: Store) -> None:
    for secret in ("one", "two", "three"):
        await store.sessions.open(secret, SESSION)
    await store.sessions.offer_link("link", "admin", NOON + MINUTE)
    await store.sessions.close("one")
    with pytest.raises(SignInRequired):
        await store.sessions.get("one", NOON)
    assert await store.sessions.get("two", NOON) == SESSION
    await store.sessions.close_all("admin")
    with pytest.raises(SignInRequired):
        await store.sessions.get("two", NOON)
    with pytest.raises(SignInRequired):
        await store.sessions.take_link("link", NOON)


@pytest.mark.usefixtures("admin")
async def test_a_login_link_works_once_however_many_use_it_at_once(store: Store) -> None:
    await store.sessions.offer_link("link", "admin", NOON + MINUTE)
    outcomes = await asyncio.gather(*(store.sessions.take_link("link", NOON) for _ in range(5)), return_exceptions=True)
    assert [outcome for outcome in outcomes if outcome == "admin"] == ["admin"]
    assert sum(isinstance(outcome, SignInRequired) for outcome in outcomes) == 4


@pytest.mark.usefixtures("admin")
async def test_a_login_link_works_in_time_only(store: Store) -> None:
    await store.sessions.offer_link("link", "admin", NOON + MINUTE)
    with pytest.raises(SignInRequired):
        await store.sessions.take_link("link", NOON + MINUTE)


@pytest.mark.usefixtures("admin")
async def test_sweeping_forgets_what_is_over_and_nothing_else(store: Store) -> None:
    await store.sessions.open("old", SESSION)
    await store.sessions.open("new", replace(SESSION, expires_at=NOON + 2 * MINUTE))
    await store.sessions.offer_link("link", "admin", NOON + 2 * MINUTE)
    await store.sessions.sweep(NOON + MINUTE)
    with pytest.raises(SignInRequired):
        await store.sessions.get("old", NOON)
    assert (await store.sessions.get("new", NOON)).account == "admin"
    assert await store.sessions.take_link("link", NOON) == "admin"


@pytest.mark.usefixtures("admin")
async def test_a_token_signs_in_and_its_use_is_noted_to_a_minute(store: Store) -> None:
    await store.tokens.issue("secret", TOKEN)
    assert await store.tokens.use("secret", NOON) == TOKEN
    assert await store.tokens.of("admin") == [replace(TOKEN, last_used_at=NOON)]
    await store.tokens.use("secret", NOON + MINUTE / 2)
    assert await store.tokens.of("admin") == [replace(TOKEN, last_used_at=NOON)]
    await store.tokens.use("secret", NOON + MINUTE)
    assert await store.tokens.of("admin") == [replace(TOKEN, last_used_at=NOON + MINUTE)]


@pytest.mark.usefixtures("admin")
async def test_a_token_that_is_too_old_or_revoked_signs_nobody_in(store: Store) -> None:
    await store.tokens.issue("short", replace(TOKEN, id="t2", expires_at=NOON + MINUTE))
    await store.tokens.issue("long", TOKEN)
    assert (await store.tokens.use("short", NOON)).id == "t2"
    with pytest.raises(SignInRequired):
        await store.tokens.use("short", NOON + MINUTE)
    with pytest.raises(NotFound):
        await store.tokens.revoke("kim", "t1")
    await store.tokens.revoke("admin", "t1")
    with pytest.raises(SignInRequired):
        await store.tokens.use("long", NOON)
    with pytest.raises(NotFound):
        await store.tokens.revoke("admin", "t1")
