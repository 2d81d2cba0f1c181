"""Does the curvature of the validation loss warn of a collapse? The dominant eigenvalue of its Hessian in the alphas.

RobustDARTS (Zela et al., ICLR 2020) stops a search when the local average of that eigenvalue has grown by more than 30 %
within four records, and takes the cell from before. Which epoch that would have been, how many skip connections its cell
has beside the final one's, and how eigenvalue and skips go together.

    python analysis/eigenvalues.py results/
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np
import pandas as pd

from analysis import plotting, writing
from analysis.common import Arguments, Group, keep_numbers, label, order_methods, publish, read_groups, run, say
from analysis.stats import spearman, summarize
from analysis.writing import NA, Table


@dataclass(frozen=True)
class EigenvalueArguments(Arguments):
    """The eigenvalue and RobustDARTS's early stopping."""

    window: int = 5
    """Records in a local average."""
    lag: int = 4
    """Records between the two averages that are compared."""
    factor: float = 1.3
    """Growth that stops the search."""
    earliest: int = 10
    """Earliest epoch whose cell may be returned."""


class Stop(NamedTuple):
    """RobustDARTS's early stopping."""

    stopped: int
    """Epoch after which the search would have stopped."""
    returned: int
    """Epoch whose cell it would have returned."""


def early_stop(epochs: np.ndarray, eigenvalues: np.ndarray, settings: EigenvalueArguments) -> Stop | None:
    """Return where RobustDARTS would have stopped, or None if nowhere.

    The local average of a record is the mean over the window centred on it, so it is known half a window later. The
    first record whose average exceeds ``factor`` times that of ``lag`` records before stops the search; the cell of the
    earlier record is returned, unless it is from before ``earliest``.
    """
    half = settings.window // 2
    if not judged(epochs, settings):
        return None
    average = np.convolve(
        eigenvalues, np.full(settings.window, 1 / settings.window), mode="valid"
    )  # [i]: record i + half
    for now in range(settings.lag, len(average)):
        before = now - settings.lag
        grown = average[now] > settings.factor * average[before] > 0
        if grown and epochs[before + half] >= settings.earliest:
            return Stop(int(epochs[now + 2 * half]), int(epochs[before + half]))
    return None


def judged(epochs: np.ndarray, settings: EigenvalueArguments) -> bool:
    """Return whether the rule compares anything: whether there are enough records after the earliest epoch."""
    last_before = len(epochs) - 1 - settings.window // 2 - settings.lag
    return last_before >= settings.window // 2 and bool(epochs[last_before] >= settings.earliest)


def run_table(eigenvalues: pd.DataFrame, epochs: pd.DataFrame, settings: EigenvalueArguments) -> pd.DataFrame:
    """Return a row per run: last and largest eigenvalue, the stop, skips then and at the end, and their correlation.

    ``rho`` is Spearman's of eigenvalue and skip connections over the recorded epochs, NaN where either is constant.
    """
    skips_of = {str(run): part for run, part in epochs[["run_id", "epoch", "skips"]].groupby("run_id", observed=True)}
    keys = ["method", "search_seed", "run_id"]
    rows, pairs = [], []
    for key, part in eigenvalues.sort_values("epoch", kind="stable").groupby(keys, observed=True):
        row = dict(zip(keys, key, strict=True))
        at, values = part["epoch"].to_numpy(), part["eigenvalue"].to_numpy()
        stop = early_stop(at, values, settings)
        mine = skips_of[str(row["run_id"])]
        skips = dict(zip(mine["epoch"].to_numpy(), mine["skips"].to_numpy(), strict=True))
        pairs.append((values, np.array([skips.get(epoch, np.nan) for epoch in at], dtype=float)))
        row |= {"last": values[-1], "largest": values.max(), "smallest": part["smallest"].to_numpy().min()}
        row |= {"judged": judged(at, settings)}
        row |= {
            "stopped": np.nan if stop is None else stop.stopped,
            "returned": np.nan if stop is None else stop.returned,
        }
        row |= {"skips_returned": np.nan if stop is None else float(skips[stop.returned])}
        rows.append(row | {"skips_last": float(mine["skips"].iloc[-1])})
    if not rows:
        return pd.DataFrame(rows)
    longest = max(len(values) for values, _ in pairs)
    padded = np.array(
        [[np.pad(one, (0, longest - len(one)), constant_values=np.nan) for one in pair] for pair in pairs]
    )
    return pd.DataFrame(rows).assign(rho=spearman(padded[:, 0], padded[:, 1]))


def eigenvalue_table(runs: pd.DataFrame, settings: EigenvalueArguments) -> Table:
    """Return the table of eigenvalues and early stops per method."""
    shown = []
    for method in order_methods(runs["method"].unique()):
        part = runs[runs["method"] == method]
        stopped = part.dropna(subset=["stopped"])
        last = summarize(part["last"].to_numpy())
        row: dict[str, object] = {"method": label(method), "seeds": len(part)}
        row |= {
            "last eigenvalue": writing.mean_sd(last.mean, last.sd, 3),
            "largest": writing.number(part["largest"].max(), 3),
            "most negative": writing.number(part["smallest"].min(), 3),
        }
        known = int(part["judged"].sum())
        row |= {"stopped": f"{len(stopped)} of {known}" if known else f"{NA} (too few records)"}
        row |= {"cell of epoch": NA if stopped.empty else f"{stopped['returned'].median():.0f}"}
        row |= {"its skips": writing.number(stopped["skips_returned"].mean()) if len(stopped) else NA}
        row |= {"skips at the end": writing.number(part["skips_last"].mean())}
        shown.append(row | {"Spearman with skips": writing.tau(float(part["rho"].mean()), 1)})
    caption = (
        "Dominant (largest) eigenvalue of the Hessian of the validation loss in the alphas. Stopped: runs that RobustDARTS's"
        " rule would"
        f" have stopped early (local average over {settings.window} records above {settings.factor:g} times that of"
        f" {settings.lag} records before, epoch {settings.earliest} or later), and the epoch (median) whose cell it returns."
    )
    return Table("eigenvalues", caption, runs, writing.filled(shown))


def draw(group: Group, eigenvalues: pd.DataFrame, runs: pd.DataFrame) -> None:
    """Draw the eigenvalue over epochs, every seed a thin line, the returned epoch a dot; an axis per method."""
    methods = [method for method in group.methods if method in set(runs["method"])]
    figure, axes = plotting.subplots(1, max(len(methods), 3), plotting.PAGE, 1.9, sharey=True)
    plotting.panels(list(axes[0]), len(methods))
    palette = plotting.colors(group.methods)
    for axis, method in zip(axes[0], methods, strict=False):
        mine = eigenvalues[eigenvalues["method"] == method].sort_values(["run_id", "epoch"])
        plotting.lines(axis, mine, "epoch", "eigenvalue", color=palette[method], linewidth=0.5, alpha=0.5)
        mean = mine.groupby("epoch")["eigenvalue"].mean()
        axis.plot(mean.index, mean, color=palette[method], linewidth=1.6)
        stops = runs[runs["method"] == method].dropna(subset=["returned"])
        at = stops.merge(mine, left_on=["run_id", "returned"], right_on=["run_id", "epoch"])
        axis.plot(at["epoch"], at["eigenvalue"], "o", color="black", markersize=3, markerfacecolor="white")
        axis.set_title(plotting.counted(method, int((runs["method"] == method).sum())), fontsize=6.5)
        axis.set_xlabel("epoch")
        axis.locator_params("x", integer=True)
    axes[0, 0].set_ylabel("dominant eigenvalue")
    note = f"{group.name}; thin: seed, thick: mean; ring: epoch whose cell RobustDARTS would return"
    plotting.save(figure, group, "eigenvalues", note)


def analyse(group: Group, arguments: EigenvalueArguments) -> None:
    """Write the table and the figure of one group."""
    eigenvalues = group.records["eigenvalues"]
    if eigenvalues.empty:
        print(f"{group.name}: no run recorded eigenvalues of its alphas' Hessian, so there is nothing to show.")
        return
    runs = run_table(eigenvalues, group.records["epochs"], arguments)
    publish(eigenvalue_table(runs, arguments), group)
    say(group)
    keep_numbers(eigenvalues, "eigenvalues_epochs", group)
    if plotting.available():
        draw(group, eigenvalues, runs)


def main(arguments: EigenvalueArguments) -> None:
    """Analyse every group below the results folder."""
    for group in read_groups(arguments, ("epochs", "eigenvalues")):
        analyse(group, arguments)


if __name__ == "__main__":
    run(main, EigenvalueArguments, __doc__)
