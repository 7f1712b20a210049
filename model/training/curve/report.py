"""The tables and the picture of a learning curve, and the lines through it."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from model.durable import replace_text
from model.training.curve.held_out import CUTS, GOALS
from model.training.curve.lessons import PARTS
from model.training.curve.run import RESULTS, Row

FITTED: Final = PARTS[1:]  # that the line goes through
WITH: Final = ("without", "with")  # ImageNet's names


def fitted(rows: Sequence[Row]) -> list[Row]:
    """The least-squares line of each recall on log2 of the photographs, through the last three parts.

    `slope`: points a doubling; `whole`: of all photographs; `needed`: photographs for the goal, None beyond a billion.
    """
    lines = []
    for names in sorted({row["names"] for row in rows}):
        series = [row for row in rows if row["names"] is names and row["part"] in FITTED]
        x = np.log2([row["photographs"] for row in series])
        for measure, cut in ((measure, cut) for measure in GOALS for cut in CUTS):
            y, goal = [row["recalls"][measure][cut] for row in series], GOALS[measure][cut]
            slope, start = (round(float(value), 6) for value in np.polyfit(x, y, 1))
            doublings = (goal - start) / slope if slope > 0 else np.inf
            line = {"names": names, "measure": measure, "cut": cut, "goal": goal, "slope": slope}
            whole = round(float(slope * x.max() + start), 3)
            lines.append(line | {"whole": whole, "needed": round(2**doublings) if doublings < 30 else None})
    return lines


def write_report(rows: Sequence[Row], out: Path) -> str:
    """`curve.md` and `curve.png` in `out`, and the lines into its `curve.json`; the tables are returned."""
    lines = fitted(rows)
    text = [f"| part | photographs | names | {' | '.join(GOALS)} |", f"|---|---|---|{'---|' * len(GOALS)}"]
    for names, part in sorted({(row["names"], row["part"]) for row in rows}):
        found = [row for row in rows if (row["names"], row["part"]) == (names, part)]
        cells = [_cell([row["recalls"][measure] for row in found]) for measure in GOALS]
        text.append(f"| {part:g} | {found[0]['photographs']:,} | {WITH[names]} | {' | '.join(cells)} |")
    text += ["", "R@1 / R@10 in percent: the mean over seeds (each seed). The lines through the last three parts:", ""]
    text += ["| names | figure | a doubling | line at the whole | goal | photographs for the goal |", "|---" * 6 + "|"]
    for line in lines:
        needed = "over a billion" if line["needed"] is None else f"{float(format(line['needed'], '.3g')):,.0f}"
        figure = f"{WITH[line['names']]} | {line['measure']}, {CUTS[line['cut']]}"
        text.append(f"| {figure} | {line['slope']:+.2f} | {line['whole']:.1f} | {line['goal']:g} | {needed} |")
    table = "\n".join(text) + "\n"
    replace_text(out / RESULTS, json.dumps(json.loads((out / RESULTS).read_text()) | {"lines": lines}, indent=1) + "\n")
    (out / "curve.md").write_text(table, encoding="utf-8")
    _draw(rows, lines, out / "curve.png")
    return table


def _cell(recalls: Sequence[dict[str, float]]) -> str:
    """Mean R@1 / R@10, and each seed's."""
    values = np.asarray([[one[cut] for cut in CUTS] for one in recalls])
    mean, *seeds = (" / ".join(f"{value:.1f}" for value in row) for row in (values.mean(axis=0), *values))
    return f"{mean} ({', '.join(seeds)})"


def _draw(rows: Sequence[Row], lines: Sequence[Row], path: Path) -> None:
    """A row a cut, a column a measure. Dots are seeds, dotted the line, up to four times the photographs."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 6.5), layout="constrained")
    grid = figure.subplots(len(CUTS), len(GOALS), sharex=True)
    sizes = sorted({row["photographs"] for row in rows})
    for line in lines:
        names, measure, cut, slope = line["names"], line["measure"], line["cut"], line["slope"]
        axes, colour = grid[list(CUTS).index(cut)][list(GOALS).index(measure)], f"C{int(names)}"
        series = [row for row in rows if row["names"] is names]
        found = [[row["recalls"][measure][cut] for row in series if row["photographs"] == size] for size in sizes]
        axes.plot(sizes, [np.mean(seeds) for seeds in found], color=colour, label=f"{WITH[names]} names")
        axes.plot(sizes, found, ".", color=colour)
        axes.plot([sizes[-1] / 4, sizes[-1] * 4], line["whole"] + slope * np.array([-2, 2]), ":", color=colour)
        axes.axhline(line["goal"], color="0.4", linestyle="--", linewidth=1)
        axes.set_xscale("log", base=2)
        axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
        axes.set_title(f"{measure}: {CUTS[cut]}, %; dashed: the goal", fontsize=9)
    figure.supxlabel("training photographs")
    grid[0][0].legend()
    figure.savefig(path, dpi=110)
