"""How long work tells how far it is: it calls what it is given, be that bars (`model.bars`) or nothing."""

from collections.abc import Callable

Progress = Callable[[str, int, int], None]  # what, how much of it is done, of how much
Count = Callable[[int, int], None]  # the same of work that has one thing to do


def silent(_what: str, _done: int, _of: int) -> None:
    """Progress that nobody asked for."""
