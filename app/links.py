"""Addresses of media that carry their own permission, for services that ask for keys.

A picture or a player in a page cannot send a header. What a search answers is therefore signed: whoever was allowed
to search may look at what was found, for an hour or two. The secret is this process's own, so links end with it.
"""

import hashlib
import hmac
import secrets
import time
from collections.abc import Sequence
from urllib.parse import urlencode

from app.schemas import Moment, SearchResult, SimilarResult

PERIOD_S = 3600


class Links:
    """Signs and checks links to the media of one video."""

    def __init__(self) -> None:
        self._secret = secrets.token_bytes(32)

    def query(self, video_id: str) -> str:
        """The query that opens a video's stream and thumbnails; equal for an hour, so that browsers may cache."""
        expires = (int(time.time()) // PERIOD_S + 2) * PERIOD_S
        return urlencode({"expires": expires, "signature": self._signature(video_id, expires)})

    def opens(self, video_id: str, expires: int, signature: str) -> bool:
        right = self._signature(video_id, expires)
        return hmac.compare_digest(right.encode(), signature.encode("utf-8", "replace")) and time.time() < expires

    def sign(self, results: Sequence[SearchResult | SimilarResult]) -> None:
        """Add the permission to every address in these results."""
        for result in results:
            query = self.query(str(result.video_id))
            result.moments = [_signed(moment, query) for moment in result.moments]

    def _signature(self, video_id: str, expires: int) -> str:
        return hmac.new(self._secret, f"{video_id}:{expires}".encode(), hashlib.sha256).hexdigest()


def _signed(moment: Moment, query: str) -> Moment:
    stream, fragment = moment.stream_url.split("#", 1)
    addresses = {"thumbnail_url": f"{moment.thumbnail_url}&{query}", "stream_url": f"{stream}?{query}#{fragment}"}
    return moment.model_copy(update=addresses)
