"""What we remember: apps, releases, rollouts, events, accounts, secrets and answers.

SQLite by default, PostgreSQL by URL, one behaviour on both. The store keeps values and the rules that only a
database can keep (one live release an app, one unended rollout an app, one holder of a lease); it takes no decision
and knows no clock: see naru.control.
"""

from naru.store.accounts import Account
from naru.store.answers import StoredAnswer
from naru.store.sessions import Session
from naru.store.store import Store, open_store

__all__ = [
    "Account",
    "Session",
    "Store",
    "StoredAnswer",
    "open_store",
]
