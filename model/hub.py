"""The model hub, asked once and with a limit; where it does not answer, what its cache holds.

The hub's own client asks again for half a minute when there is no network; its snapshot download sets no limit at all.
"""

import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path

from huggingface_hub import HfApi, hf_hub_download
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, HFValidationError

PATIENCE_S = 5.0
# Whichever HTTP client this version uses: requests' errors are OSErrors, those of httpx are not.
_TRANSPORT_ERRORS = (sys.modules[name].HTTPError for name in ("httpx", "httpx2") if name in sys.modules)
HUB_ERRORS: tuple[type[Exception], ...] = (HfHubHTTPError, HFValidationError, OSError, *_TRANSPORT_ERRORS)


def fetch(repository: str, files: Sequence[str], optional: Sequence[str] = (), *, revision: str | None = None) -> Path:
    """The folder with `files` of one commit of a repository, `revision` or its newest; `optional` ones may be lacking.

    Raises HUB_ERRORS.
    """
    try:
        revision, offline = HfApi().model_info(repository, revision=revision, timeout=PATIENCE_S).sha, False
    except HUB_ERRORS:
        offline = True

    def fetched(file: str) -> Path:
        found = hf_hub_download(repository, file, revision=revision, local_files_only=offline, etag_timeout=PATIENCE_S)
        return Path(found)

    folders = [fetched(file).parent for file in files]
    for file in optional:
        with contextlib.suppress(EntryNotFoundError):
            fetched(file)
    return folders[0]
