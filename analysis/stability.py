"""Is a choice above noise? Its margin against its spread over the last epochs and over seeds.

The *margin* of a choice is the score of the chosen candidate minus that of the second best. It is compared with the
standard deviation of that same difference over the last epochs, and over search seeds. Scores of a short search lie
close to uniform: a cell derived from them can be a coin toss that looks like a result. Further: do seeds agree on the
cell, and would stopping a few epochs earlier have changed it?

    python analysis/stability.py results/
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np
import pandas as pd

from analysis import plotting, truth, writing
from analysis.common import (
    NONE,
    Arguments,
    Group,
    epochs_of_kinds,
    keep_numbers,
    label,
    of_kinds,
    publish,
    read_groups,
    run,
    say,
)
from analysis.discretization import wide
from analysis.writing import NA, Table
from itnas.errors import UserError
from itnas.spaces import SearchSpace, get_space

EDGE = ["run_id", "group", "choice"]
DRAWN = 300
"""Random architectures behind the agreement by chance."""


@dataclass(frozen=True)
class StabilityArguments(Arguments):
    """Whether choices are above noise."""

    last: int = 5
    """Number of last epochs over which the spread is taken."""
    times: float = 2.0
    """A choice is above noise when its margin is more than so many standard deviations."""


# --- margins ----------------------------------------------------------------------------------------------------------


def curve_kinds(scores: pd.DataFrame) -> dict[str, str]:
    """Return per method the kind of score recorded over most epochs (DARTS-PT: alpha, as it perturbs only once)."""
    epochs = epochs_of_kinds(scores)
    longest = epochs.sort_values("epoch", kind="stable").drop_duplicates("method", keep="last")
    return dict(zip(longest["method"].astype(str), longest["kind"].astype(str), strict=True))


def last_epochs(group: Group, last: int) -> pd.DataFrame:
    """Return the aggregate scores of the last epochs: a row per run, choice and epoch, a column per candidate.

    Where a method's own rule may not choose ``none``, that candidate is NaN. Constant kinds are left out.
    """
    scores = group.records["scores"]
    kinds = {method: kind for method, kind in curve_kinds(scores).items() if kind != "constant"}
    rows = scores[(scores["cell"] == -1) & (scores["epoch"] > 0)]
    final = rows.groupby(["run_id", "kind"], observed=True)["epoch"].transform("max")
    rows = rows[rows["epoch"] > final - last]
    rows = rows[of_kinds(rows, kinds)]
    values = wide(rows, [*EDGE, "epoch"], "score")
    choices = [choice for choices in get_space(group.constant("space")).groups.values() for choice in choices]
    values = values[
        [name for name in dict.fromkeys(c for choice in choices for c in choice.candidates) if name in values]
    ]
    if NONE in values:
        rules = {run: meta["semantics"].get("rule") for run, meta in group.records.meta.items()}
        barred = values.index.get_level_values("run_id").map(rules) == "without_none"
        values.loc[barred, NONE] = np.nan
    return values


def margins(values: pd.DataFrame, keep: Mapping[tuple[str, str], int] | None = None) -> pd.DataFrame:
    """Return a row per run and choice of :func:`last_epochs`.

    Columns: run_id, group, choice, ``chosen``, ``second``, ``margin`` at the last epoch and ``spread``, the standard
    deviation of that difference over the epochs (NaN for one epoch), both in percent of the choice's mean score;
    ``changed``: share of the earlier of these epochs in which something else was chosen. Where a choice keeps several
    candidates (``keep``, 1 by default), the last that is kept stands for ``chosen`` and the first that is not for ``second``.
    """
    if values.empty:
        return pd.DataFrame(columns=[*EDGE, "chosen", "second", "margin", "spread", "changed"])
    keys = without_epoch(values)
    final = values[~keys.duplicated(keep="last")]
    at = np.asarray(pd.factorize(keys)[0])
    scores, last = values.to_numpy(), final.to_numpy()
    places = cast(pd.MultiIndex, final.index).droplevel(["run_id", "epoch"])
    kept = np.array([(keep or {}).get(place, 1) for place in places])
    rank = ranks(last)
    best, second = (rank == kept[:, None] - 1).argmax(axis=1), (rank == kept[:, None]).argmax(axis=1)
    row = np.arange(len(scores))
    difference = 100 * (scores[row, best[at]] - scores[row, second[at]]) / np.nanmean(last, axis=1)[at]
    other = ((ranks(scores) < kept[at, None]) != (rank < kept[:, None])[at]).any(axis=1)
    by_edge = pd.DataFrame({"at": at, "difference": difference, "other": other}).groupby("at")
    names = np.asarray(values.columns)
    frame = without_epoch(final).to_frame(index=False)
    sizes = by_edge.size().to_numpy()
    return frame.assign(
        chosen=names[best],
        second=names[second],
        margin=by_edge["difference"].last().to_numpy(),
        spread=by_edge["difference"].std().to_numpy(),
        changed=by_edge["other"].sum().to_numpy() / np.maximum(sizes - 1, 1),
    )


def ranks(scores: np.ndarray) -> np.ndarray:
    """Return the place of every candidate in its row, best first; a tie goes to the lower index, as in the derivation."""
    order = np.argsort(np.where(np.isnan(scores), np.inf, -scores), axis=1, kind="stable")
    found = np.empty_like(order)
    np.put_along_axis(found, order, np.arange(scores.shape[1])[None], axis=1)
    return found


def kept_of_choices(space: SearchSpace) -> dict[tuple[str, str], int]:
    """Return how many candidates a choice keeps, by group and name, for the choices that keep several (parents)."""
    found = {}
    for decision in (one for phase in space.phases() for queue in phase for one in queue):
        places = {place for place, candidate in decision.options if candidate is not None}
        if len(places) == 1 and decision.keep > 1:
            found[decision.group, space.groups[decision.group][places.pop()].name] = decision.keep
    return found


def without_epoch(values: pd.DataFrame) -> pd.Index:
    """Return the run and choice of every row."""
    return cast(pd.MultiIndex, values.index).droplevel(["epoch"])


def seed_margins(
    values: pd.DataFrame, method_of: pd.Series, keep: Mapping[tuple[str, str], int] | None = None
) -> pd.DataFrame:
    """Return per method and choice the margin of the candidate best on average over seeds, and its spread over seeds.

    Columns: method, group, choice, ``margin`` (mean over seeds of best minus second best of the mean scores) and
    ``spread`` (its standard deviation over seeds, NaN for one), in percent of the mean score.
    """
    final = values[~without_epoch(values).duplicated(keep="last")].reset_index()
    final["method"] = final["run_id"].map(method_of)
    rows = []
    for (method, choice_group, choice), part in final.groupby(["method", "group", "choice"], sort=False):
        scores = part[values.columns].dropna(axis=1, how="all").to_numpy()
        kept = (keep or {}).get((str(choice_group), str(choice)), 1)
        best, second = np.argsort(-scores.mean(axis=0), kind="stable")[kept - 1 : kept + 1]
        difference = 100 * (scores[:, best] - scores[:, second]) / scores.mean()
        spread = difference.std(ddof=1) if len(difference) > 1 else np.nan
        row = {"method": method, "group": choice_group, "choice": choice}
        rows.append(row | {"margin": difference.mean(), "spread": spread})
    return pd.DataFrame(rows, columns=["method", "group", "choice", "margin", "spread"])


# --- cells ------------------------------------------------------------------------------------------------------------


def agreement(genotypes: Sequence[str], space: SearchSpace) -> float:
    """Return how much of their cells two architectures share on average over all pairs; NaN for fewer than two.

    What is kept of every choice counts (operations of edges that are there, parents): the number of things that two
    cells both keep over the number that one keeps. Where every choice keeps one operation, this is the share of the choices
    on which two cells agree.
    """
    n = len(genotypes)
    if n < 2:
        return float("nan")
    kept = Counter(
        (group, place, k)
        for genotype in genotypes
        for group, choices in space.chosen(genotype).items()
        for place, candidates in enumerate(choices)
        for k in candidates
    )
    counts = np.array(list(kept.values()))
    return float((counts * (counts - 1)).sum() / (counts.sum() * (n - 1)))


def chance(space: SearchSpace, *, exclude_none: bool) -> float:
    """Return :func:`agreement` of architectures drawn at random."""
    rng = np.random.default_rng(0)
    return agreement([space.random(rng, exclude_none=exclude_none) for _ in range(DRAWN)], space)


def last_cells(epochs: pd.DataFrame, last: int) -> pd.DataFrame:
    """Return per run the share of the last epochs, before the very last, whose cell differs from the last one's."""
    trained = epochs[epochs["epoch"] > 0].sort_values(["run_id", "epoch"])
    final = trained.groupby("run_id", observed=True)[["epoch", "genotype"]].transform("last")
    at = (trained["epoch"] > final["epoch"] - last) & (trained["epoch"] < final["epoch"])
    rows = trained[at].assign(differs=trained["genotype"][at] != final["genotype"][at])
    return rows.groupby(["method", "run_id"], observed=True)["differs"].mean().reset_index()


# --- table and figure -------------------------------------------------------------------------------------------------


def above(frame: pd.DataFrame, times: float) -> float:
    """Return the share of choices with a margin above ``times`` spreads; NaN where no spread is known."""
    known = frame.dropna(subset=["spread"])
    return float((known["margin"] > times * known["spread"]).mean()) if len(known) else float("nan")


def method_stability(
    group: Group, edges: pd.DataFrame, values: pd.DataFrame, arguments: StabilityArguments
) -> pd.DataFrame:
    """Return one row per method: margins, spreads, shares above noise, agreement of seeds, late changes of the cell."""
    method_of = group.records.runs.assign(run_id=group.records.runs["run_id"].astype(str)).set_index("run_id")["method"]
    over_seeds = seed_margins(values, method_of, kept_of_choices(get_space(group.constant("space"))))
    cells = truth.final_genotypes(group).query("variant == 'genotype'")
    changes = last_cells(group.records["epochs"], arguments.last)
    kinds, space = curve_kinds(group.records["scores"]), get_space(group.constant("space"))
    edge_methods = edges["run_id"].map(method_of)
    by_chance = {barred: chance(space, exclude_none=barred) for barred in (False, True)}
    rows = []
    for method in group.methods:
        mine, seeds = edges[edge_methods == method], over_seeds[over_seeds["method"] == method]
        derived = cells.loc[cells["method"] == method, "genotype"].tolist()
        barred = group.semantics(method).get("rule") == "without_none"
        row = {"method": method, "kind": kinds.get(method, NA), "seeds": len(derived), "choices": len(mine)}
        row |= {"margin": mine["margin"].median(), "spread": mine["spread"].median()}
        row |= {"above_epochs": above(mine, arguments.times), "above_seeds": above(seeds, arguments.times)}
        row |= {"agreement": agreement(derived, space), "chance": by_chance[barred], "cells": len(set(derived))}
        rows.append(row | {"late_changes": changes.loc[changes["method"] == method, "differs"].mean()})
    return pd.DataFrame(rows)


def stability_table(data: pd.DataFrame, arguments: StabilityArguments) -> Table:
    """Return the table of stability."""
    shown = [
        {
            "method": label(row["method"]),
            "score": row["kind"],
            "seeds": row["seeds"],
            "margin, %": writing.number(row["margin"]),
            "spread over epochs, %": writing.number(row["spread"]),
            "above noise of epochs": writing.percent(row["above_epochs"]),
            "above noise of seeds": writing.percent(row["above_seeds"]),
            "seeds agree": writing.percent(row["agreement"]),
            "chance": writing.percent(row["chance"]),
            "different cells": f"{row['cells']} of {row['seeds']}",
            "late changes": writing.percent(row["late_changes"]),
        }
        for row in data.to_dict("records")
    ]
    last, times = arguments.last, arguments.times
    caption = (
        "Stability of choices. Margin: best minus second score in percent of the choice's mean score, and its standard"
        f" deviation over the last {last} epochs (medians over choices and seeds). Above noise: share of choices whose"
        f" margin exceeds {times:g} standard deviations over those epochs, or over seeds. Seeds agree: share of what"
        " one seed's final cell keeps that another's keeps too, beside that of two random cells. Late changes: share of"
        f" the last {last} epochs, before the very last, whose cell differs from the last epoch's (before selection,"
        " where a method selects after training)."
    )
    return Table("stability", caption, data, writing.filled(shown))


def draw(group: Group, edges: pd.DataFrame, times: float) -> None:
    """Draw margin against spread of every choice and seed, an axis per method, with the line that is noise."""
    runs = group.records.runs
    method_of = dict(zip(runs["run_id"].astype(str), runs["method"].astype(str), strict=True))
    edges = edges.assign(method=edges["run_id"].map(method_of)).dropna(subset=["spread"])
    methods = [method for method in group.methods if method in set(edges["method"])]
    if not methods:
        print(f"{group.name}: no figure of margins, which needs scores of at least two epochs.")
        return
    figure, axes = plotting.subplots(1, max(len(methods), 4), plotting.PAGE, 1.9, sharex=True, sharey=True)
    plotting.panels(list(axes[0]), len(methods))
    palette = plotting.colors(group.methods)
    positive = pd.concat([edges["margin"], edges["spread"]])
    low = max(float(positive[positive > 0].min()), 1e-4) if (positive > 0).any() else 1e-4
    high = float(positive.max()) * 1.5 or 1.0
    for axis, method in zip(axes[0], methods, strict=False):
        mine = edges[edges["method"] == method]
        spread, margin = mine["spread"].clip(lower=low), mine["margin"].clip(lower=low)
        axis.fill_between([low, high], [low, low], [times * low, times * high], color="#eeeeee", linewidth=0)
        plotting.dots(axis, spread, margin, color=palette[method], markersize=3, alpha=0.6, markeredgewidth=0)
        axis.set_xscale("log")
        axis.set_yscale("log")
        axis.minorticks_off()
        axis.set_xlim(low / 1.5, high)
        axis.set_ylim(low / 1.5, high)
        axis.set_title(plotting.counted(method, group.seeds(method)), fontsize=6.5)
        axis.set_xlabel("spread, %")
    axes[0, 0].set_ylabel("margin, %")
    note = (
        f"{group.name}; dot: one choice of one seed; grey: margin within {times:g} s.d. of the last epochs, i.e. noise"
    )
    plotting.save(figure, group, "stability", note)


# --- command ----------------------------------------------------------------------------------------------------------


def analyse(group: Group, arguments: StabilityArguments) -> None:
    """Write the table and the figure of one group."""
    values = last_epochs(group, arguments.last)
    edges = margins(values, kept_of_choices(get_space(group.constant("space"))))
    publish(stability_table(method_stability(group, edges, values, arguments), arguments), group)
    say(group)
    keep_numbers(edges, "stability_choices", group)
    if plotting.available():
        draw(group, edges, arguments.times)


def main(arguments: StabilityArguments) -> None:
    """Analyse every group below the results folder."""
    if arguments.last < 2:
        raise UserError(f"--last is {arguments.last}; a spread needs at least 2 epochs")
    for group in read_groups(arguments, ("scores", "epochs")):
        analyse(group, arguments)


if __name__ == "__main__":
    run(main, StabilityArguments, __doc__)
