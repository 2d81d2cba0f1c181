"""Figures of tau: scores beside accuracies for one edge (AGNAS Fig. 3 and 7-9), and tau of all edges per method."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from analysis import plotting, writing
from analysis.common import Group, label
from analysis.discretization import ONE, Protocols, pair_edges
from analysis.stats import summarize, tau_b, tau_deviation
from analysis.writing import CONSTANT

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw_edge(group: Group, place: tuple[int, str, str], protocols: Protocols) -> None:
    """Draw AGNAS Fig. 3 for one edge: bars of score above bars of accuracy, a column per method, a dot per seed."""
    cell, choice_group, choice = place
    discretization = group.records["discretization"]
    at = (discretization["group"] == choice_group) & (discretization["choice"] == choice)
    discretization = protocols.shown(discretization[at & (discretization["cell"] == cell)])
    scores = group.records["scores"]
    scores = scores[(scores["group"] == choice_group) & (scores["choice"] == choice) & scores["cell"].isin((cell, -1))]
    rows, score, accuracy = pair_edges(scores, discretization)
    names = [c for c in discretization["candidate"].drop_duplicates() if c in rows.attrs["candidates"]]
    columns = [rows.attrs["candidates"].index(name) for name in names]
    tau = tau_b(score, accuracy)
    method_of = group.records.runs.set_index("run_id")["method"]
    rows["method"] = rows["run_id"].map(method_of)
    own_kind = group.score_kinds()
    pairs = [(m, own_kind[m]) for m in group.methods if ((rows["method"] == m) & (rows["kind"] == own_kind[m])).any()]
    figure, axes = plotting.subplots(2, len(pairs), plotting.PAGE, 2.9, sharex=True)
    top = 1.05 * np.nanmax(accuracy)
    palette = plotting.colors(group.methods)
    for column, (method, kind) in enumerate(pairs):
        mine = np.flatnonzero((rows["method"] == method) & (rows["kind"] == kind))
        bars(axes[0, column], score[mine][:, columns], palette[method], uniform=True)
        bars(axes[1, column], accuracy[mine][:, columns], palette[method])
        shared = "" if rows["own_score"].iloc[mine[0]] else "*"
        marked = f"{kind}{shared} {protocols.mark(method)}".strip()
        title = plotting.broken(f"{label(method)}\n{marked}\nτ = {mean_text(tau[mine])}")
        axes[0, column].set_title(title, fontsize=6)
        axes[1, column].set_ylim(0, top)
        axes[1, column].tick_params(labelleft=column == 0)
        axes[1, column].set_xticks(range(len(names)), names, rotation=90, fontsize=5)
        for axis in axes[:, column]:
            axis.tick_params(axis="y", labelsize=5)
    axes[0, 0].set_ylabel("score")
    axes[1, 0].set_ylabel("accuracy, %")
    seeds = rows.groupby("method", observed=True)["run_id"].nunique()
    note = f"{group.name}, cell {cell}, {choice}; bar: mean, dot: seed (n = {_range(seeds)}); dashed: no preference"
    note += f"; *: score shared by all cells; {protocols.text()}"
    name = re.sub(r"\W+", "_", choice.replace("<-", "_from_"))
    plotting.save(figure, group, f"kendall_tau_cell{cell}_{name}", note)


def mean_text(taus: np.ndarray) -> str:
    """Return the mean of ``taus`` for a title."""
    kept = taus[~np.isnan(taus)]
    return writing.number(float(kept.mean())) if len(kept) else CONSTANT


def _range(counts: pd.Series) -> str:
    low, high = int(counts.min()), int(counts.max())
    return str(low) if low == high else f"{low} to {high}"


def bars(axis: Axes, values: np.ndarray, color: str, *, uniform: bool = False) -> None:
    """Draw mean bars from zero with a dot per seed; ``uniform`` adds the line at which no candidate is preferred."""
    at = np.arange(values.shape[1])
    axis.bar(at, values.mean(axis=0), color=color, alpha=0.55, width=0.7)
    plotting.dots(axis, np.tile(at, len(values)), values.ravel(), color="black", markersize=2, alpha=0.6)
    axis.axhline(0, color="black", linewidth=0.5)
    if uniform:
        axis.axhline(values.mean(), color="black", linewidth=0.6, linestyle="--")


def draw_distribution(group: Group, edges: pd.DataFrame, protocols: Protocols) -> None:
    """Draw tau of all edges per method: dots are edges, rings are seeds, the bar is the mean with its interval."""
    part = protocols.shown(edges)
    part = part[part["scope"] == ONE] if (part["scope"] == ONE).any() else part
    pairs = [(m, k) for m in group.methods for k in sorted(part.loc[part["method"] == m, "kind"].unique())]
    figure, axes = plotting.subplots(1, 1, plotting.PAGE if len(pairs) > 4 else plotting.COLUMN, 2.4)
    axis, palette, rng = axes[0, 0], plotting.colors(group.methods), np.random.default_rng(0)
    deviation = tau_deviation(int(part["n"].median()))
    axis.axhspan(-deviation, deviation, color="#eeeeee", zorder=0)
    axis.axhline(0, color="black", linewidth=0.6)
    ring = 3.5 if len(part["search_seed"].unique()) <= 20 else 1.5
    for place, (method, kind) in enumerate(pairs):
        mine = part[(part["method"] == method) & (part["kind"] == kind)].dropna(subset="tau")
        per_seed = mine.groupby("search_seed")["tau"].agg(["mean", "size"])
        offset = dict(
            zip(per_seed.index, np.linspace(-0.25, 0.25, len(per_seed)) if len(per_seed) > 1 else [0.0], strict=True)
        )
        x = place + mine["search_seed"].map(offset) + rng.uniform(-0.04, 0.04, len(mine))
        y = mine["tau"] + rng.uniform(-0.015, 0.015, len(mine))
        plotting.dots(axis, x, y, color=palette[method], alpha=0.35, markersize=3, markeredgewidth=0)
        spots = [place + offset[seed] for seed in per_seed.index]
        axis.plot(spots, per_seed["mean"], "o", color=palette[method], markersize=ring, markerfacecolor="white")
        total = summarize(per_seed["mean"].to_numpy())
        axis.plot([place - 0.38, place + 0.38], [total.mean] * 2, color="black", linewidth=1.4)
        if not np.isnan(total.low):
            axis.plot([place + 0.38] * 2, [total.low, total.high], color="black", linewidth=0.8)
    counts = part.groupby(["method", "kind"], observed=True)["run_id"].nunique()
    texts = [plotting.broken(f"{label(m)}\n{f'{k} {protocols.mark(m)}'.strip()}\nn={counts[m, k]}") for m, k in pairs]
    axis.set_xticks(range(len(pairs)), texts, fontsize=5.5)
    axis.set_ylim(-1.08, 1.08)
    axis.set_ylabel("Kendall's τ-b per edge")
    note = f"{group.name}; dot: edge, ring: seed, bar: mean and 95 % interval; grey: ± 1 s.d. by chance"
    note += f"; {protocols.text()}"
    plotting.save(figure, group, "kendall_tau_distribution", note)
