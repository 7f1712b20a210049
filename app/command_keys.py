"""`htav key`: the catalog side of the commands."""

from collections.abc import Sequence
from contextlib import closing
from typing import cast

from app import security
from app.config import Settings
from app.problems import Unprocessable
from indexer.catalog import ApiKey, Catalog


def add(name: str, scopes: Sequence[str]) -> str:
    if not name.strip():
        raise Unprocessable("A key needs a name.", "Say what it is for: it is revoked by that name.")
    unknown = [scope for scope in scopes if scope not in security.SCOPES]
    if unknown:
        raise Unprocessable(f"There is no scope {unknown[0]!r}.", f"Scopes: {', '.join(security.SCOPES)}.")
    with closing(Catalog.open(Settings())) as catalog:
        return security.add_key(catalog, name, cast(list[security.Scope], list(scopes)))


def listed() -> list[ApiKey]:
    with closing(Catalog.open(Settings())) as catalog:
        return security.list_keys(catalog)


def revoke(name: str) -> bool:
    """Whether any key is left."""
    with closing(Catalog.open(Settings())) as catalog:
        security.revoke_key(catalog, name)
        return bool(security.list_keys(catalog))
