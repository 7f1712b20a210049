"""The root of every error HTAV raises on purpose.

HtavError
├── FileUnusable  the system refused a file that a command needs
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


class FileUnusable(HtavError):
    """The system refused a file or a folder that a command needs."""

    code: ClassVar[str] = "file_unusable"
    exit_code: ClassVar[int] = 1

    @classmethod
    def told_by(cls, error: OSError) -> "FileUnusable":
        """Of what the system says of a file. Raises the error itself where it names none: that is no user's matter."""
        if error.filename is None:
            raise error
        return cls(
            f"{error.filename}: {error.strerror}.", "Check that it is there, and that you may read and write it."
        )
