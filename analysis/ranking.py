"""Does the trained supernet rank architectures as the benchmark does? And does the method's own score?

For the architectures a run measured with its trained supernet: Kendall's tau-b and Spearman's rho of the supernet's
accuracy, and of the method's own architecture score, with the table's accuracy; how many of the table's best k are among
the k ranked highest; and what the one ranked highest is worth.

    python analysis/ranking.py results/
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np
import pandas as pd
from scipy import stats as scipy_stats

from analysis import plotting, writing
from analysis.common import Arguments, Group, keep_numbers, label, order_methods, publish, read_groups, run, say
from analysis.stats import summarize
from analysis.writing import Table
from itnas.errors import UserError

RANKERS = ("supernet", "score")
"""What ranks: the supernet's accuracy, and the method's own architecture score."""


@dataclass(frozen=True)
class RankingArguments(Arguments):
    """Rank correlation of supernet and benchmark."""

    truth: str = "cifar10/test"
    """Which of the benchmark's accuracies is the truth: DATASET/SPLIT."""
    top: int = 50
    """The k of the overlap of the best k."""


def run_ranking(predicted: np.ndarray, true: np.ndarray, top: int) -> dict[str, float]:
    """Compare two rankings of the same architectures; higher is better in both.

    Returns:
        ``tau`` (tau-b), ``rho`` (Spearman), NaN where a side is constant; ``overlap``: share of the true best ``top`` among
        the predicted best ``top``; ``chance`` of that for a random ranking; ``chosen``: the truth of the predicted best,
        the first where several share the place; ``n``.
    """
    n, k = len(true), min(top, len(true))
    constant = np.ptp(predicted) == 0 or np.ptp(true) == 0
    tau, rho = (
        (np.nan, np.nan) if constant else (_first(scipy_stats.kendalltau, predicted, true), _rho(predicted, true))
    )
    best = [set(np.argsort(-values, kind="stable")[:k]) for values in (predicted, true)]
    row = {"tau": tau, "rho": rho, "overlap": np.nan if constant else len(best[0] & best[1]) / k, "chance": k / n}
    return row | {"chosen": float(true[int(predicted.argmax())]), "n": n}


def _first(test: object, first: np.ndarray, second: np.ndarray) -> float:
    return float(np.asarray(test(first, second), dtype=float)[0])  # pyright: ignore[reportCallIssue]


def _rho(first: np.ndarray, second: np.ndarray) -> float:
    return _first(scipy_stats.spearmanr, first, second)


def rankings(architectures: pd.DataFrame, truth: str, top: int) -> pd.DataFrame:
    """Return one row per run and ranker: what :func:`run_ranking` says of it."""
    rows = []
    for (method, seed, run_id), part in architectures.groupby(["method", "search_seed", "run_id"], observed=True):
        wide = part.pivot(index="genotype", columns="quantity", values="value")  # noqa: PD010 (refuses duplicates)
        for ranker in RANKERS:
            if ranker not in wide or truth not in wide:
                continue
            known = wide[[ranker, truth]].dropna()
            found = run_ranking(known[ranker].to_numpy(), known[truth].to_numpy(), top)
            rows.append({"method": method, "search_seed": seed, "run_id": run_id, "ranker": ranker, **found})
    return pd.DataFrame(rows)


def method_rankings(runs: pd.DataFrame) -> pd.DataFrame:
    """Return means over seeds per method and ranker, with the interval of tau."""
    rows = []
    for method in order_methods(runs["method"].unique()):
        for ranker in RANKERS:
            part = runs[(runs["method"] == method) & (runs["ranker"] == ranker)]
            if part.empty:
                continue
            tau = summarize(part["tau"].to_numpy())
            row = {"method": method, "ranker": ranker, "seeds": len(part), "n": part["n"].min()}
            row |= {"tau": tau.mean, "low": tau.low, "high": tau.high}
            rows.append(row | part[["rho", "overlap", "chance", "chosen"]].mean().to_dict())
    return pd.DataFrame(rows)


def ranking_table(data: pd.DataFrame, arguments: RankingArguments) -> Table:
    """Return the table of rank correlations."""
    shown = [
        {
            "method": label(row["method"]),
            "ranked by": "supernet accuracy" if row["ranker"] == "supernet" else "own score",
            "seeds": row["seeds"],
            "architectures": row["n"],
            "τ": writing.tau(row["tau"], 1),
            "95 % interval": writing.interval(row["low"], row["high"]),
            "Spearman": writing.number(row["rho"]),
            f"best {arguments.top} found": writing.percent(row["overlap"]),
            "chance": writing.percent(row["chance"]),
            "ranked first, %": writing.number(row["chosen"]),
        }
        for row in data.to_dict("records")
    ]
    caption = (
        f"Rank agreement of architectures with the benchmark table's {arguments.truth} accuracy: tau-b (mean over seeds,"
        f" percentile bootstrap interval), Spearman's rho, share of the table's best {arguments.top} among the"
        f" {arguments.top} ranked highest, and the table's accuracy of the one ranked first."
    )
    return Table("ranking", caption, data, writing.filled(shown))


def draw(group: Group, architectures: pd.DataFrame, runs: pd.DataFrame, truth: str) -> None:
    """Draw the table's accuracy against the supernet's, a dot per architecture of each method's first seed."""
    methods = [method for method in group.methods if method in set(runs.loc[runs["ranker"] == "supernet", "method"])]
    figure, axes = plotting.subplots(1, max(len(methods), 4), plotting.PAGE, 1.9, sharey=True)
    plotting.panels(list(axes[0]), len(methods))
    palette = plotting.colors(group.methods)
    for axis, method in zip(axes[0], methods, strict=False):
        mine = runs[(runs["method"] == method) & (runs["ranker"] == "supernet")].sort_values("search_seed").iloc[0]
        part = architectures[architectures["run_id"] == mine["run_id"]]
        wide = part.pivot(index="genotype", columns="quantity", values="value")  # noqa: PD010 (refuses duplicates)
        plotting.dots(axis, wide["supernet"], wide[truth], color=palette[method], markersize=1.5, alpha=0.5)
        axis.set_title(plotting.broken(f"{label(method)}\nτ = {writing.tau(mine['tau'], 1)}"), fontsize=6.5)
        axis.set_xlabel("supernet, %")
    axes[0, 0].set_ylabel(f"{truth}, %")
    seeds, n = sorted(runs["search_seed"].unique()), int(runs["n"].min())
    note = f"{group.name}; dot: architecture (n = {n}), seed {seeds[0]} of {len(seeds)}; vertical: benchmark table"
    plotting.save(figure, group, "ranking", note)


def analyse(group: Group, arguments: RankingArguments) -> None:
    """Write the table and the figure of one group."""
    architectures = group.records["architectures"]
    if architectures.empty:
        print(
            f"{group.name}: no run recorded its supernet's ranking of architectures, so there is nothing to correlate."
        )
        return
    runs = rankings(architectures, arguments.truth, arguments.top)
    if runs.empty:
        known = ", ".join(sorted(set(architectures["quantity"]) - set(RANKERS))) or "none"
        raise UserError(f"--truth {arguments.truth!r} was not recorded with the architectures; recorded: {known}")
    publish(ranking_table(method_rankings(runs), arguments), group)
    say(group)
    keep_numbers(runs, "ranking_runs", group)
    if plotting.available() and (runs["ranker"] == "supernet").any():
        draw(group, architectures, runs, arguments.truth)


def main(arguments: RankingArguments) -> None:
    """Analyse every group below the results folder."""
    for group in read_groups(arguments, ("architectures",)):
        analyse(group, arguments)


if __name__ == "__main__":
    run(main, RankingArguments, __doc__)
