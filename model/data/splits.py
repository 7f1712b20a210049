"""Splits that follow from a name alone, so that an item never moves from one to another."""

import hashlib


def share_of(name: str) -> float:
    """A number in [0, 1) that depends on `name` alone, the same in every run: 0.1 of all names lie below 0.1."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:6]) / 2**48
