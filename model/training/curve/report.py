"""The tables and the pictures of a learning curve, and the lines through it."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from model.durable import replace_text
from model.training.curve.held_out import CUTS, GOALS
from model.training.curve.lessons import PARTS
from model.training.curve.run import RESULTS, Row

FITTED: Final = PARTS[1:]  # that the line goes through
Series = dict[str, list[Row]]  # runs that differ along the axis alone, by what they share


class Axis(NamedTuple):
    """What there is more of: the fields of a run with its part and how many that is, and what a picture calls it."""

    part: str
    size: str
    label: str


AXES: Final = {
    "photographs": Axis("part", "photographs", "training photographs"),
    "names": Axis("names", "classes", "names of ImageNet's classes taught"),
}


def series(rows: Sequence[Row]) -> dict[str, Series]:
    """The runs along each axis, by what is alike in them."""
    whole, plain = PARTS[-1], [row for row in rows if not row["names"]]
    named = [row for row in rows if row["names"] == whole]
    all_shown = [row for row in rows if row["part"] == whole and row["names"]]
    return {
        "photographs": {"without names": plain, "with all names": named},
        "names": {"with all photographs": all_shown},
    }


def fitted(rows: Sequence[Row]) -> list[Row]:
    """The least-squares line of each recall on log2 of the photographs, or of the names, through the last three parts.

    `slope`: points a doubling; `whole`: of all there are; `needed`: how many for the goal, None beyond a billion.
    """
    lines = []
    for axis, kind, found in [(axis, *one) for axis, kinds in series(rows).items() for one in kinds.items()]:
        last = [row for row in found if row[AXES[axis].part] in FITTED]
        x = np.log2([row[AXES[axis].size] for row in last])
        if len(set(x.tolist())) < 2:  # no line
            continue
        for measure, cut in ((measure, cut) for measure in GOALS for cut in CUTS):
            y, goal = [row["recalls"][measure][cut] for row in last], GOALS[measure][cut]
            slope, start = (round(float(value), 6) for value in np.polyfit(x, y, 1))
            doublings = (goal - start) / slope if slope > 0 else np.inf
            line = {"axis": axis, "series": kind, "measure": measure, "cut": cut, "goal": goal, "slope": slope}
            whole = round(float(slope * x.max() + start), 3)
            lines.append(line | {"whole": whole, "needed": round(2**doublings) if doublings < 30 else None})
    return lines


def write_report(rows: Sequence[Row], out: Path) -> str:
    """`curve.md` and a picture an axis in `out`, and the lines into its `curve.json`; the tables are returned."""
    lines = fitted(rows)
    text = [f"| photographs | names | {' | '.join(GOALS)} |", f"|---|---|{'---|' * len(GOALS)}"]
    for photographs, classes in sorted({(row["photographs"], row["classes"]) for row in rows}):
        found = [row for row in rows if (row["photographs"], row["classes"]) == (photographs, classes)]
        cells = [_cell([row["recalls"][measure] for row in found]) for measure in GOALS]
        text.append(f"| {photographs:,} | {classes:,} | {' | '.join(cells)} |")
    text += ["", "R@1 / R@10 in percent: the mean over seeds (each seed). The lines through the last three parts:", ""]
    text += ["| axis, runs | figure | a doubling | line at the whole | goal | needed for the goal |", "|---" * 6 + "|"]
    for line in lines:
        needed = "over a billion" if line["needed"] is None else f"{float(format(line['needed'], '.3g')):,.0f}"
        figure = f"{line['axis']}, {line['series']} | {line['measure']}, {CUTS[line['cut']]}"
        text.append(f"| {figure} | {line['slope']:+.2f} | {line['whole']:.1f} | {line['goal']:g} | {needed} |")
    table = "\n".join(text) + "\n"
    replace_text(out / RESULTS, json.dumps(json.loads((out / RESULTS).read_text()) | {"lines": lines}, indent=1) + "\n")
    (out / "curve.md").write_text(table, encoding="utf-8")
    for axis in AXES:
        _draw(rows, [line for line in lines if line["axis"] == axis], axis, out / f"curve-{axis}.png")
    return table


def _cell(recalls: Sequence[dict[str, float]]) -> str:
    """Mean R@1 / R@10, and each seed's."""
    values = np.asarray([[one[cut] for cut in CUTS] for one in recalls])
    mean, *seeds = (" / ".join(f"{value:.1f}" for value in row) for row in (values.mean(axis=0), *values))
    return f"{mean} ({', '.join(seeds)})"


def _draw(rows: Sequence[Row], lines: Sequence[Row], axis: str, path: Path) -> None:
    """A row a cut, a column a measure. Dots are seeds, dotted the line, up to four times what there is."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 6.5), layout="constrained")
    grid = figure.subplots(len(CUTS), len(GOALS), sharex=True)
    count, kinds = AXES[axis].size, series(rows)[axis]
    for line in lines:
        shown, measure, cut = kinds[line["series"]], line["measure"], line["cut"]
        axes = grid[list(CUTS).index(cut)][list(GOALS).index(measure)]
        colour = f"C{list(kinds).index(line['series'])}"
        sizes = sorted({row[count] for row in shown})
        found = [[row["recalls"][measure][cut] for row in shown if row[count] == size] for size in sizes]
        axes.plot(sizes, [np.mean(seeds) for seeds in found], color=colour, label=line["series"])
        axes.plot(sizes, found, ".", color=colour)
        axes.plot([sizes[-1] / 4, sizes[-1] * 4], line["whole"] + line["slope"] * np.array([-2, 2]), ":", color=colour)
        axes.axhline(line["goal"], color="0.4", linestyle="--", linewidth=1)
        axes.set_xscale("log", base=2)
        axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
        axes.set_title(f"{measure}: {CUTS[cut]}, %; dashed: the goal", fontsize=9)
    figure.supxlabel(AXES[axis].label)
    grid[0][0].legend()
    figure.savefig(path, dpi=110)
