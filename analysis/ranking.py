"""Does the trained supernet rank architectures as the benchmark does? And does the method's own score?

For the architectures a run measured with its trained supernet: Kendall's tau-b and Spearman's rho of the supernet's
accuracy, and of the method's own architecture score, with the table's accuracy; how many of the table's best k are among
the k ranked highest; and what the one ranked highest is worth.

    python analysis/ranking.py results/
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np
import pandas as pd

from analysis import plotting, writing
from analysis.common import NONE, Arguments, Group, keep_numbers, label, order_methods, publish, read_groups, run, say
from analysis.stats import spearman, summarize, tau_b
from analysis.writing import Table
from itnas.errors import UserError
from itnas.spaces import get_space

RANKERS = ("supernet", "score")
"""What ranks: the supernet's accuracy, and the method's own architecture score."""


@dataclass(frozen=True)
class RankingArguments(Arguments):
    """Rank correlation of supernet and benchmark."""

    truth: str | None = None
    """Which of the benchmark's accuracies is the truth: DATASET/SPLIT; default: the first test split, or `supernet`."""
    top: int | None = None
    """The k of the overlap of the best k; default: a twentieth of the architectures."""


def compare(predicted: np.ndarray, true: np.ndarray, top: int) -> pd.DataFrame:
    """Compare two rankings of the same architectures, ``[runs, architectures]``; higher is better, NaN is left out.

    Returns:
        A row per run: ``tau`` (tau-b), ``rho`` (Spearman), NaN where a side is constant; ``overlap``: share of the true best
        ``top`` among the predicted best ``top``; ``chance`` of that for a random ranking; ``chosen``: the truth of the
        predicted best, the first where several share the place; ``n``.
    """
    known = ~(np.isnan(predicted) | np.isnan(true))
    tau, n = tau_b(predicted, true), known.sum(axis=1)
    k = np.minimum(top, n)
    order = [np.argsort(np.where(known, -values, np.inf), axis=1, kind="stable") for values in (predicted, true)]
    best = [np.argsort(one, axis=1) < k[:, None] for one in order]  # the inverse of an order is everyone's place in it
    overlap = np.where(np.isnan(tau), np.nan, (best[0] & best[1]).sum(axis=1) / k)
    chosen = np.take_along_axis(true, order[0][:, :1], axis=1)[:, 0]
    rho = spearman(predicted, true)
    return pd.DataFrame({"tau": tau, "rho": rho, "overlap": overlap, "chance": k / n, "chosen": chosen, "n": n})


def find_truth(architectures: pd.DataFrame, wished: str | None) -> str:
    """Return the quantity that rankings are compared with.

    Raises:
        UserError: the wished one was not recorded.
    """
    known = [str(name) for name in architectures["quantity"].unique() if name not in RANKERS]
    if wished is not None and wished not in known:
        raise UserError(
            f"--truth {wished!r} was not recorded with the architectures; recorded: {', '.join(sorted(known)) or 'none'}"
        )
    tests = sorted((name for name in known if name.endswith("/test")), key=lambda name: (name != "cifar10/test", name))
    return wished or next(iter(tests), "supernet")


def rankings(
    architectures: pd.DataFrame, truth: str, top: int, with_none: Callable[[str], bool] = lambda genotype: False
) -> pd.DataFrame:
    """Return one row per run and ranker: what :func:`compare` says of it.

    ``tau_without_none`` is tau among the architectures for which ``with_none`` is false.
    """
    keys = ["method", "search_seed", "run_id"]
    grouped = architectures.groupby(keys, observed=True)
    codes, genotypes = pd.factorize(architectures["genotype"], sort=True)
    rows = architectures[["quantity", "value"]].assign(run=grouped.ngroup(), code=codes)
    rows["place"] = rows.groupby("run")["code"].rank("dense").astype(int)
    wide = rows.pivot(index=["run", "place"], columns="quantity", values="value")  # noqa: PD010 (refuses duplicates)
    recorded = set(wide.columns)
    wide = wide.unstack("place")  # noqa: PD010
    none = np.array([with_none(str(genotype)) for genotype in genotypes])[codes]
    barred = rows.assign(none=none).groupby(["run", "place"])["none"].first().unstack("place").to_numpy(dtype=bool)  # noqa: PD010
    identity = grouped.size().index.to_frame(index=False)
    found = []
    for ranker in [name for name in RANKERS if {name, truth} <= recorded and name != truth]:
        predicted, true = wide[ranker].to_numpy(), wide[truth].to_numpy()
        part = identity.assign(ranker=ranker).join(compare(predicted, true, top))
        bare = tau_b(np.where(barred, np.nan, predicted), true)
        found.append(part.assign(tau_without_none=bare)[part["n"] > 0])
    return pd.concat(found).sort_index(kind="stable").reset_index(drop=True) if found else pd.DataFrame()


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
            rows.append(row | part[["tau_without_none", "rho", "overlap", "chance", "chosen"]].mean().to_dict())
    return pd.DataFrame(rows)


def ranking_table(group: Group, data: pd.DataFrame, truth: str, top: int) -> Table:
    """Return the table of rank correlations."""
    shown = [
        {
            "method": label(row["method"]),
            "ranked by": "supernet accuracy" if row["ranker"] == "supernet" else "own score",
            "seeds": row["seeds"],
            "architectures": row["n"],
            "τ": writing.tau(row["tau"], 1),
            "95 % interval": writing.interval(row["low"], row["high"]),
            "τ without none": writing.number(row["tau_without_none"]),
            "Spearman": writing.number(row["rho"]),
            f"best {top} found": writing.percent(row["overlap"]),
            "chance": writing.percent(row["chance"]),
            "ranked first, %": writing.number(row["chosen"]),
        }
        for row in data.to_dict("records")
    ]
    return Table("ranking", ranking_caption(group, truth, top), data, writing.filled(shown))


def ranking_caption(group: Group, truth: str, top: int) -> str:
    """Return what is ranked, by what, and how the supernet was measured."""
    metas = group.records.meta.values()
    protocols = sorted({p for meta in metas if (p := meta["semantics"].get("ranking"))})
    images = sorted(group.records["architectures"]["n_images"].dropna().unique())
    measured = " or ".join(str(int(n)) for n in images) + " images" + "".join(f"; {text}" for text in protocols)
    what = "the supernet's own accuracy" if truth == "supernet" else f"the benchmark table's {truth} accuracy"
    return (
        f"Rank agreement of a random subset of architectures with {what}: tau-b (mean over seeds, percentile bootstrap"
        f" interval), Spearman's rho, share of the truly best {top} among the {top} ranked highest, and the true accuracy"
        f" of the one ranked first. Supernet accuracy: {measured}."
    )


def draw(group: Group, architectures: pd.DataFrame, runs: pd.DataFrame, truth: str) -> None:
    """Draw the truth against what ranks, a dot per architecture of each method's first seed: a row per ranker."""
    rankers = [ranker for ranker in RANKERS if ranker in set(runs["ranker"])]
    methods = [method for method in group.methods if method in set(runs["method"])]
    columns = max(len(methods), 4)
    figure, axes = plotting.subplots(len(rankers), columns, plotting.PAGE, 0.5 + 1.4 * len(rankers), sharey=True)
    plotting.panels(axes[:, len(methods) :].ravel(), 0)
    palette = plotting.colors(group.methods)
    for column, method in enumerate(methods):
        first = runs[runs["method"] == method].sort_values("search_seed").iloc[0]["run_id"]
        part = architectures[architectures["run_id"] == first]
        wide = part.pivot(index="genotype", columns="quantity", values="value")  # noqa: PD010 (refuses duplicates)
        for axis, ranker in zip(axes[:, column], rankers, strict=True):
            mine = runs[(runs["run_id"] == first) & (runs["ranker"] == ranker)]
            if mine.empty:
                axis.set_visible(False)
                continue
            plotting.dots(axis, wide[ranker], wide[truth], color=palette[method], markersize=1.5, alpha=0.5)
            name = f"{label(method)}\n" if ranker == rankers[0] else ""
            axis.set_title(plotting.broken(f"{name}τ = {writing.tau(mine['tau'].iloc[0], 1)}"), fontsize=6.5)
            axis.set_xlabel("supernet, %" if ranker == "supernet" else "own score")
    for axis in axes[:, 0]:
        axis.set_ylabel(f"{truth}, %")
    seeds, n = sorted(runs["search_seed"].unique()), int(runs["n"].min())
    vertical = "the supernet's accuracy" if truth == "supernet" else "benchmark table"
    note = f"{group.name}; dot: architecture (n = {n}), seed {seeds[0]} of {len(seeds)}; vertical: {vertical}"
    plotting.save(figure, group, "ranking", note)


def analyse(group: Group, arguments: RankingArguments) -> None:
    """Write the table and the figure of one group."""
    architectures = group.records["architectures"]
    if architectures.empty:
        print(
            f"{group.name}: no run recorded its supernet's ranking of architectures, so there is nothing to correlate."
        )
        return
    truth, space = find_truth(architectures, arguments.truth), get_space(group.constant("space"))
    top = arguments.top or max(1, architectures["genotype"].nunique() // 20)
    runs = rankings(architectures, truth, top, lambda genotype: space.count(genotype, NONE) > 0)
    if runs.empty:
        print(f"{group.name}: no run recorded both {truth} and something that ranks architectures.")
        return
    publish(ranking_table(group, method_rankings(runs), truth, top), group)
    say(group)
    keep_numbers(runs, "ranking_runs", group)
    if plotting.available():
        draw(group, architectures, runs, truth)


def main(arguments: RankingArguments) -> None:
    """Analyse every group below the results folder."""
    for group in read_groups(arguments, ("architectures",)):
        analyse(group, arguments)


if __name__ == "__main__":
    run(main, RankingArguments, __doc__)
