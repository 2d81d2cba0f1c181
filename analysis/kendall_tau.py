"""Does a method's score rank operations as the supernet's discretization accuracy does?

Kendall's tau-b between the score of every candidate of an edge (alpha, attention, gate, angle, perturbation) and the
supernet's accuracy with that edge discretized to the candidate (AGNAS section 6.1, Fig. 3 and 7-9), per edge, cell, run
and method. A constant score or accuracy has no tau and is shown as ``n/a (constant)``.

    python analysis/kendall_tau.py results/
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np
import pandas as pd

from analysis import plotting, writing
from analysis.common import Arguments, Group, label, order_methods, publish, read_groups, run, say
from analysis.discretization import (
    ONE,
    PLACE,
    edge_taus,
    headline_protocol,
    method_taus,
    pair_edges,
    run_taus,
    sort_rows,
)
from analysis.stats import summarize, tau_b, tau_deviation
from analysis.writing import CONSTANT, NA, Table
from itnas.errors import UserError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PAPER_EDGES = ((0, 1), (1, 0), (2, 12), (4, 9))
"""(cell, edge index) of AGNAS Fig. 3, 7, 8 and 9, counted from 0."""


@dataclass(frozen=True)
class KendallArguments(Arguments):
    """Rank agreement of scores with discretization accuracy."""

    edges: tuple[str, ...] = ()
    """Edges of the bar figures as CELL:INDEX, such as 0:1 2:5; default: those of the AGNAS paper that the space has."""
    protocol: str | None = None
    """Protocol of the headline and figures; default: the one most runs have."""


# --- tables ----------------------------------------------------------------------------------------------------


def summary_table(group: Group, edges: pd.DataFrame) -> Table:
    """Return the table of mean tau per method; methods without discretization rows stand in it with their reason."""
    data = method_taus(edges) if len(edges) else pd.DataFrame()
    shown = [
        {
            "method": label(row["method"]),
            "score": row["kind"],
            "scope": row["scope"],
            "protocol": row["protocol"],
            "seeds": row["seeds"],
            "edges": row["edges"],
            "τ": writing.tau(row["tau"], row["constant"]),
            "95 % interval": writing.interval(row["low"], row["high"]) if row["edges"] else NA,
            "p": writing.p_value(row["p"]),
            "τ without none": writing.number(row["tau_without_none"]),
            "top-1": writing.percent(row["top1"]),
            "chance": writing.percent(row["chance"]),
        }
        for row in data.to_dict("records")
    ]
    absent = [method for method in group.methods if data.empty or method not in set(data["method"])]
    shown += [absent_row(group, method) for method in absent]
    data = pd.concat(
        [data, pd.DataFrame({"method": absent, "seeds": [group.seeds(m) for m in absent]})], ignore_index=True
    )
    display = writing.filled(shown)
    if len(edges) and len(edges["protocol"].unique()) == 1:
        display = display.drop(columns="protocol")
    return Table("kendall_tau", summary_caption(group, edges), data, display)


def absent_row(group: Group, method: str) -> dict[str, object]:
    """Return the row of a method whose supernet was not discretized."""
    scores = group.records["scores"]
    kind = scores.loc[scores["method"] == method, "kind"]
    constant = len(kind) > 0 and (kind == "constant").all()
    return {
        "method": label(method),
        "score": str(kind.iloc[0]) if len(kind) else NA,
        "seeds": group.seeds(method),
        "edges": 0,
        "τ": CONSTANT if constant else f"{NA} (not recorded)",
    }


def summary_caption(group: Group, edges: pd.DataFrame) -> str:
    """Return the caption of the summary table."""
    sizes = sorted(edges["n"].unique()) if len(edges) else []
    spread = ", ".join(f"{tau_deviation(int(n)):.3f} for {n} candidates" for n in sizes)
    images = sorted(group.records["discretization"]["n_images"].dropna().unique())
    protocols = ", ".join(f"`{protocol}`" for protocol in dict.fromkeys(edges["protocol"])) or NA
    return (
        f"Kendall's tau-b between score and supernet accuracy after discretizing one edge (protocol: {protocols};"
        f" {' or '.join(str(int(n)) for n in images) or 'no'} images). Mean over edges, then over search seeds, with"
        f" 95 % percentile bootstrap interval over seeds; p: no association, edges taken as independent;"
        f" the standard deviation of one tau without association is {spread or NA}."
    )


def runs_table(group: Group, edges: pd.DataFrame) -> Table:
    """Return the table of mean tau per run."""
    data = sort_rows(run_taus(edges), edges).drop(columns="run_id")
    shown = pd.DataFrame(
        {
            "method": data["method"].astype(str).map(label),
            "seed": data["search_seed"],
            "score": data["kind"],
            "scope": data["scope"],
            "protocol": data["protocol"],
            "edges": data["edges"],
            "τ": [writing.tau(*row) for row in zip(data["tau"], data["constant"], strict=True)],
            "τ without none": data["tau_without_none"].map(writing.number),
            "top-1": data["top1"].map(writing.percent),
        }
    )
    return Table("kendall_tau_runs", "Mean tau-b of every run.", data, shown)


def breakdown_table(group: Group, edges: pd.DataFrame, by: str, name: str, protocol: str) -> Table:
    """Return mean tau in scope one cell: a row per method, a column per choice or cell (``by``)."""
    part = edges[(edges["scope"] == ONE) & (edges["protocol"] == protocol)]
    columns = [by] if by == "cell" else ["group", by]
    counts = part.groupby(["method", "kind"], observed=True)["run_id"].nunique()
    mean = part.groupby(["method", "kind", *columns], observed=True, sort=False)["tau"].mean().unstack(columns)  # noqa: PD010
    single = by == "cell" or len(part["group"].unique()) < 2
    mean.columns = [f"cell {c}" if by == "cell" else str(c[-1]) if single else f"{c[0]} {c[1]}" for c in mean.columns]
    data = mean.reset_index()
    data.insert(2, "seeds", [counts[key] for key in mean.index])
    order = order_methods(data["method"])
    data = data.sort_values(["method", "kind"], key=lambda c: c.map(order.index) if c.name == "method" else c)
    shown = data.assign(
        method=data["method"].map(label), **{c: [writing.tau(v, 1) for v in data[c]] for c in mean.columns}
    )
    caption = f"Mean tau-b per {by} over seeds (scope: {ONE}; {protocol})."
    return Table(name, caption, data, shown.rename(columns={"kind": "score"}))


# --- figures ----------------------------------------------------------------------------------------------------------


def chosen_edges(records_edges: pd.DataFrame, wished: tuple[str, ...]) -> list[tuple[int, str, str]]:
    """Return (cell, group, choice) of the wished CELL:INDEX edges, or of the paper's where none is wished.

    Raises:
        UserError: a wished edge is malformed or does not exist.
    """
    places = records_edges.loc[records_edges["cell"] >= 0, PLACE].drop_duplicates()
    by_cell: dict[int, list[tuple[int, str, str]]] = {}
    for place in places.itertuples(index=False, name=None):
        by_cell.setdefault(place[0], []).append(place)
    found: list[tuple[int, str, str]] = []
    for text in wished or tuple(f"{cell}:{index}" for cell, index in PAPER_EDGES):
        cell, _, index = text.partition(":")
        if not (cell.isdigit() and index.isdigit()):
            raise UserError(f"--edges has {text!r}; write CELL:INDEX, such as 0:1")
        if int(index) < len(by_cell.get(int(cell), [])):
            found.append(by_cell[int(cell)][int(index)])
        elif wished:
            raise UserError(f"--edges has {text!r}, but the records have no such edge; cells are {sorted(by_cell)}")
    return found


def draw_edge(group: Group, place: tuple[int, str, str], protocol: str) -> None:
    """Draw AGNAS Fig. 3 for one edge: bars of score above bars of accuracy, a column per method, a dot per seed."""
    cell, choice_group, choice = place
    discretization = group.records["discretization"]
    at = (discretization["group"] == choice_group) & (discretization["choice"] == choice)
    at &= (discretization["cell"] == cell) & (discretization["protocol"] == protocol)
    scores = group.records["scores"]
    scores = scores[(scores["group"] == choice_group) & (scores["choice"] == choice) & scores["cell"].isin((cell, -1))]
    discretization = discretization[at]
    rows, score, accuracy = pair_edges(scores, discretization)
    names = [c for c in discretization["candidate"].drop_duplicates() if c in rows.attrs["candidates"]]
    columns = [rows.attrs["candidates"].index(name) for name in names]
    tau = tau_b(score, accuracy)[0]
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
        title = f"{plotting.broken(label(method))}\n{kind}{shared}\nτ = {mean_text(tau[mine])}"
        axes[0, column].set_title(title, fontsize=6)
        axes[1, column].set_ylim(0, top)
        axes[1, column].set_xticks(range(len(names)), names, rotation=90, fontsize=5)
        for axis in axes[:, column]:
            axis.tick_params(axis="y", labelsize=5)
    axes[0, 0].set_ylabel("score")
    axes[1, 0].set_ylabel("accuracy, %")
    seeds = rows.groupby("method", observed=True)["run_id"].nunique()
    note = f"{group.name}, cell {cell}, {choice}; bar: mean, dot: seed (n = {_range(seeds)}); dashed: no preference"
    note += f"; *: score shared by all cells; {protocol}"
    plotting.save(figure, group.folder, f"kendall_tau_cell{cell}_{choice.replace('<-', '_from_')}", note)


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
    for position, column in zip(at, values.T, strict=True):
        axis.plot(np.full(len(column), position), column, ".", color="black", markersize=2, alpha=0.6)
    axis.axhline(0, color="black", linewidth=0.5)
    if uniform:
        axis.axhline(values.mean(), color="black", linewidth=0.6, linestyle="--")


def draw_distribution(group: Group, edges: pd.DataFrame, protocol: str) -> None:
    """Draw tau of all edges per method: dots are edges, rings are seeds, the bar is the mean with its interval."""
    part = edges[(edges["scope"] == ONE) & (edges["protocol"] == protocol)]
    part = part if len(part) else edges[edges["protocol"] == protocol]
    pairs = [(m, k) for m in group.methods for k in sorted(part.loc[part["method"] == m, "kind"].unique())]
    figure, axes = plotting.subplots(1, 1, plotting.PAGE if len(pairs) > 4 else plotting.COLUMN, 2.4)
    axis, palette, rng = axes[0, 0], plotting.colors(group.methods), np.random.default_rng(0)
    deviation = tau_deviation(int(part["n"].median()))
    axis.axhspan(-deviation, deviation, color="#eeeeee", zorder=0)
    axis.axhline(0, color="black", linewidth=0.6)
    for place, (method, kind) in enumerate(pairs):
        mine = part[(part["method"] == method) & (part["kind"] == kind)].dropna(subset="tau")
        per_seed = mine.groupby("search_seed")["tau"].agg(["mean", "size"])
        offset = dict(
            zip(per_seed.index, np.linspace(-0.25, 0.25, len(per_seed)) if len(per_seed) > 1 else [0.0], strict=True)
        )
        x = place + mine["search_seed"].map(offset) + rng.uniform(-0.04, 0.04, len(mine))
        y = mine["tau"] + rng.uniform(-0.015, 0.015, len(mine))
        axis.plot(x, y, ".", color=palette[method], alpha=0.35, markersize=3, markeredgewidth=0)
        spots = [place + offset[seed] for seed in per_seed.index]
        axis.plot(spots, per_seed["mean"], "o", color=palette[method], markersize=3.5, markerfacecolor="white")
        total = summarize(per_seed["mean"].to_numpy())
        axis.plot([place - 0.38, place + 0.38], [total.mean] * 2, color="black", linewidth=1.4)
        if not np.isnan(total.low):
            axis.plot([place + 0.38] * 2, [total.low, total.high], color="black", linewidth=0.8)
    counts = part.groupby(["method", "kind"], observed=True)["run_id"].nunique()
    texts = [plotting.broken(f"{label(m)}\n{k}\nn={counts[m, k]}") for m, k in pairs]
    axis.set_xticks(range(len(pairs)), texts, fontsize=5.5)
    axis.set_ylim(-1.08, 1.08)
    axis.set_ylabel("Kendall's τ-b per edge")
    note = f"{group.name}; dot: edge, ring: seed, bar: mean and 95 % interval; grey: ± 1 s.d. by chance; {protocol}"
    plotting.save(figure, group.folder, "kendall_tau_distribution", note)


# --- command ----------------------------------------------------------------------------------------------------------


def analyse(group: Group, arguments: KendallArguments) -> None:
    """Write every table and figure of one group."""
    discretization = group.records["discretization"]
    edges = edge_taus(group.records["scores"], discretization)
    identity = group.records.runs.assign(run_id=group.records.runs["run_id"].astype(str))
    edges = edges.merge(identity[["run_id", "method", "search_seed"]], on="run_id")
    publish(summary_table(group, edges), group)
    say(group)
    if edges.empty:
        print("No run of this group has discretization accuracies, so there is no tau to break down.")
        return
    protocol = headline_protocol(edges, arguments.protocol)
    print(f"headline protocol: {protocol} (of {edges['protocol'].nunique()})")
    publish(breakdown_table(group, edges, "choice", "kendall_tau_choices", protocol), group)
    publish(breakdown_table(group, edges, "cell", "kendall_tau_cells", protocol), group)
    writing.save_table(runs_table(group, edges), group.folder, group.notes)
    edges.to_csv(group.folder / "kendall_tau_edges.csv", index=False)
    if plotting.available():
        draw_distribution(group, edges, protocol)
        for place in chosen_edges(discretization, arguments.edges):
            draw_edge(group, place, protocol)


def main(arguments: KendallArguments) -> None:
    """Analyse every group below the results folder."""
    for group in read_groups(arguments, ("scores", "discretization")):
        analyse(group, arguments)


if __name__ == "__main__":
    run(main, KendallArguments, __doc__)
