"""API keys, optional: asked for once one was made or when the settings say so; off on a fresh localhost.

Revoking the last key does not open the service again: who revokes a key wants to shut somebody out, not let all in.

A key is 32 random bytes shown once; the catalog keeps its SHA-256 (a key has no dictionary to attack, so no slow hash
is needed) and its scopes: `search` reads, `index` adds and changes, `admin` deletes and may do everything.
"""

import hashlib
import hmac
import secrets
import threading
import time
from dataclasses import dataclass
from typing import Literal, get_args

from sqlalchemy import select

from app.problems import Forbidden, RateLimited, Unauthorized, Unprocessable
from indexer.catalog import ApiKey, Catalog, now

Scope = Literal["search", "index", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
PREFIX = "htav_"
REFRESH_S = 5.0


@dataclass(frozen=True)
class Key:
    name: str
    digest: bytes
    scopes: frozenset[str]

    def may(self, scope: Scope) -> bool:
        return "admin" in self.scopes or scope in self.scopes


def digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


def add_key(catalog: Catalog, name: str, scopes: list[Scope]) -> str:
    """Make a key and return it: the only time that it is seen. It may have the name of a revoked one."""
    key = PREFIX + secrets.token_urlsafe(32)
    with catalog.transaction() as session:
        row = session.scalar(select(ApiKey).where(ApiKey.name == name))
        if row is None:
            row = ApiKey(name=name)
            session.add(row)
        elif row.revoked_at is None:
            hint = "Choose another name, or revoke that key first."
            raise Unprocessable(f"There is a key named {name!r} already.", hint, code="key_exists")
        row.digest, row.scopes, row.created_at, row.revoked_at = digest(key), list(scopes), now(), None
    return key


def revoke_key(catalog: Catalog, name: str) -> None:
    with catalog.transaction() as session:
        row = session.scalar(select(ApiKey).where(ApiKey.name == name, ApiKey.revoked_at.is_(None)))
        if row is None:
            raise Unprocessable(f"There is no key named {name!r}.", "`htav key list` shows them.", code="unknown_key")
        row.revoked_at = now()


def list_keys(catalog: Catalog) -> list[ApiKey]:
    with catalog.session() as session:
        return list(session.scalars(select(ApiKey).where(ApiKey.revoked_at.is_(None)).order_by(ApiKey.name)))


def keys_were_made(catalog: Catalog) -> bool:
    """Whether there is or was a key."""
    with catalog.session() as session:
        return session.scalar(select(ApiKey.id).limit(1)) is not None


class TokenBucket:
    """`per_minute` requests, in bursts of at most as many. Per process, which the documentation says."""

    def __init__(self, per_minute: int) -> None:
        self._capacity = float(per_minute)
        self._rate = per_minute / 60
        self._tokens = float(per_minute)
        self._at = time.monotonic()

    def take(self) -> float:
        """0 when the request may pass, else the seconds until it may."""
        at = time.monotonic()
        self._tokens = min(self._capacity, self._tokens + (at - self._at) * self._rate)
        self._at = at
        if self._tokens < 1:
            return (1 - self._tokens) / self._rate
        self._tokens -= 1
        return 0.0


class Guard:
    """Decides about requests. Keys are read from the catalog at most every few seconds, so a revoked one dies soon."""

    def __init__(self, catalog: Catalog, *, required: bool | None, requests_per_minute: int) -> None:
        self._catalog = catalog
        self._required = required
        self._per_minute = requests_per_minute
        self._keys: list[Key] = []
        self._used = False
        self._read_at = -REFRESH_S
        self._buckets: dict[bytes, TokenBucket] = {}
        self._lock = threading.Lock()

    def keys(self) -> list[Key]:
        with self._lock:
            if time.monotonic() - self._read_at >= REFRESH_S:
                rows = list_keys(self._catalog)
                self._keys = [Key(row.name, row.digest, frozenset(row.scopes)) for row in rows]
                self._used = bool(rows) or keys_were_made(self._catalog)
                self._read_at = time.monotonic()
            return self._keys

    @property
    def active(self) -> bool:
        """Whether a key is asked for now."""
        if self._required is not None:
            return self._required
        return bool(self.keys()) or self._used

    def check(self, presented: str | None, scope: Scope) -> Key | None:
        """The key that may do this, or None where none is asked for."""
        if not self.active:
            return None
        keys = self.keys()
        if presented is None:
            raise Unauthorized(
                "An API key is needed.", "Send it in the X-API-Key header; make one with `htav key add`."
            )
        offered = digest(presented)
        # Every key is compared, so that the time taken tells nothing.
        matching = [key for key in keys if hmac.compare_digest(key.digest, offered)]
        if not matching:
            raise Unauthorized("The API key is not known.", "`htav key list` shows the keys that are.")
        key = matching[0]
        if not key.may(scope):
            raise Forbidden(f"The API key lacks the scope {scope!r}.", "Use a key made with that scope.")
        with self._lock:
            wait_s = self._buckets.setdefault(key.digest, TokenBucket(self._per_minute)).take()
        if wait_s:
            raise RateLimited(
                f"This key may ask {self._per_minute} times a minute.",
                "Ask less often.",
                headers={"Retry-After": str(int(wait_s) + 1)},
            )
        return key
