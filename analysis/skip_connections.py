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
from analysis.common import Arguments, Group, keep_numbers, label, order_methods, publish, read_groups, run, say
from analysis.stats import proportion_interval, summarize
from analysis.writing import NA, Table
from itnas.errors import UserError
from itnas.spaces import get_space

if TYPE_CHECKING:
    from matplotlib.axes import Axes


COLUMNS = {"genotype": "skips", "genotype_with_none": "skips_with_none", "genotype_without_none": "skips_without_none"}
"""Column of every variant of a run's final cell."""


@dataclass(frozen=True)
class SkipArguments(Arguments):
    """Skip connections of the derived cells."""

    threshold: float = 2 / 3
    """A cell has collapsed when at least this share of its operations are skip connections (2/3: 4 of 6)."""


def limit(genotype: str, space: str, threshold: float) -> tuple[int, int]:
    """Return how many skip connections are a collapse, and of how many operations, for cells like ``genotype``."""
    size = len(get_space(space).operations(genotype))
    return math.ceil(threshold * size - 1e-9), size


def final_skips(group: Group, least: int) -> pd.DataFrame:
    """Return a row per run: skips of the final cell by each rule, whether it collapsed, and the epochs before.

    The final cell is the selection's, which for DARTS-PT is not the last epoch's. ``most`` and ``first_collapsed`` are
    of the cells derived after every epoch from 1 on; at epoch 0 nothing is trained and a score is chance.
    """
    space = get_space(group.constant("space"))
    finals = truth.final_genotypes(group)
    finals["skips"] = [space.count(genotype, space.skip_name) for genotype in finals["genotype"]]
    keys = ["method", "search_seed", "run_id"]
    rows = finals.pivot(index=keys, columns="variant", values="skips").rename(columns=COLUMNS)  # noqa: PD010
    epochs = group.records["epochs"]
    trained = epochs[epochs["epoch"] > 0].assign(run_id=epochs["run_id"].astype(str))
    most = trained.groupby("run_id")["skips"].max()
    first = trained[trained["skips"] >= least].groupby("run_id")["epoch"].min()
    rows = rows.reset_index().rename_axis(columns=None)
    rows = rows.assign(most=rows["run_id"].map(most), first_collapsed=rows["run_id"].map(first))
    return rows.assign(collapsed=rows["skips"] >= least)


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
            "most in any epoch": [NA if np.isnan(value) else f"{value:.0f}" for value in data["most_in_any_epoch"]],
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


def curves(axis: Axes, rows: pd.DataFrame, finals: pd.DataFrame, value: str, color: str) -> None:
    """Draw ``value`` over epochs, every seed a thin line, the mean thick; a dot per seed for the final cell.

    A method without epochs, such as random search, has dots only.
    """
    last = int(rows["epoch"].max())
    if last > 0:
        plotting.lines(axis, rows, "epoch", value, color=color, linewidth=0.5, alpha=0.5)
        mean = rows.groupby("epoch")[value].mean()
        axis.plot(mean.index, mean, color=color, linewidth=1.6)
    width = 0.04 * max(last, 1)
    spread = np.linspace(-width, width, len(finals)) if len(finals) > 1 else np.zeros(1)
    plotting.dots(axis, last + 2.5 * width + spread, finals[value], color=color, markersize=3.5, markeredgewidth=0)
    axis.set_xlim(-width, last + 5 * width)
    axis.set_xticks([0, last] if last else [])


def draw(group: Group, target: tuple[str, str, str] | None, finals: pd.DataFrame, least: int, size: int) -> None:
    """Draw AGNAS Fig. 6: skips per epoch and, with a benchmark table, the cell's accuracy; a column per method."""
    along = ["run_id", "epoch"]
    epochs = group.records["epochs"].sort_values(along)
    rows, methods, palette = 2 if target else 1, group.methods, plotting.colors(group.methods)
    columns = max(len(methods), 4)
    figure, axes = plotting.subplots(rows, columns, plotting.PAGE, 1.1 + rows, sharey="row")
    plotting.panels(axes[:, len(methods) :].ravel(), 0)
    for column, method in enumerate(methods):
        axis = axes[0, column]
        curves(axis, epochs[epochs["method"] == method], finals[finals["method"] == method], "skips", palette[method])
        axis.axhline(least, color="black", linewidth=0.5, linestyle=":")
        axis.set_title(plotting.counted(method, group.seeds(method)), fontsize=6.5)
        axes[-1, column].set_xlabel("epoch")
    axes[0, 0].set_ylim(-0.3, size + 0.3)
    axes[0, 0].set_ylabel(f"skips of {size}")
    axes[0, 0].locator_params("y", integer=True)
    note = f"{group.name}; thin: seed, thick: mean, dot: final cell; dotted: collapse at {least}"
    if target:
        draw_values(group, target, list(axes[1]), palette)
        note += "; accuracy: benchmark table"
    plotting.save(figure, group, "skip_connections", note)


def draw_values(group: Group, target: tuple[str, str, str], axes: list[Axes], palette: dict[str, str]) -> None:
    """Draw the accuracy of the derived cell per epoch, an axis per method."""
    values = truth.epoch_values(group, target).sort_values(["run_id", "epoch"])
    finals = truth.at(truth.final_values(group), target)
    for axis, method in zip(axes, group.methods, strict=False):
        curves(axis, values[values["method"] == method], finals[finals["method"] == method], "value", palette[method])
    shown = pd.concat([values.loc[values["epoch"] > 0, "value"], finals["value"]])
    room = max(0.05 * float(shown.max() - shown.min()), 0.1)
    axes[0].set_ylim(shown.min() - room, shown.max() + room)  # not down to an untrained supernet's cell
    axes[0].set_ylabel(f"{target[1]} {target[2]} acc., %")


# --- command ----------------------------------------------------------------------------------------------------------


def analyse(group: Group, arguments: SkipArguments) -> None:
    """Write the table and the figure of one group; a space without skip connections has neither."""
    space = get_space(group.constant("space"))
    if not any(space.skip_name in choice.candidates for choices in space.groups.values() for choice in choices):
        print(f"{group.name}: space {space.name} has no candidate {space.skip_name}, so there are none to count.")
        return
    epochs = group.records["epochs"]
    least, size = limit(str(epochs["genotype"].iloc[0]), group.constant("space"), arguments.threshold)
    finals = final_skips(group, least)
    publish(skip_table(collapse_rates(finals), least, size), group)
    say(group)
    keep_numbers(finals, "skip_connections_runs", group)
    target = truth.headline(truth.means(group))
    if plotting.available():
        draw(group, target if target and target[0] == "table" else None, finals, least, size)


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
