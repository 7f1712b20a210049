"""What this is: version and licences, for the command line and the service."""

from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed

CODE_LICENCE = "Apache-2.0"
WEIGHTS_LICENCE = "LICENSE-WEIGHTS (non-commercial research and education)"


def version() -> str:
    try:
        return installed("htav")
    except PackageNotFoundError:
        return "0+uninstalled"
