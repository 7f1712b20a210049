"""The table and the picture of an ablation: what each mechanism adds on the benchmark that it is for."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from model.training.ablation.benchmarks import BENCHMARKS
from model.training.ablation.mechanisms import MECHANISMS

RESAMPLES: Final = 2000


def gains(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """For each mechanism accuracy with and without it, the gain of each seed, and the interval of their mean.

    Percent and points. The interval, 95 %, is a bootstrap over held-out queries and over seeds, or of one seed.
    """
    found = {(row["benchmark"], row["without"], row["seed"]): _credits(row["found"]) for row in rows}
    result = {}
    for name, mechanism in MECHANISMS.items():
        seeds = [seed for benchmark, without, seed in found if (benchmark, without) == (mechanism.benchmark, name)]
        if seeds:
            whole = np.stack([found[mechanism.benchmark, None, seed] for seed in seeds])  # [seeds, queries]
            lacking = np.stack([found[mechanism.benchmark, name, seed] for seed in seeds])
            result[name] = {
                "with": whole.mean(axis=1).tolist(),
                "without": lacking.mean(axis=1).tolist(),
                "gain": (whole - lacking).mean(axis=1).tolist(),
                "ci95": _interval(whole - lacking, 2 if BENCHMARKS[mechanism.benchmark].pairs else 1),
            }
    return result


def _credits(found: str) -> NDArray[np.float64]:
    """What a run kept of each query, in percent."""
    return np.asarray([50.0 * int(one) for one in found])


def _interval(gains: NDArray[np.float64], together: int) -> list[float]:
    """Of the mean of gains [seeds, queries]: seeds, and queries that share their clips, `together`, are drawn anew."""
    gains = gains.reshape(len(gains), -1, together).mean(axis=2)
    seeds, queries = gains.shape
    if seeds > 1:  # so few, drawn with replacement, lie too near to each other
        apart = gains.mean(axis=1, keepdims=True) - gains.mean()
        gains = gains + (np.sqrt(seeds / (seeds - 1)) - 1) * apart
    rng = np.random.default_rng(0)
    of_seeds = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=RESAMPLES) / seeds
    of_queries = rng.multinomial(queries, np.full(queries, 1 / queries), size=RESAMPLES) / queries
    drawn = np.einsum("rs,sq,rq->r", of_seeds, gains, of_queries, optimize=True)
    return [float(end) for end in np.percentile(drawn, (2.5, 97.5))]


def write_report(rows: Sequence[dict[str, Any]], out: Path) -> str:
    """`ablation.md` and `ablation.png` in `out`; the table is returned."""
    found = gains(rows)
    lines = [
        "| mechanism | equation | benchmark | with it | without | gain | 95 % interval | by seed |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, one in found.items():
        mechanism, by_seed = MECHANISMS[name], ", ".join(f"{gain:+.1f}" for gain in one["gain"])
        means = f"{np.mean(one['with']):.1f} | {np.mean(one['without']):.1f} | **{np.mean(one['gain']):+.1f}**"
        interval = "{:+.1f} to {:+.1f}".format(*one["ci95"])
        lines.append(f"| {name} | {mechanism.equation} | {mechanism.benchmark} | {means} | {interval} | {by_seed} |")
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
        axes.plot(one["ci95"], [place] * 2, color="black", linewidth=1)
        axes.plot(one["gain"], [place] * len(one["gain"]), "o", color="black", markersize=4)
    axes.set_yticks(range(len(found)), [f"{name} ({MECHANISMS[name].benchmark})" for name in found])
    axes.axvline(0, color="0.4", linewidth=1)
    axes.invert_yaxis()
    figure.supxlabel("points gained by having it; dots: seeds, lines: 95 % intervals of their mean", fontsize="medium")
    figure.savefig(path, dpi=110)
