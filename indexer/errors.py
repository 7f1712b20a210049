"""Errors of the indexer, one class for each thing a caller does differently.

HtavError
└── IndexerError
    ├── StorageError
    │   ├── InsufficientStorage   the disk has no room: stop writing, keep serving (exit 1 for a run, retry later)
    │   └── DataFolderUnusable    the data folder cannot be created or written
    ├── IndexUnusable             nothing can be searched: exit code 3
    │   ├── NothingIndexed        no snapshot was ever published
    │   ├── IndexCorrupt          a digest does not match, or the segments are away
    │   └── CatalogUnusable       the database cannot be opened, is newer than this program or another data folder's
    ├── PathRefused               a path that was given cannot be indexed: nothing was touched
    │   ├── PathNotFound          it does not exist and never did
    │   ├── OutsideMediaRoot      it lies in no folder whose files may be indexed
    │   └── NothingToIndex        there is no media file in it
    ├── LeaseLost                 another worker owns the job now: stop without writing
    └── UnknownJob | UnknownVideo an identifier that the catalog does not hold
"""

from typing import ClassVar

from model.errors import HtavError


class IndexerError(HtavError):
    """Root of everything the indexer raises on purpose."""

    code: ClassVar[str] = "indexer_error"


class StorageError(IndexerError):
    """The data folder cannot take what has to be written."""

    code = "storage_error"


class InsufficientStorage(StorageError):
    """Too little free space: below the floor, and then no byte was written, or refused by the disk itself."""

    code = "insufficient_storage"
    exit_code = 1


class DataFolderUnusable(StorageError):
    """The data folder is missing and cannot be made, or is not writable."""

    code = "data_folder_unusable"


class IndexUnusable(IndexerError):
    """The index cannot answer."""

    code = "index_unusable"
    exit_code = 3


class NothingIndexed(IndexUnusable):
    """No snapshot has been published for this data folder (and fingerprint)."""

    code = "nothing_indexed"


class IndexCorrupt(IndexUnusable):
    """Bytes on disk differ from the digests written with them, cannot be read, or are not there as a whole."""

    code = "index_corrupt"


class CatalogUnusable(IndexUnusable):
    """The catalog's database cannot be opened, read or migrated, or belongs to another data folder."""

    code = "catalog_unusable"


class PathRefused(IndexerError):
    """A path that was asked for cannot be indexed."""

    code = "path_refused"


class PathNotFound(PathRefused):
    """Neither the disk nor the catalog knows the path."""

    code = "path_not_found"


class OutsideMediaRoot(PathRefused):
    """The path, links resolved, lies outside every media root."""

    code = "outside_media_root"


class NothingToIndex(PathRefused):
    """No media file lies there."""

    code = "nothing_to_index"


class LeaseLost(IndexerError):
    """The job belongs to another worker, or to none."""

    code = "lease_lost"


class UnknownJob(IndexerError):
    """No job has this id."""

    code = "unknown_job"


class UnknownVideo(IndexerError):
    """No video has this id."""

    code = "unknown_video"
