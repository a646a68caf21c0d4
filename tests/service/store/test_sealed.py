"""Secrets and registry logins, encrypted at rest."""

import asyncio
import re
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from tests.service.store.values import MINUTE, NOON

from naru.domain.account import ApiToken, Credentials, RegistryInfo, SecretInfo
from naru.domain.errors import Conflict, Invalid, NotFound
from naru.store import Account, Session, Store, open_store

LOGIN = Credentials("registry.example.org", "kim", "pass \N{KEY} word")


async def test_every_value_put_is_a_new_version(store: Store) -> None:
    assert await store.secrets.put("tls", b"\x00first", "kim", NOON) == 1
    assert await store.secrets.put("tls", b"second", "lee", NOON + MINUTE) == 2
    assert await store.secrets.value("tls", 1) == b"\x00first"
    assert await store.secrets.value("tls") == b"second"
    assert await store.secrets.newest_version("tls") == 2
    assert await store.secrets.all() == [SecretInfo("tls", 1, "kim", NOON), SecretInfo("tls", 2, "lee", NOON + MINUTE)]


async def test_values_put_at_once_get_versions_of_their_own(store: Store) -> None:
    versions = await asyncio.gather(*(store.secrets.put("tls", b"%d" % n, "kim", NOON) for n in range(6)))
    assert sorted(versions) == [1, 2, 3, 4, 5, 6]


async def test_an_unknown_secret_is_not_found(store: Store) -> None:
    await store.secrets.put("tls", b"first", "kim", NOON)
    with pytest.raises(NotFound, match="no secret tls, version 2"):
        await store.secrets.value("tls", 2)
    for question in (store.secrets.value, store.secrets.newest_version, store.secrets.delete):
        with pytest.raises(NotFound, match="no secret other"):
            await question("other")


async def test_a_secret_in_use_is_not_deleted(store: Store) -> None:
    await store.secrets.put("tls", b"first", "kim", NOON)
    with pytest.raises(Conflict, match="in use by shop"):
        await store.secrets.delete("tls", in_use="shop")
    assert await store.secrets.value("tls") == b"first"


async def test_the_version_of_a_deleted_value_never_stands_for_another(store: Store) -> None:
    await store.secrets.put("tls", b"first", "kim", NOON)
    await store.secrets.delete("tls")
    assert await store.secrets.all() == []
    with pytest.raises(NotFound):
        await store.secrets.value("tls", 1)
    assert await store.secrets.put("tls", b"second", "kim", NOON) == 2


async def test_a_registry_has_one_login(store: Store) -> None:
    assert await store.registries.get(LOGIN.registry) is None
    await store.registries.put(Credentials(LOGIN.registry, "lee", "old"), NOON)
    await store.registries.put(LOGIN, NOON + MINUTE)
    assert await store.registries.get(LOGIN.registry) == LOGIN
    assert await store.registries.all() == [RegistryInfo(LOGIN.registry, "kim", NOON + MINUTE)]
    assert "pass" not in re.sub("password", "", repr(LOGIN))
    await store.registries.delete(LOGIN.registry)
    assert await store.registries.get(LOGIN.registry) is None
    with pytest.raises(NotFound):
        await store.registries.delete(LOGIN.registry)


async def test_no_secret_can_be_read_in_the_file(tmp_path: Path, sqlite_url: str, key: bytes) -> None:
    async with open_store(sqlite_url, key) as store:
        await store.secrets.put("tls", b"hidden-value", "kim", NOON)
        await store.registries.put(Credentials("registry.example.org", "kim", "hidden-password"), NOON)
        await store.accounts.ensure(Account("kim", NOON))
        await store.sessions.open("hidden-session", Session("kim", NOON, NOON + MINUTE))
        await store.tokens.issue("hidden-token", ApiToken("t1", "ci", "kim", NOON))
    content = (tmp_path / "naru.db").read_bytes()
    assert b"registry.example.org" in content
    assert b"hidden" not in content


async def test_another_key_is_refused_and_says_what_to_do(url: str, key: bytes) -> None:
    async with open_store(url, key):
        pass
    with pytest.raises(Invalid, match=r"sealed with another key.*start Naru with the key that belongs"):
        async with open_store(url, Fernet.generate_key()):
            pass
    with pytest.raises(Invalid, match="32 random bytes"):
        async with open_store(url, b"short"):
            pass
    async with open_store(url, key) as store:
        assert await store.apps.page() == []
