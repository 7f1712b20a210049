"""Where things that can be made again are kept: decoded media, frozen-trunk features, publishers' weights, token sets.

One place, so that a user who is short of disk can delete one folder and lose nothing but time.
"""

import os
from pathlib import Path


def cache_dir(part: str) -> Path:
    """`$HTAV_CACHE_DIR/part`, else `part` in `htav` of the user's cache, usually `~/.cache`; made when missing."""
    root = os.environ.get("HTAV_CACHE_DIR")
    base = Path(root) if root else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "htav"
    folder = base / part
    folder.mkdir(parents=True, exist_ok=True)
    return folder
