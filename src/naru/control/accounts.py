"""Who may act: one admin today, by password, by one-time link, or by API token.

Session ids, links and tokens are random and stored as hashes; the password is stored as Argon2id (RFC 9106).
"""

import asyncio
import hashlib
import hmac
import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError

from naru.control.record import Clock
from naru.domain.account import ApiToken, Subject
from naru.domain.errors import Conflict, Invalid, SignInRequired, Unavailable
from naru.store import Account, Session, Store

ADMIN = "admin"
SESSION_COOKIE = "naru_session"
SESSION_SECONDS = 14 * 86400
LINK = timedelta(minutes=30)
TOKEN_PREFIX = "naru_"  # noqa: S105 - the prefix makes leaked tokens easy to find
MIN_PASSWORD = 10
FAILURES = 5
FAILURE_WINDOW = timedelta(minutes=1)
_MEND = "sign in with the password, or with the link that `naru login-link` prints on the server"


class Accounts:
    """Signs people and programs in."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._hasher = PasswordHasher()
        self._failures: list[datetime] = []

    async def prepare(self) -> None:
        """Make the admin account when it is missing."""
        await self._store.accounts.ensure(Account(ADMIN, self._clock()))

    async def sign_in(self, password: str) -> str:
        """Return a new session's id; raise SignInRequired when the password is wrong, Unavailable after too many."""
        now = self._clock()
        self._failures = [at for at in self._failures if now - at < FAILURE_WINDOW]
        if len(self._failures) >= FAILURES:
            left = (self._failures[0] + FAILURE_WINDOW - now).total_seconds()
            raise Unavailable("too many wrong passwords", f"wait {left:.0f} seconds", retry_after=left)
        account = await self._store.accounts.get(ADMIN)
        if account.password_hash is None:
            raise SignInRequired("no password is set yet", "sign in with the link that `naru login-link` prints")
        if not await asyncio.to_thread(self._verify, account.password_hash, password):
            self._failures.append(now)
            raise SignInRequired("the password is wrong", _MEND)
        return await self._open()

    async def sign_in_by_link(self, code: str) -> str:
        """Use a one-time code up and return a new session's id; raise SignInRequired when it is spent or too old."""
        await self._store.sessions.take_link(code, self._clock())
        return await self._open()

    async def sign_out(self, session: str) -> None:
        """End a session."""
        await self._store.sessions.close(session)

    async def who(self, session: str) -> Subject:
        """Say whose session it is; raise SignInRequired when it is nobody's."""
        if not session:
            raise SignInRequired("nobody is signed in", _MEND)
        return Subject((await self._store.sessions.get(session, self._clock())).account)

    async def who_bears(self, token: str) -> Subject:
        """Say whose API token it is; raise SignInRequired when it is nobody's."""
        found = await self._store.tokens.use(token, self._clock())
        return Subject(found.account, found.name)

    def csrf_token(self, session: str) -> str:
        """Return what a form of this session must carry: it proves that our page sent it."""
        return hmac.new(session.encode(), b"naru csrf", hashlib.sha256).hexdigest()

    async def has_password(self) -> bool:
        """Say whether the admin can sign in with a password."""
        return (await self._store.accounts.get(ADMIN)).password_hash is not None

    async def set_password(self, password: str, *, subject: Subject) -> None:
        """Set the admin's password; raise Invalid for one that is too short."""
        if len(password) < MIN_PASSWORD:
            raise Invalid("the password is too short", f"use at least {MIN_PASSWORD} characters")
        if len(password) > 1024:
            raise Invalid("the password is too long", "use at most 1024 characters")
        await self._store.accounts.set_password(ADMIN, await asyncio.to_thread(self._hasher.hash, password))
        await self._tell(subject, "set the password")

    async def create_token(
        self, name: str, *, expires_at: datetime | None = None, subject: Subject
    ) -> tuple[ApiToken, str]:
        """Make an API token; its value is returned here and nowhere else."""
        if not name or len(name) > 64 or not name.isprintable() or "/" in name:
            raise Invalid("a token's name has 1 to 64 printable characters and no slash", "name what it is for")
        if expires_at is not None and expires_at <= self._clock():
            raise Invalid("the token would have expired already", "choose a later time")
        if name in {token.name for token in await self.tokens()}:
            raise Conflict(f"there is a token {name} already", "choose another name, or revoke it first")
        value = TOKEN_PREFIX + secrets.token_urlsafe(32)
        token = ApiToken(secrets.token_hex(4), name, subject.account, self._clock(), expires_at)
        await self._store.tokens.issue(value, token)
        await self._tell(subject, f"made the API token {name}")
        return token, value

    async def tokens(self) -> Sequence[ApiToken]:
        """List the API tokens without their values."""
        return await self._store.tokens.of(ADMIN)

    async def revoke_token(self, token: str, *, subject: Subject) -> None:
        """Revoke an API token by its id; raise NotFound."""
        await self._store.tokens.revoke(ADMIN, token)
        await self._tell(subject, f"revoked the API token {token}")

    async def login_link(self) -> str:
        """Return a fresh code that signs the admin in once, within half an hour."""
        code = secrets.token_urlsafe(24)
        await self._store.sessions.offer_link(code, ADMIN, self._clock() + LINK)
        return code

    async def _open(self) -> str:
        now = self._clock()
        session = secrets.token_urlsafe(32)
        await self._store.sessions.open(session, Session(ADMIN, now, now + timedelta(seconds=SESSION_SECONDS)))
        await self._tell(Subject(ADMIN), "signed in")
        return session

    def _verify(self, hashed: str, password: str) -> bool:
        try:
            return self._hasher.verify(hashed, password)
        except (Argon2Error, InvalidHashError):
            return False

    async def _tell(self, subject: Subject, text: str) -> None:
        await self._store.journal.append(self._clock(), "", "account", str(subject), text)
