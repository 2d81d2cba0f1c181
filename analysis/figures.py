"""What the searches looked like: accuracy against time, every seed's result, scores over epochs, cells, cost.

    python analysis/figures.py results/

Every figure is written as PNG and PDF, at column width, with its n; the numbers of each stand beside it as a CSV.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, cast

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np
import pandas as pd

from analysis import cells, plotting, truth, writing
from analysis.common import (
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
from analysis.stats import summarize
from analysis.writing import NA, Table
from itnas.spaces import get_space

SEARCH_PHASES = ("train", "scores")
"""Phases that a search needs to go on; discretization and evaluation measure, they do not search."""
COSTS = {"train_seconds": "training", "scores_seconds": "scores", "selection_seconds": "selection"}
COSTS |= {"discretization_seconds": "discretization", "evaluation_seconds": "evaluation"}
"""Parts of a run's cost, in the order of the stack; the first three are the search."""
ROWS = 60
"""Choices times candidates that one heat map can show."""
Target = tuple[str, str, str]


# --- accuracy against search time -------------------------------------------------------------------------------------


def search_time(timing: pd.DataFrame) -> pd.DataFrame:
    """Return the seconds of search spent up to the end of every epoch: run_id, epoch, seconds."""
    phases = timing[timing["phase"].isin(SEARCH_PHASES) & timing["epoch"].notna()]
    per_epoch = phases.groupby(["run_id", "epoch"], observed=True)["seconds"].sum()
    return per_epoch.groupby("run_id", observed=True).cumsum().reset_index()


def anytime(group: Group, target: Target) -> pd.DataFrame:
    """Return value of the derived cell against seconds of search, the finished selection as the last point of a run.

    Columns: run_id, method, search_seed, epoch, seconds, value. Epoch 0, an untrained supernet's cell, is left out.
    """
    values = truth.epoch_values(group, target)
    time = search_time(group.records["timing"])
    values = (
        values[values["epoch"] > 0]
        .assign(run_id=values["run_id"].astype(str))
        .merge(time.assign(run_id=time["run_id"].astype(str)), on=["run_id", "epoch"], how="left")
    )
    values["seconds"] = values["seconds"].fillna(0.0)
    finals = truth.at(truth.final_values(group), target)[["run_id", "method", "search_seed", "value"]]
    selection = {run_id: meta["cost"].get("selection_seconds") or 0.0 for run_id, meta in group.records.meta.items()}
    last = values.groupby("run_id")[["epoch", "seconds"]].max()
    finals = finals.join(last, on="run_id").fillna({"epoch": 0, "seconds": 0.0})
    finals["seconds"] += finals["run_id"].map(selection)
    finals["epoch"] += 1
    columns = ["run_id", "method", "search_seed", "epoch", "seconds", "value"]
    return pd.concat([values[columns], finals[columns]]).sort_values(["method", "search_seed", "epoch"])


def draw_anytime(group: Group, target: Target) -> None:
    """Draw the anytime curve; a method that trains nothing is a horizontal line at its mean."""
    from matplotlib.ticker import LogFormatter, NullFormatter

    data = anytime(group, target)
    keep_numbers(data, "anytime", group)
    figure, axes = plotting.subplots(1, 1, plotting.COLUMN, 3.1)
    axis, palette = axes[0, 0], plotting.colors(group.methods)
    for method in group.methods:
        rows = data[data["method"] == method]
        text = f"{label(method)} (n={group.seeds(method)})"
        if rows["epoch"].max() <= 1:
            axis.axhline(rows["value"].mean(), color=palette[method], linestyle="--", linewidth=1, label=text)
            continue
        rows = rows[rows["seconds"] > 0]
        looks = {"drawstyle": "steps-post", "color": palette[method], "linewidth": 0.4, "alpha": 0.4}
        plotting.lines(axis, rows, "seconds", "value", **looks)
        mean = rows.groupby("epoch")[["seconds", "value"]].mean()
        axis.step(mean["seconds"], mean["value"], where="post", color=palette[method], linewidth=1.5, label=text)
    optimum = truth.reference(group, "optimum").get("/".join(target[1:]))
    if optimum is not None:
        axis.axhline(optimum, color="black", linewidth=0.6, linestyle=":", label="optimum")
    axis.set_xscale("log")
    axis.xaxis.set_major_formatter(LogFormatter())
    decades = np.ptp(np.log10(data.loc[data["seconds"] > 0, "seconds"]))
    axis.xaxis.set_minor_formatter(NullFormatter() if decades > 1 else LogFormatter(minor_thresholds=(2, 0.5)))
    axis.set_xlabel("seconds of search")
    axis.set_ylabel(f"{target[1]} {target[2]} accuracy, %")
    figure.legend(*axis.get_legend_handles_labels(), loc="outside upper center", ncols=2)
    plotting.save(figure, group, "anytime", f"{group.name}; benchmark table; thin: seed, thick: mean over seeds")


# --- every seed's result ----------------------------------------------------------------------------------------------


def draw_results(group: Group, values: pd.DataFrame, target: Target) -> None:
    """Draw the regret (with a table) or the accuracy of every seed's derived cell."""
    kind, dataset, split = target
    own = truth.at(values, target)
    optimum = truth.reference(group, "optimum").get(f"{dataset}/{split}") if kind == "table" else None
    expected = truth.reference(group, "mean").get(f"{dataset}/{split}") if kind == "table" else None
    own = own.assign(shown=own["value"] if optimum is None else optimum - own["value"])
    figure, axes = plotting.subplots(1, 1, plotting.COLUMN, 0.7 + 0.28 * len(group.methods))
    axis, palette, rng = axes[0, 0], plotting.colors(group.methods), np.random.default_rng(0)
    for row, method in enumerate(group.methods):
        found = own.loc[own["method"] == method, "shown"].to_numpy()
        total = summarize(found)
        jitter = rng.uniform(-0.16, 0.16, len(found))
        plotting.dots(
            axis, found, row + jitter, color=palette[method], markersize=5, alpha=0.8, markeredgewidth=0, zorder=3
        )
        if len(found) > 1:
            axis.plot([total.mean] * 2, [row - 0.32, row + 0.32], color="black", linewidth=1.2)
        if not np.isnan(total.low):
            axis.plot([total.low, total.high], [row + 0.32] * 2, color="black", linewidth=0.7)
    if optimum is not None and expected is not None:
        axis.axvline(optimum - expected, color="#777777", linewidth=0.7, linestyle="--")
    axis.set_yticks(range(len(group.methods)), [f"{label(m)} (n={group.seeds(m)})" for m in group.methods])
    axis.invert_yaxis()
    what = "accuracy, %" if optimum is None else "regret, percent points"
    axis.set_xlabel(f"{dataset} {split} {what}")
    source = "benchmark table" if kind == "table" else "trained by us"
    note = f"{group.name}; {source}; dot: seed; bar: mean, 95 % interval"
    plotting.save(figure, group, "results", note + ("; dashed: random cell" if expected is not None else ""))


# --- scores over epochs -----------------------------------------------------------------------------------------------


def preference(scores: pd.DataFrame) -> pd.DataFrame:
    """Return, per method, the score kind with most epochs as deviation from its edge's mean, in percent of that mean.

    0 is no preference. A kind that is also negative (a drop of accuracy) stays in its own unit; where all scores of an
    edge are 0 (an angle before training) there is no value. Mean over seeds; columns: method, kind, group, choice, candidate,
    epoch, value.
    """
    rows = scores[(scores["cell"] == -1) & (scores["kind"] != "constant")]
    epochs = epochs_of_kinds(rows)
    longest = epochs.sort_values(["method", "epoch"]).drop_duplicates("method", keep="last")
    kinds = dict(zip(longest["method"].astype(str), longest["kind"].astype(str), strict=True))
    rows = rows[of_kinds(rows, kinds)]
    edge = ["run_id", "kind", "group", "choice", "epoch"]
    mean = rows.groupby(edge, observed=True)["score"].transform("mean")
    positive = rows.groupby("kind", observed=True)["score"].transform("min") >= 0
    relative = np.where(positive, 100 * (rows["score"] / mean.where(mean > 0) - 1), rows["score"] - mean)
    keys = ["method", "kind", "group", "choice", "candidate", "epoch"]
    return rows.assign(value=relative).groupby(keys, observed=True, sort=False)["value"].mean().reset_index()


def draw_scores(group: Group) -> None:
    """Draw the heat map edge x operation over epochs; many choices are drawn group by group, one figure each."""
    data = preference(group.records["scores"])
    keep_numbers(data, "scores", group)
    if data.empty:
        return
    rows = data[["group", "choice", "candidate"]].drop_duplicates()
    parts = rows["group"].astype(str).unique().tolist() if len(rows) > ROWS else [None]
    for name in parts:
        draw_heat_map(group, data if name is None else data[data["group"] == name], name)


def draw_heat_map(group: Group, data: pd.DataFrame, part: str | None) -> None:
    """Draw scores over epochs: a row per choice and candidate, a column per method, one colour scale for all."""
    methods = [method for method in group.methods if method in set(data["method"])]
    rows = data[["group", "choice", "candidate"]].drop_duplicates()
    row_height = min(0.11, 7.5 / len(rows))
    figure, axes = plotting.subplots(1, len(methods), plotting.PAGE, 1.2 + row_height * len(rows), sharey=True)
    top = min(100.0, float(data["value"].abs().max()))
    image = cast(Any, None)
    for axis, method in zip(axes[0], methods, strict=True):
        mine = data[data["method"] == method]
        grid = mine.pivot(index=["group", "choice", "candidate"], columns="epoch", values="value")  # noqa: PD010
        grid = grid.reindex(pd.MultiIndex.from_frame(rows))
        epochs = mine["epoch"].to_numpy()
        extent = (epochs.min() - 0.5, epochs.max() + 0.5, len(rows) - 0.5, -0.5)
        image = axis.imshow(
            grid, aspect="auto", cmap="RdBu_r", vmin=-top, vmax=top, extent=extent, interpolation="none"
        )
        kind = mine["kind"].iloc[0]
        spread = f"up to {mine['value'].abs().max():.1f} %"
        axis.set_title(plotting.broken(f"{label(method)}\n{kind}, n={group.seeds(method)}\n{spread}"), fontsize=5.5)
        axis.set_xlabel("epoch")
        axis.locator_params("x", integer=True)
        for line in np.flatnonzero((rows[["group", "choice"]] != rows[["group", "choice"]].shift()).any(axis=1))[1:]:
            axis.axhline(line - 0.5, color="black", linewidth=0.5)
    ambiguous = rows.drop_duplicates(["group", "choice"])["choice"].duplicated().any()  # normal and reduction cells
    names = [f"{g} {c}  {o}" if ambiguous else f"{c}  {o}" for g, c, o in rows.itertuples(index=False, name=None)]
    axes[0, 0].set_yticks(range(len(rows)), names)
    axes[0, 0].tick_params(axis="y", labelsize=min(4.5, 50 * row_height))
    bar = figure.colorbar(image, ax=axes.ravel().tolist(), location="right", shrink=0.6, pad=0.01)
    bar.set_label("% above or below the edge's mean", fontsize=6)
    words = f"{group.name}; mean over seeds; white: no preference (all candidates of the edge score alike)"
    if part is None:
        plotting.save(figure, group, "scores", words)
    else:
        plotting.save(figure, group, f"scores_{part}", f"{part} of {words}")


# --- cells and cost ---------------------------------------------------------------------------------------------------


def draw_derived(group: Group, values: pd.DataFrame, target: Target | None) -> None:
    """Draw the derived cells of every method, the first seeds side by side."""
    space = get_space(group.constant("space"))
    finals = truth.final_genotypes(group)
    finals = finals[finals["variant"] == "genotype"].sort_values("search_seed")
    rows = None if target is None else truth.at(values, target)
    known = {} if rows is None else dict(zip(rows["run_id"], rows["value"], strict=True))
    for method in group.methods:
        part = finals[finals["method"] == method]
        drawn, seeds = [], 0
        for row in part.to_dict("records"):
            worth = known.get(row["run_id"])
            title = f"seed {row['search_seed']}" + ("" if worth is None else f": {worth:.2f} %")
            graphs = cells.cell_graphs(space, row["genotype"])
            if drawn and len(drawn) + len(graphs) > cells.SIDE_BY_SIDE:
                break
            drawn += [(f"{title} {name}".strip(), edges) for name, edges in graphs]
            seeds += 1
        if not drawn:
            print(f"{group.name}: no drawing of {label(method)}'s cells, as its choices are not edges of one graph.")
            continue
        what = "" if target is None else f", {target[1]} {target[2]}"
        note = f"{label(method)}, {group.name}{what}; {seeds} of n={group.seeds(method)} seeds"
        cells.draw_cells(drawn, group, f"cell_{method}", note)


def costs(group: Group) -> pd.DataFrame:
    """Return the seconds of every part and the peak memory (MB) per run; 0 seconds where a run has no such part."""
    rows = []
    for one in group.records.runs.to_dict("records"):
        cost = group.records.meta[one["run_id"]]["cost"]
        row = {"method": one["method"], "search_seed": one["search_seed"], "run_id": one["run_id"]}
        row |= {name: float(cost.get(name) or 0.0) for name in COSTS}
        rows.append(row | {"peak_memory_mb": float(cost.get("peak_memory_mb") or np.nan)})
    return pd.DataFrame(rows)


def cost_table(group: Group, data: pd.DataFrame) -> Table:
    """Return mean seconds per part and mean peak memory per method."""
    mean = data.groupby("method")[[*COSTS, "peak_memory_mb"]].mean().loc[group.methods].reset_index()
    mean.insert(1, "seeds", [group.seeds(method) for method in group.methods])
    devices = sorted({str(m["environment"].get("device", NA)) for m in group.records.meta.values()})
    shown = mean.assign(
        method=mean["method"].map(label), **{name: [writing.number(v, 1) for v in mean[name]] for name in COSTS}
    ).assign(peak_memory_mb=[writing.number(v, 0) for v in mean["peak_memory_mb"]])
    names = {name: f"{text}, s" for name, text in COSTS.items()} | {"peak_memory_mb": "peak memory, MB"}
    caption = f"Cost of a run, mean over seeds (device: {', '.join(devices)})."
    return Table("cost", caption, mean, shown.rename(columns=names))


def draw_costs(group: Group, data: pd.DataFrame) -> None:
    """Draw stacked bars of seconds per method, a dot per run's total."""
    figure, axes = plotting.subplots(1, 1, plotting.COLUMN, 0.9 + 0.26 * len(group.methods))
    axis, shades = axes[0, 0], ("#0072B2", "#56B4E9", "#009E73", "#E69F00", "#999999")
    mean = data.groupby("method")[list(COSTS)].mean().loc[group.methods]
    left = np.zeros(len(mean))
    for (name, text), shade in zip(COSTS.items(), shades, strict=True):
        axis.barh(range(len(mean)), mean[name], left=left, color=shade, height=0.6, label=text)
        left += mean[name].to_numpy()
    total = data.assign(total=data[list(COSTS)].sum(axis=1))
    for row, method in enumerate(group.methods):
        found = total.loc[total["method"] == method, "total"]
        plotting.dots(axis, found, np.full(len(found), row), color="black", markersize=2.5)
    axis.set_yticks(range(len(mean)), [f"{label(m)} (n={group.seeds(m)})" for m in group.methods])
    axis.invert_yaxis()
    axis.set_xlim(0, 1.04 * float(total["total"].max()))
    axis.set_xlabel("seconds")
    figure.legend(*axis.get_legend_handles_labels(), loc="outside upper center", ncols=3)
    plotting.save(figure, group, "cost", f"{group.name}; bar: mean over seeds, dot: one run's total")


# --- command ----------------------------------------------------------------------------------------------------------


def analyse(group: Group) -> None:
    """Write every figure of one group."""
    values = truth.final_values(group)
    target = truth.headline(values)
    cost = costs(group)
    publish(cost_table(group, cost), group)
    say(group)
    if not plotting.available():
        return
    draw_costs(group, cost)
    if target is not None:
        draw_results(group, values, target)
    if target is not None and target[0] == "table":
        draw_anytime(group, target)
    else:
        print(f"{group.name}: no accuracy against time, which needs the benchmark table's value of every epoch's cell.")
    draw_scores(group)
    draw_derived(group, values, target)


def main(arguments: Arguments) -> None:
    """Analyse every group below the results folder."""
    for group in read_groups(arguments, ("epochs", "timing", "scores", "evaluation")):
        analyse(group)


if __name__ == "__main__":
    run(main, Arguments, __doc__)
