"""The root of every error HTAV raises on purpose.

HtavError
├── model.*    a checkpoint, a query or a media file cannot be used
├── indexer.*  a file, the disk or the index cannot be used
└── app.*      the command line or the service was asked for something it cannot do

Each error says what is wrong (`message`) and what to do (`hint`), and carries a stable `code` for programs.
This module must stay free of heavy imports: the decoding child processes load it.
"""

from typing import ClassVar


class HtavError(Exception):
    """An error a user can act on.

    `exit_code` is what the command line ends with: 2 for wrong use, 3 for an index or a model that cannot be used, 1
    where work failed that was asked for rightly (docs/errors.md).
    """

    code: ClassVar[str] = "error"
    exit_code: ClassVar[int] = 2

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()
