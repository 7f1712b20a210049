"""Identifiers that sort by the time they were made: names of segments, snapshots and jobs."""

import secrets
import time

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
LENGTH = 26


def new_ulid() -> str:
    """48 bits of milliseconds, then 80 random bits, in Crockford's base 32."""
    value = (time.time_ns() // 1_000_000) << 80 | secrets.randbits(80)
    return "".join(ALPHABET[value >> shift & 31] for shift in range(125, -5, -5))


def is_ulid(text: str) -> bool:
    return len(text) == LENGTH and set(text) <= set(ALPHABET)
