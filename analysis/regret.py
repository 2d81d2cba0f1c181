"""How far is the derived cell from the best cell of its space, during the search and at its end?

Regret is the best test accuracy of any cell of the space minus that of the derived one, both means over the
benchmark's trainings, in percent points. Drawn against the epochs as in the NAS-Bench-1Shot1 paper; the search spaces of
a study stand side by side. Numbers printed elsewhere are quoted as they are, nothing is subtracted from them.

    python analysis/regret.py results/
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import pandas as pd

from analysis import plotting, truth, writing
from analysis.common import Arguments, Group, keep_numbers, label, order_methods, publish, read_groups, run, say
from analysis.reported import reported
from analysis.stats import summarize
from analysis.writing import NA, Table
from itnas.records import Records

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Target = tuple[str, str, str]
"""Kind, data set and split of an accuracy."""
LINEAR = 0.1
"""The figure's axis is logarithmic above so many percent points, and linear below, where the best cell has its 0."""
KEYS = ("study", "preset", "dataset")
"""What the groups of one table and figure share; they differ in the space."""


def target_of(group: Group) -> Target | None:
    """Return where regret is measured: the first data set's test split of the benchmark's table, or None without one."""
    target = truth.headline(truth.final_values(group))
    known = target is not None and target[0] == "table" and "/".join(target[1:]) in truth.reference(group, "optimum")
    return target if known else None


def regrets(group: Group, target: Target) -> pd.DataFrame:
    """Return accuracy and regret of every run's derived cell after every epoch, and of its final cell.

    Columns: space, run_id, method, search_seed, epoch, final (whether it is what the run chose in the end, which has the
    number of its last epoch), value, regret.
    """
    columns = ["run_id", "method", "search_seed", "epoch", "value"]
    epochs = truth.epoch_values(group, target)[columns].astype({"run_id": str, "method": str})
    finals = truth.at(truth.final_values(group), target)
    last = epochs.groupby("run_id")["epoch"].max()
    finals = finals.assign(epoch=finals["run_id"].map(last).fillna(0).astype(int))
    both = pd.concat([epochs.assign(final=False), finals[columns].assign(final=True)], ignore_index=True)
    optimum = truth.reference(group, "optimum")["/".join(target[1:])]
    both = both.assign(space=group.constant("space"), regret=optimum - both["value"])
    return both.sort_values(["method", "search_seed", "epoch", "final"], ignore_index=True)[
        ["space", *columns[:-1], "final", "value", "regret"]
    ]


def summaries(data: pd.DataFrame) -> pd.DataFrame:
    """Return mean, deviation and interval of error and regret over the seeds of every method and space."""
    rows = []
    for (space, method), part in data[data["final"]].groupby(["space", "method"]):
        regret, error = summarize(part["regret"].to_numpy()), summarize(100 - part["value"].to_numpy())
        row = {"space": space, "method": method, "n": regret.n, "error": error.mean, "error_sd": error.sd}
        row |= {"regret": regret.mean, "regret_sd": regret.sd, "low": regret.low, "high": regret.high}
        rows.append(row | {"smallest": part["regret"].min()})
    return pd.DataFrame(rows)


# --- the table --------------------------------------------------------------------------------------------------------


def regret_table(groups: Sequence[Group], data: pd.DataFrame, target: Target) -> Table:
    """Return test error and regret per method and space, beside a random cell, the best cell and printed errors."""
    numbers = summaries(data)
    shown = _reference_rows(groups, target, "Random cell, expected", "mean")
    for method in order_methods(numbers["method"]):
        part = numbers[numbers["method"] == method]
        row: dict[str, object] = {"method": label(method), "source": "ours", "n": _either(part["n"])}
        for one in part.itertuples():
            row[_column(str(one.space), "error")] = writing.mean_sd(one.error, one.error_sd)  # pyright: ignore[reportArgumentType]
            row[_column(str(one.space), "regret")] = writing.mean_sd(one.regret, one.regret_sd)  # pyright: ignore[reportArgumentType]
        shown.append(row)
    shown += _reference_rows(groups, target, "Best cell of the space", "optimum") + _printed_rows(groups, target)
    columns = ["method", "source", "n"]
    columns += [_column(group.constant("space"), what) for group in groups for what in ("error", "regret")]
    caption = (
        f"{target[1]} {target[2]} error, %, and regret, percent points, of the cells derived by each method's own rule; mean"
        f" ± s.d. over search seeds ({groups[0].constant('preset')}, searched on {groups[0].constant('dataset')}). From the"
        " benchmark table: means over its trainings, and the best such mean of the space; printed errors are minima over"
        " single trainings or come from other protocols, so no regret is formed from them."
    )
    return Table("regret", caption, numbers, writing.filled([{n: row.get(n) for n in columns} for row in shown]))


def _column(space: str, what: str) -> str:
    return f"{space} {what}"


def _either(values: pd.Series) -> str:
    return " or ".join(str(value) for value in sorted(set(values)))


def _reference_rows(groups: Sequence[Group], target: Target, name: str, which: str) -> list[dict[str, object]]:
    row: dict[str, object] = {"method": name, "source": "table"}
    place = "/".join(target[1:])
    for group in groups:
        value, optimum = (truth.reference(group, key)[place] for key in (which, "optimum"))
        row[_column(group.constant("space"), "error")] = writing.number(100 - value)
        row[_column(group.constant("space"), "regret")] = writing.number(optimum - value)
    return [row]


def _printed_rows(groups: Sequence[Group], target: Target) -> list[dict[str, object]]:
    """Return one row per printed label, with its error in every space; minima of single runs are named as such."""
    rows: dict[tuple[str, str], dict[str, object]] = {}  # papers print the same label with different values
    for group in groups:
        printed = reported(group.constant("space"))
        there = (printed["dataset"] == target[1]) & (printed["split"] == target[2])
        for one in printed[there].to_dict("records"):
            names = {"method": one["label"], "source": f"reported: {one['source']}"}
            row = rows.setdefault((one["label"], one["source"]), names)
            row[_column(group.constant("space"), "error")] = writing.number(100 - one["value"])
            row[_column(group.constant("space"), "regret")] = NA
    return list(rows.values())


# --- the figure -------------------------------------------------------------------------------------------------------


def draw(groups: Sequence[Group], data: pd.DataFrame, target: Target, whole: Group) -> None:
    """Draw regret against epochs, a panel per space: thin lines are seeds, thick ones their mean, dots the final ones."""
    from matplotlib.ticker import FormatStrFormatter, MaxNLocator

    width = plotting.COLUMN if len(groups) == 1 else plotting.PAGE
    figure, axes = plotting.subplots(1, len(groups), width, 3.0, sharey=True)
    palette = plotting.colors(whole.methods)
    for axis, group in zip(axes[0], groups, strict=True):
        rows = data[data["space"] == group.constant("space")]
        for method in group.methods:
            _draw_method(axis, rows[rows["method"] == method], palette[method], label(method))
        expected = truth.reference(group, "optimum"), truth.reference(group, "mean")
        axis.axhline(
            expected[0]["/".join(target[1:])] - expected[1]["/".join(target[1:])], color="black", ls=":", lw=0.6
        )
        axis.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
        axis.set_xlabel("epoch")
        axis.set_title(group.constant("space"))
    axes[0, 0].set_yscale("symlog", linthresh=LINEAR, linscale=0.3)
    axes[0, 0].yaxis.set_major_formatter(FormatStrFormatter("%g"))
    axes[0, 0].set_ylim(bottom=0)
    axes[0, 0].set_ylabel(f"{target[1]} {target[2]} regret, percent points")
    found = {text: handle for axis in axes[0] for handle, text in zip(*axis.get_legend_handles_labels(), strict=True)}
    figure.legend(list(found.values()), list(found), loc="outside upper center", ncols=3 if len(groups) == 1 else 6)
    counts = data[data["final"]].groupby(["space", "method"]).size()
    note = f"{whole.name}; benchmark table; thin: seed, thick: mean over seeds (n = {_either(counts)} per method and space)"
    plotting.save(figure, whole, "regret", f"{note}; dot: final; dotted: random cell; linear below {LINEAR}")


def _draw_method(axis: Axes, rows: pd.DataFrame, color: str, text: str) -> None:
    finals, epochs = rows[rows["final"]], rows[~rows["final"]]
    if finals["epoch"].max() < 1:  # nothing was trained
        axis.axhline(finals["regret"].mean(), color=color, linestyle="--", linewidth=1, label=text)
        return
    if len(finals) > 1:
        plotting.lines(axis, epochs, "epoch", "regret", color=color, linewidth=0.4, alpha=0.4)
    mean = epochs.groupby("epoch")["regret"].mean()
    axis.plot(mean.index, mean, color=color, linewidth=1.3, label=text)
    end = finals["epoch"].max() * 1.04
    axis.plot(end, finals["regret"].mean(), "o", color=color, markersize=3, clip_on=False)


# --- command ----------------------------------------------------------------------------------------------------------


def together(groups: Sequence[Group]) -> Group:
    """Return the runs of several spaces as one group, for a table and a figure that show them side by side."""
    if len(groups) == 1:
        return groups[0]
    parts = [group.records for group in groups]
    runs = pd.concat([part.runs for part in parts], ignore_index=True)
    records = Records(runs, {run: meta for part in parts for run, meta in part.meta.items()}, {})
    names = [group.name.replace(f"-{group.constant('space')}", "") for group in groups]
    notes = list(dict.fromkeys(note for group in groups for note in group.notes))
    return replace(groups[0], name=names[0], records=records, folder=groups[0].folder.with_name(names[0]), notes=notes)


def bundles(groups: Sequence[Group]) -> Iterator[list[Group]]:
    """Yield the groups that differ in nothing but the space, in their order."""

    def key(group: Group) -> tuple[str, ...]:
        return tuple(group.constant(name) for name in KEYS)

    for _, found in groupby(sorted(groups, key=key), key):
        yield list(found)


def analyse(*groups: Group) -> None:
    """Write table and figure of groups that differ in the space only; those without a benchmark table are left out."""
    targets = {group.name: target for group in groups if (target := target_of(group)) is not None}
    for group in groups:
        if group.name not in targets:
            print(f"{group.name}: no regret, which needs the benchmark table's value of the derived cells.")
    known = [group for group in groups if targets.get(group.name) == next(iter(targets.values()), None)]
    if not targets:
        return
    target, whole = targets[known[0].name], together(known)
    data = pd.concat([regrets(group, target) for group in known], ignore_index=True)
    publish(regret_table(known, data, target), whole)
    keep_numbers(data, "regret_by_epoch", whole)
    say(whole)
    if plotting.available():
        draw(known, data, target, whole)


def main(arguments: Arguments) -> None:
    """Analyse every study below the results folder."""
    for groups in bundles(list(read_groups(arguments, ("epochs", "evaluation")))):
        analyse(*groups)


if __name__ == "__main__":
    run(main, Arguments, __doc__)
