"""How far two trainings lie apart: `python -m model.evaluation.agreement RUN_A RUN_B`, by their tables of figures.

Both tables are `htav figures`' of the same sets, of two runs of one recipe from two seeds. They agree in a figure when
they are at most 3 points apart, or, where fewer than 250 queries make it, at most 2 standard errors: those of one run's
share of so many queries, sqrt(p (1 - p) / n) at the mean p of both, which asks more than the error of a difference.
"""

import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from model.boundary import reported
from model.errors import HtavError
from model.evaluation.figures import DIGEST, REPORT, ROWS, SCORING, Row, at, command_of, read_report

POINTS: Final = 3.0
ERRORS: Final = 2.0
FEW: Final = 250  # queries, below which luck alone moves a figure by more than POINTS


class IncomparableRuns(HtavError):
    """What was given is not two tables of the same figures."""

    code = "incomparable_runs"


@dataclass(frozen=True)
class Pair:
    """One figure of both runs, in percent, and the number of its queries."""

    command: str
    name: str
    queries: int
    values: tuple[float, float]

    @property
    def apart(self) -> float:
        return abs(self.values[0] - self.values[1])

    @property
    def allowed(self) -> float:
        """How many points apart they may be."""
        mean = sum(self.values) / 2
        error = math.sqrt(mean * (100 - mean) / self.queries)
        return POINTS if self.queries >= FEW else max(POINTS, ERRORS * error)

    @property
    def agrees(self) -> bool:
        return self.apart <= self.allowed


def pairs(first: Mapping[str, Any], second: Mapping[str, Any], rows: Sequence[Row] = ROWS) -> Iterator[Pair]:
    """The figures that both reports hold, in the table's order.

    Raises IncomparableRuns where both are of one checkpoint, or a set's data or the way to score differ between them.
    """
    if first["fingerprint"] == second["fingerprint"]:
        raise IncomparableRuns(f"Both tables are of {first['model']}.", "Give those of two runs.")
    for row in rows:
        command = command_of(row)
        one, other = (report["runs"].get(command, {}) for report in (first, second))
        if one and other and any(one.get(origin) != other.get(origin) for origin in (DIGEST, SCORING)):
            raise IncomparableRuns(f"`{command}` is not made of the same in both.", "Make one of them anew.")
        for figure in row.figures:
            found = at(one, figure.path), at(other, figure.path)
            if found[0] is None or found[1] is None:
                continue
            queries: int = at(one, figure.path.rpartition(".")[0] + ".queries")
            yield Pair(command, figure.name, queries, (found[0]["value"], found[1]["value"]))


def markdown(found: Sequence[Pair]) -> str:
    """A row a figure: both values, and whether they agree."""
    lines = ["| command | figure | queries | one | other | apart | at most | |", "|---|---|---|---|---|---|---|---|"]
    for pair in found:
        one, other = pair.values
        row = f"| `{pair.command}` | {pair.name} | {pair.queries} | {one:.1f} | {other:.1f} | {pair.apart:.1f}"
        lines.append(f"{row} | {pair.allowed:.1f} | {'agree' if pair.agrees else '**differ**'} |")
    differing = sum(not pair.agrees for pair in found)
    return "\n".join([*lines, "", f"{len(found) - differing} of {len(found)} figures agree."]) + "\n"


def main(
    one: Annotated[Path, typer.Argument(help="The folder of a run's `htav figures`.")],
    other: Annotated[Path, typer.Argument(help="That of the other run's.")],
) -> None:
    """Say how far two runs of one recipe lie apart, as a table on stdout."""
    found = list(pairs(_report(one), _report(other)))
    if not found:
        raise IncomparableRuns("The tables have no figure in common.", "Make both of the same sets.")
    sys.stdout.write(markdown(found))


def _report(folder: Path) -> dict[str, Any]:
    try:
        return read_report(folder / f"{REPORT}.json")
    except (OSError, ValueError) as err:
        raise IncomparableRuns(f"{folder} holds no table of figures.", "Make it: `htav figures FOLDER`.") from err


if __name__ == "__main__":
    with reported():
        typer.run(main)
