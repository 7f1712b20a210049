"""Child processes that run modules of this very installation, whatever folder the user stands in.

`python -m` looks into the current folder first: a folder `model`, or a file named like a module of the standard
library, would be run in place of the right one. The folder itself stays, for paths in settings are relative to it.
"""

import os
from collections.abc import Mapping
from pathlib import Path

ROOT = str(Path(__file__).resolve().parents[1])


def ours_first(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment for a child: its modules come from where this one lies, never from the current folder."""
    given = environment.get("PYTHONPATH", "").split(os.pathsep)
    path = os.pathsep.join([ROOT, *filter(None, given)])  # an empty entry would be the current folder
    return {**environment, "PYTHONPATH": path, "PYTHONSAFEPATH": "1"}
