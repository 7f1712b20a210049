"""Which file of which Debian package sounds like what, what one may say of it, and what a teacher may call it.

The tables are the .ini files beside this module.
"""

from configparser import ConfigParser
from importlib.resources import files
from typing import Final, NamedTuple


class Package(NamedTuple):
    """The sounds of one package: their licence, and patterns of files by class."""

    licence: str
    patterns: dict[str, tuple[str, ...]]


def read_table(name: str) -> ConfigParser:
    parser = ConfigParser(delimiters=":", interpolation=None)
    parser.read_string(files("model.data.sources").joinpath(name).read_text(encoding="utf-8"), name)
    return parser


def read_packages(table: ConfigParser) -> dict[str, Package]:
    """A section a package: `licence`, then `class: pattern pattern`."""
    found = {}
    for name in table.sections():
        rows = dict(table[name])
        licence = rows.pop("licence")
        found[name] = Package(licence, {kind: tuple(patterns.split()) for kind, patterns in rows.items()})
    return found


def read_classes(table: ConfigParser, section: str) -> dict[str, tuple[str, ...]]:
    """Lines of `class: one | another`."""
    return {kind: tuple(part.strip() for part in row.split("|")) for kind, row in table[section].items()}


TEXTS: Final = read_classes(read_table("effects_classes.ini"), "texts")
AUDIOSET: Final = read_classes(read_table("effects_teacher.ini"), "audioset")
PACKAGES: Final = read_packages(read_table("effects_files.ini"))
