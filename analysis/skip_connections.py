"""Does a method collapse to skip connections? Their number in the derived cell per epoch (AGNAS App. B, Fig. 6).

With benchmark values in the records, the test accuracy of the derived cell is drawn below, epoch by epoch. The collapse
rate is the share of seeds whose final cell has at least ``--threshold`` of its operations skipped.

    python analysis/skip_connections.py results/
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np
import pandas as pd

from analysis import plotting, truth, writing
from analysis.common import Arguments, Group, label, order_methods, publish, read_groups, run, say
from analysis.stats import proportion_interval, summarize
from analysis.writing import NA, Table
from itnas.errors import UserError
from itnas.spaces import get_space

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class SkipArguments(Arguments):
    """Skip connections of the derived cells."""

    threshold: float = 2 / 3
    """A cell has collapsed when at least this share of its operations are skip connections (2/3: 4 of 6)."""


def limit(genotype: str, space: str, threshold: float) -> tuple[int, int]:
    """Return how many skip connections are a collapse, and of how many operations, for cells like ``genotype``."""
    size = len(get_space(space).operations(genotype))
    return math.ceil(threshold * size - 1e-9), size


def final_skips(epochs: pd.DataFrame, least: int) -> pd.DataFrame:
    """Return a row per run: skips of the final cell by each rule, most skips in any epoch, first collapsed epoch.

    Epoch 0, where nothing is trained and a score is chance, counts only for methods that have no other.
    """
    ordered = epochs.sort_values(["method", "search_seed", "epoch"])
    final = ordered.groupby("run_id", observed=True)["epoch"].transform("max")
    ordered = ordered[(ordered["epoch"] > 0) | (final == 0)]
    grouped = ordered.groupby(["method", "search_seed", "run_id"], observed=True)
    last = grouped[["epoch", "skips", "skips_with_none", "skips_without_none"]].last()
    first = (
        ordered[ordered["skips"] >= least].groupby(["method", "search_seed", "run_id"], observed=True)["epoch"].min()
    )
    return last.assign(
        most=grouped["skips"].max(), first_collapsed=first, collapsed=last["skips"] >= least
    ).reset_index()


def collapse_rates(finals: pd.DataFrame) -> pd.DataFrame:
    """Return per method: seeds, mean and range of final skips by each rule, collapse rate with Wilson interval."""
    rows = []
    for method in order_methods(finals["method"].unique()):
        part = finals[finals["method"] == method]
        skips, count = summarize(part["skips"].to_numpy()), int(part["collapsed"].sum())
        low, high = proportion_interval(count, len(part))
        row = {"method": method, "seeds": len(part), "skips": skips.mean, "low": skips.low, "high": skips.high}
        row |= {"fewest": part["skips"].min(), "most": part["skips"].max(), "most_in_any_epoch": part["most"].max()}
        row |= {"with_none": part["skips_with_none"].mean(), "without_none": part["skips_without_none"].mean()}
        row |= {"collapsed": count, "rate": count / len(part), "rate_low": low, "rate_high": high}
        rows.append(row | {"first_collapsed_epoch": part["first_collapsed"].median()})
    return pd.DataFrame(rows)


def skip_table(data: pd.DataFrame, least: int, size: int) -> Table:
    """Return the table of skips and collapse rates."""
    shown = pd.DataFrame(
        {
            "method": data["method"].map(label),
            "seeds": data["seeds"],
            "skips, own rule": data["skips"].map(writing.number),
            "95 % interval": [writing.interval(*pair) for pair in zip(data["low"], data["high"], strict=True)],
            "range": [f"{low} to {high}" for low, high in zip(data["fewest"], data["most"], strict=True)],
            "with none": data["with_none"].map(writing.number),
            "without none": data["without_none"].map(writing.number),
            "most in any epoch": data["most_in_any_epoch"],
            "collapsed": [f"{count} of {n}" for count, n in zip(data["collapsed"], data["seeds"], strict=True)],
            "rate, 95 % interval": [
                f"{writing.percent(rate)} [{writing.percent(low)}, {writing.percent(high)}]"
                for rate, low, high in zip(data["rate"], data["rate_low"], data["rate_high"], strict=True)
            ],
            "first collapsed epoch": data["first_collapsed_epoch"].map(lambda v: NA if np.isnan(v) else f"{v:.0f}"),
        }
    )
    caption = (
        f"Skip connections among the {size} operations of the final derived cell, mean over search seeds with 95 %"
        f" percentile bootstrap interval. Collapsed: {least} or more of {size}; rate with Wilson interval;"
        " first collapsed epoch: median over the seeds that ever collapsed."
    )
    return Table("skip_connections", caption, data, shown)


# --- figure -----------------------------------------------------------------------------------------------------------


def curves(axis: Axes, rows: pd.DataFrame, value: str, color: str) -> None:
    """Draw ``value`` over epochs: every seed a thin line, the mean thick; a dot where there is one epoch only."""
    if rows["epoch"].max() == 0:
        spread = np.linspace(-0.5, 0.5, len(rows)) if len(rows) > 1 else [0.0]
        axis.plot(spread, rows[value], ".", color=color, markersize=4, alpha=0.7)
        axis.set_xlim(-2, 2)
        axis.set_xticks([0])
        return
    for _, part in rows.groupby("run_id", observed=True):
        axis.plot(part["epoch"], part[value], color=color, linewidth=0.5, alpha=0.5)
    mean = rows.groupby("epoch")[value].mean()
    axis.plot(mean.index, mean, color=color, linewidth=1.6)


def draw(group: Group, target: tuple[str, str, str] | None, least: int, size: int) -> None:
    """Draw AGNAS Fig. 6: skips per epoch and, with a benchmark table, the cell's accuracy; a column per method."""
    epochs = group.records["epochs"].sort_values("epoch")
    values = truth.epoch_values(group, target).sort_values("epoch") if target else None
    rows, methods, palette = 1 if values is None else 2, group.methods, plotting.colors(group.methods)
    columns = max(len(methods), 4)
    figure, axes = plotting.subplots(rows, columns, plotting.PAGE, 1.1 + rows, sharey="row")
    plotting.panels(axes[:, len(methods) :].ravel(), 0)
    for column, method in enumerate(methods):
        axis = axes[0, column]
        curves(axis, epochs[epochs["method"] == method], "skips", palette[method])
        axis.axhline(least, color="black", linewidth=0.5, linestyle=":")
        axis.set_title(plotting.counted(method, group.seeds(method)), fontsize=6.5)
        if values is not None:
            curves(axes[1, column], values[values["method"] == method], "value", palette[method])
        axes[-1, column].set_xlabel("epoch")
    axes[0, 0].set_ylim(-0.3, size + 0.3)
    axes[0, 0].set_ylabel(f"skips of {size}")
    note = f"{group.name}; thin: seed, thick: mean; dotted: collapse at {least}"
    if target:
        axes[-1, 0].set_ylabel(f"{target[1]} {target[2]} acc., %")
        note += "; accuracy: benchmark table"
    plotting.save(figure, group.folder, "skip_connections", note)


# --- command ----------------------------------------------------------------------------------------------------------


def analyse(group: Group, arguments: SkipArguments) -> None:
    """Write the table and the figure of one group."""
    epochs = group.records["epochs"]
    least, size = limit(str(epochs["genotype"].iloc[0]), group.constant("space"), arguments.threshold)
    finals = final_skips(epochs, least)
    publish(skip_table(collapse_rates(finals), least, size), group)
    say(group)
    finals.to_csv(group.folder / "skip_connections_runs.csv", index=False)
    target = truth.headline(truth.means(group))
    if plotting.available():
        draw(group, target if target and target[0] == "table" else None, least, size)


def main(arguments: SkipArguments) -> None:
    """Analyse every group below the results folder."""
    if not 0 < arguments.threshold <= 1:
        raise UserError(
            f"--threshold is {arguments.threshold}; it is a share of the cell's operations, above 0 up to 1"
        )
    for group in read_groups(arguments, ("epochs", "evaluation")):
        analyse(group, arguments)


if __name__ == "__main__":
    run(main, SkipArguments, __doc__)
