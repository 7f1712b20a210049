"""Where an error becomes a message and an exit status: around every command, of all rooms."""

from collections.abc import Iterator
from contextlib import contextmanager

import typer

from model.errors import FileUnusable, HtavError


@contextmanager
def reported() -> Iterator[None]:
    """Say on stderr what is wrong and what to do, and exit, when the block raises what a user can act on."""
    try:
        try:
            yield
        except OSError as error:
            raise FileUnusable.told_by(error) from error
    except HtavError as error:
        typer.echo(f"error: {error.message}\n{error.hint}".rstrip(), err=True)
        raise SystemExit(error.exit_code) from error
