"""Alembic's entry: uses the connection that `Catalog.open` gives, or makes one from the settings for `alembic ...`."""

from typing import Literal

from alembic import context
from alembic.autogenerate.api import AutogenContext
from sqlalchemy import Connection, TypeDecorator

from indexer.catalog import make_engine
from indexer.config import IndexSettings
from indexer.tables import Base


def render_item(kind: str, item: object, autogen: AutogenContext) -> str | Literal[False]:  # noqa: ARG001
    """A script outlives our classes, so it names the plain type beneath a decorator."""
    if kind == "type" and isinstance(item, TypeDecorator):
        return f"sa.{item.impl!r}"
    return False


def migrate(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        compare_type=True,
        render_item=render_item,
        render_as_batch=True,
        transactional_ddl=True,
    )
    with context.begin_transaction():
        context.run_migrations()


def main() -> None:
    given: Connection | None = context.config.attributes.get("connection")
    if given is not None:
        migrate(given)
        return
    url = IndexSettings().sqlalchemy_url
    if context.is_offline_mode():
        context.configure(url=url, target_metadata=Base.metadata, literal_binds=True, render_as_batch=True)
        with context.begin_transaction():
            context.run_migrations()
        return
    engine = make_engine(url)
    with engine.connect() as connection:
        migrate(connection)
        connection.commit()
    engine.dispose()


main()
