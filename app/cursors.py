"""Where the next page starts: a position in the reranked list of one query on one snapshot.

A cursor names the snapshot, the question and the size of the shortlist, so that page two can only ever continue the
list that page one began: on another snapshot it is refused (410), with another question too (422).
"""

import base64
import binascii
import hashlib
import json
from dataclasses import dataclass
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from app.problems import BadRequest, SnapshotRetired, Unprocessable
from app.schemas import SearchRequest
from app.schemas.search import MAX_SHORTLIST

HINT = "Ask again without a cursor to start from the first page."


class _Content(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    s: str = Field(max_length=64)
    q: str = Field(max_length=64)
    o: int = Field(ge=1, le=MAX_SHORTLIST)
    n: int = Field(ge=1, le=MAX_SHORTLIST)


@dataclass(frozen=True)
class Cursor:
    """`offset` results were shown; the list was reranked from a shortlist of `size`."""

    snapshot: str
    question: str
    offset: int
    size: int

    @classmethod
    def read(cls, request: SearchRequest, snapshot: str) -> Self | None:
        """The request's cursor, checked against the request and the snapshot that is served."""
        if request.cursor is None:
            return None
        try:
            padded = request.cursor + "=" * (-len(request.cursor) % 4)
            content = _Content.model_validate_json(base64.b64decode(padded, altchars=b"-_", validate=True))
        except (binascii.Error, ValidationError, ValueError) as err:
            raise BadRequest("The cursor is not one that this service gave.", HINT, code="cursor_invalid") from err
        if content.q != question_digest(request):
            raise Unprocessable("The cursor belongs to another question.", HINT, code="cursor_mismatch")
        if content.s != snapshot:
            raise SnapshotRetired("The index changed since the page before.", HINT)
        return cls(content.s, content.q, content.o, content.n)

    def write(self) -> str:
        content = {"s": self.snapshot, "q": self.question, "o": self.offset, "n": self.size}
        return base64.urlsafe_b64encode(json.dumps(content, separators=(",", ":")).encode()).decode().rstrip("=")


def question_digest(request: SearchRequest) -> str:
    """What must stay equal from page to page."""
    fields = request.model_dump_json(exclude={"cursor", "explain"})
    return hashlib.blake2b(fields.encode(), digest_size=12).hexdigest()
