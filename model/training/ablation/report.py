"""The table and the picture of an ablation: what each mechanism adds on the benchmark that it is for."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from model.training.ablation.benchmarks import BENCHMARKS
from model.training.ablation.mechanisms import MECHANISMS


def gains(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """For each mechanism accuracy with and without it, and the gain of each seed: percent and points."""
    found = {(row["benchmark"], row["without"], row["seed"]): row["accuracy"] for row in rows}
    result = {}
    for name, mechanism in MECHANISMS.items():
        seeds = [seed for benchmark, without, seed in found if (benchmark, without) == (mechanism.benchmark, name)]
        whole = [found[mechanism.benchmark, None, seed] for seed in seeds]
        lacking = [found[mechanism.benchmark, name, seed] for seed in seeds]
        if seeds:
            result[name] = {
                "with": whole,
                "without": lacking,
                "gain": [a - b for a, b in zip(whole, lacking, strict=True)],
            }
    return result


def write_report(rows: Sequence[dict[str, Any]], out: Path) -> str:
    """`ablation.md` and `ablation.png` in `out`; the table is returned."""
    found = gains(rows)
    lines = ["| mechanism | equation | benchmark | with it | without | gain (by seed) |", "|---|---|---|---|---|---|"]
    for name, one in found.items():
        mechanism, by_seed = MECHANISMS[name], ", ".join(f"{gain:+.1f}" for gain in one["gain"])
        means = (
            f"{np.mean(one['with']):.1f} | {np.mean(one['without']):.1f} | **{np.mean(one['gain']):+.1f}** ({by_seed})"
        )
        lines.append(f"| {name} | {mechanism.equation} | {mechanism.benchmark} | {means} |")
    tasks = [f"- {name}: {benchmark.tells}" for name, benchmark in BENCHMARKS.items()]
    table = "\n".join([*lines, "", *tasks]) + "\n"
    (out / "ablation.md").write_text(table, encoding="utf-8")
    _draw(found, out / "ablation.png")
    return table


def _draw(found: dict[str, dict[str, Any]], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 0.6 * len(found) + 1.4), layout="constrained")
    axes = figure.subplots()
    for place, one in enumerate(found.values()):
        axes.barh(place, np.mean(one["gain"]), color="#4c72b0")
        axes.plot(one["gain"], [place] * len(one["gain"]), "o", color="black", markersize=4)
    axes.set_yticks(range(len(found)), [f"{name} ({MECHANISMS[name].benchmark})" for name in found])
    axes.axvline(0, color="0.4", linewidth=1)
    axes.invert_yaxis()
    axes.set_xlabel("points gained by having the mechanism; a dot is a seed")
    figure.savefig(path, dpi=110)
