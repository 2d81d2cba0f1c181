"""What the searches found: accuracy of the derived cells, beside random cells, the optimum and the papers' own numbers.

Accuracy per method and data set, the cells with and without `none`, a paired comparison with a baseline, the deviation
from the printed numbers, and every run. Accuracies of a benchmark table and of networks we trained are never mixed.

    python analysis/tables.py results/
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np
import pandas as pd

from analysis import truth, writing
from analysis.common import NONE, Arguments, Group, keep, label, publish, read_groups, run, say
from analysis.reported import reported
from analysis.stats import holm, paired
from analysis.writing import NA, Table
from itnas.spaces import get_space

KIND_WORDS = {"table": "from the benchmark table", "trained": "trained by us from scratch"}
"""What an evaluation's kind is called where a reader sees it."""
OURS, TABLE = "ours", "table"


@dataclass(frozen=True)
class TableArguments(Arguments):
    """Tables of what the searches found."""

    baseline: str = "random"
    """Method that the others are compared with, seed by seed."""


# --- accuracy ---------------------------------------------------------------------------------------------------------


def column(dataset: str, split: str) -> str:
    """Return the name of a column of accuracies."""
    return f"{dataset} {split}"


def kind_caption(group: Group, kind: str, values: pd.DataFrame) -> str:
    """Return where the accuracies come from and how many runs and trainings stand behind them."""
    rows = group.records["evaluation"]
    schedules = sorted(rows.loc[rows["kind"] == kind, "epochs"].dropna().unique())
    trainings = sorted(values.loc[values["kind"] == kind, "n"].dropna().unique())
    unknown = " or unknown" if values.loc[values["kind"] == kind, "n"].isna().any() else ""
    means = f"; trainings behind a cell's accuracy: {_either(trainings)}{unknown}" if trainings else ""
    seeds = group.records.runs.groupby("method", observed=True)["run_id"].nunique()
    searched = group.constant("dataset")
    return (
        f"accuracies in percent, {KIND_WORDS.get(kind, kind)} (epochs: {_either(schedules[-1:])}{means}); searched on"
        f" {searched}, search seeds: n = {_either(sorted(seeds.unique()))}"
    )


def _either(values: Iterable[float]) -> str:
    return " or ".join(f"{value:g}" for value in values) or NA


def accuracy_table(group: Group, kind: str, values: pd.DataFrame) -> Table:
    """Return AGNAS Table 3: a row per method and reference, a column per data set and split, the best seed apart."""
    rows = truth.summaries(values[(values["variant"] == "genotype") & (values["kind"] == kind)])
    columns = [(d, s) for k, d, s in truth.targets(rows) if k == kind]
    head = truth.headline(rows)
    shown = [*_reference_rows(group, kind, columns, first=True), *_method_rows(rows, columns, head)]
    shown += _reference_rows(group, kind, columns, first=False)
    shown += _reported_rows(group.constant("space"), columns)
    caption = f"Derived cells by each method's own rule: {kind_caption(group, kind, values)}. Mean ± s.d. over seeds."
    names = ["method", "source", "n", *(column(*place) for place in columns)]
    names += [name for name in dict.fromkeys(key for row in shown for key in row) if name not in names]
    return Table(f"accuracy_{kind}", caption, rows, writing.filled([{n: row.get(n) for n in names} for row in shown]))


def _method_rows(
    rows: pd.DataFrame, columns: list[tuple[str, str]], head: tuple[str, str, str] | None
) -> list[dict[str, object]]:
    shown = []
    for method, part in rows.groupby("method", observed=True, sort=False):
        at = _by_place(part)
        row: dict[str, object] = {"method": label(str(method)), "source": OURS, "n": int(part["seeds"].max())}
        row |= {column(*place): writing.mean_sd(at[place]["mean"], at[place]["sd"]) for place in columns if place in at}
        if head and head[1:] in at:
            row[f"best seed, {column(*head[1:])}"] = writing.number(at[head[1:]]["best"])
        shown.append(row)
    return shown


def _by_place(part: pd.DataFrame) -> dict[tuple[str, str], dict[str, Any]]:
    """The rows of one method by (dataset, split)."""
    return {(row["dataset"], row["split"]): {str(k): v for k, v in row.items()} for row in part.to_dict("records")}


def _reference_rows(group: Group, kind: str, columns: list[tuple[str, str]], *, first: bool) -> list[dict[str, object]]:
    """Expectation of a random cell (first) or the table's best; n/a where the accuracies are our own trainings."""
    name, which = ("Random cell, expected", "mean") if first else ("Optimum", "optimum")
    known = truth.reference(group, which) if kind == "table" else {}
    values = {column(*place): writing.number(known.get("/".join(place))) for place in columns}
    return [{"method": name, "source": TABLE if known else NA, **values}]


def _reported_rows(space: str, columns: list[tuple[str, str]]) -> list[dict[str, object]]:
    printed = reported(space)
    shown = []
    for (source, name), part in printed.groupby(["source", "label"], sort=False):
        at = _by_place(part)
        converted = ", as 100 - error" if (part["metric"] == "error").any() else ""
        row: dict[str, object] = {"method": name, "source": f"reported: {source}{converted}"}
        known = {
            column(*place): writing.mean_sd(at[place]["value"], at[place]["sd"]) for place in columns if place in at
        }
        shown += [row | known] if known else []
    return shown


def detail_table(group: Group, kind: str, values: pd.DataFrame) -> Table:
    """Return mean, deviation, interval, n and best seed per method, variant, data set and split, one row each."""
    rows = truth.summaries(values[values["kind"] == kind])
    shown = pd.DataFrame(
        {
            "method": rows["method"].map(label),
            "cell": rows["variant"].map(truth.VARIANTS),
            "data set": rows["dataset"],
            "split": rows["split"],
            "n": rows["seeds"],
            "mean": rows["mean"].map(writing.number),
            "s.d.": rows["sd"].map(writing.number),
            "95 % interval": [writing.interval(*pair) for pair in zip(rows["low"], rows["high"], strict=True)],
            "best": rows["best"].map(writing.number),
            "best seed": rows["best_seed"],
        }
    )
    caption = f"Derived cells in detail: {kind_caption(group, kind, values)}. Percentile bootstrap interval over seeds."
    return Table(f"accuracy_{kind}_detail", caption, rows, shown, listing=True)


def _has_none(group: Group) -> bool:
    """Return whether the space has the operation `none`, so that a rule about it says anything."""
    groups = get_space(group.constant("space")).groups.values()
    return any(NONE in choice.candidates for choices in groups for choice in choices)


def none_table(group: Group, values: pd.DataFrame, target: tuple[str, str, str]) -> Table:
    """Return the headline accuracy of the cells derived with and without `none`, side by side."""
    kind, dataset, split = target
    at = (values["kind"] == kind) & (values["dataset"] == dataset) & (values["split"] == split)
    rows = truth.summaries(values[at])
    shown = []
    for method, part in rows.groupby("method", observed=True, sort=False):
        rule = str(group.semantics(str(method)).get("rule", NA)).replace("_", " ")
        row = {"method": label(str(method)), "own rule": rule, "n": int(part["seeds"].max())}
        for found in part[part["variant"] != "genotype"].to_dict("records"):
            row[truth.VARIANTS[found["variant"]]] = writing.mean_sd(found["mean"], found["sd"])
        shown.append(row)
    where = kind_caption(group, kind, values)
    caption = f"Cells derived with and without the operation none, {column(dataset, split)}: {where}."
    return Table("none", caption, rows, writing.filled(shown))


# --- comparison -------------------------------------------------------------------------------------------------------


def comparison(values: pd.DataFrame, baseline: str) -> pd.DataFrame:
    """Compare every method with ``baseline`` on the search seeds both have, per kind, data set and split (own rule).

    ``p`` is the sign-flip permutation test's; ``p_holm`` is corrected over the methods of one data set and split.
    """
    own = values[values["variant"] == "genotype"]
    rows = []
    for kind, dataset, split in truth.targets(own):
        at = own[(own["kind"] == kind) & (own["dataset"] == dataset) & (own["split"] == split)]
        by_seed = at.pivot(index="search_seed", columns="method", values="value")  # noqa: PD010 (refuses duplicates)
        if baseline not in by_seed:
            continue
        others = [method for method in truth.order_methods(by_seed.columns) if method != baseline]
        found = [paired(by_seed[method].to_numpy(), by_seed[baseline].to_numpy()) for method in others]
        adjusted = holm(np.array([one.p for one in found]))
        for method, one, p_holm in zip(others, found, adjusted, strict=True):
            row = {"kind": kind, "dataset": dataset, "split": split, "method": method, "baseline": baseline}
            row |= {"pairs": one.difference.n, "difference": one.difference.mean, "low": one.difference.low}
            rows.append(row | {"high": one.difference.high, "p": one.p, "p_holm": p_holm, "smallest_p": one.smallest_p})
    return pd.DataFrame(rows)


def comparison_table(group: Group, values: pd.DataFrame, baseline: str) -> Table | None:
    """Return the paired comparison on the test splits; None where the baseline has no run."""
    data = comparison(values, baseline)
    if data.empty:
        return None
    tests = data[data["split"] == "test"]
    shown = pd.DataFrame(
        {
            "method": tests["method"].map(label),
            "data set": tests["dataset"],
            "accuracy": tests["kind"],
            "pairs": tests["pairs"],
            "difference": tests["difference"].map(lambda value: NA if np.isnan(value) else f"{value:+.2f}"),
            "95 % interval": [writing.interval(*pair) for pair in zip(tests["low"], tests["high"], strict=True)],
            "p": tests["p"].map(writing.p_value),
            "p, Holm": tests["p_holm"].map(writing.p_value),
            "smallest possible p": tests["smallest_p"].map(writing.p_value),
        }
    )
    kinds = " and ".join(KIND_WORDS.get(str(kind), str(kind)) for kind in tests["kind"].unique())
    caption = (
        f"Test accuracy minus that of {label(baseline)}, percent points, paired by search seed ({kinds}); sign-flip"
        " permutation test, Holm's correction over the methods of a data set; percentile bootstrap interval over seeds."
    )
    return Table("comparison", caption, data, shown)


def best_kind(values: pd.DataFrame) -> str:
    """Return the kind of accuracies to set beside printed ones: the table's if there are any."""
    return TABLE if (values["kind"] == TABLE).any() else "trained"


def deviation(group: Group, values: pd.DataFrame) -> pd.DataFrame:
    """Return our means beside the printed ones, per method, data set and split that both have.

    Ours are the benchmark table's; of our own trainings where the group has no table.
    ``rerun`` is the official code run by us where such a number is on record, NaN otherwise; ``inside``: whether the
    printed value lies in our 95 % interval, missing below two seeds.
    """
    ours = truth.summaries(values[(values["variant"] == "genotype") & (values["kind"] == best_kind(values))])
    printed = reported(group.constant("space"))
    reruns = printed["source"].str.startswith("re-run")
    both = printed[~reruns].merge(ours, on=["method", "dataset", "split"], suffixes=("", "_ours"))
    again = printed.loc[reruns, ["method", "dataset", "split", "value"]].rename(columns={"value": "rerun"})
    both = both.merge(again, on=["method", "dataset", "split"], how="left")
    preset = group.constant("preset")
    inside = (both["low"] <= both["value"]) & (both["value"] <= both["high"])
    return both.assign(
        inside=inside.astype("boolean").mask(both["low"].isna()),
        reason=both["note"].map(lambda note: note if preset == "paper" else f"ours: preset {preset}; paper: {note}"),
    )


def deviation_table(group: Group, values: pd.DataFrame) -> Table | None:
    """Return the deviation table, or None where no printed number can be compared."""
    data = deviation(group, values)
    if data.empty:
        return None
    shown = pd.DataFrame(
        {
            "method": data["method"].map(label),
            "data": [column(*pair) for pair in zip(data["dataset"], data["split"], strict=True)],
            "paper": [writing.mean_sd(*pair) for pair in zip(data["value"], data["sd"], strict=True)],
            "official code, re-run": data["rerun"].map(writing.number),
            "ours": [writing.mean_sd(*pair) for pair in zip(data["mean"], data["sd_ours"], strict=True)],
            "n": data["seeds"],
            "95 % interval": [writing.interval(*pair) for pair in zip(data["low"], data["high"], strict=True)],
            "within": data["inside"].map({True: "yes", False: "no"}).fillna(NA),
            "known difference": data["reason"],
            "source": data["source"],
        }
    )
    where = kind_caption(group, best_kind(values), values)
    rerun = "" if data["rerun"].notna().any() else "; nobody has re-run the official code yet, so its column is empty"
    caption = f"Printed numbers beside ours: {where}; within: the printed mean in our interval{rerun}."
    return Table("deviation", caption, data, shown)


# --- runs and command -------------------------------------------------------------------------------------------------


def runs_table(group: Group, values: pd.DataFrame, target: tuple[str, str, str] | None) -> Table:
    """Return every run: its cell, headline accuracy, cost and id."""
    accuracy = {} if target is None else truth.at(values, target).set_index("run_id")["value"].to_dict()
    rows = []
    for one in group.records.runs.to_dict("records"):
        meta = group.records.meta[one["run_id"]]
        row = {"method": one["method"], "seed": one["search_seed"], "genotype": meta["result"].get("genotype")}
        row |= {"accuracy": accuracy.get(one["run_id"], np.nan), "seconds": meta["cost"].get("total_seconds")}
        rows.append(row | {"memory_mb": meta["cost"].get("peak_memory_mb"), "run_id": one["run_id"]})
    data = pd.DataFrame(rows).astype({"accuracy": float, "seconds": float, "memory_mb": float})
    order = truth.order_methods(data["method"])
    data = data.sort_values(["method", "seed"], key=lambda c: c.map(order.index) if c.name == "method" else c)
    digits = {"accuracy": 2, "seconds": 1, "memory_mb": 0}
    shown = data.assign(
        method=data["method"].map(label),
        **{name: [writing.number(value, places) for value in data[name]] for name, places in digits.items()},
    )
    what = f"{column(*target[1:])}, {KIND_WORDS.get(target[0], target[0])}" if target else "no accuracy recorded"
    return Table("runs", f"Every run ({what}).", data, shown, listing=True)


def analyse(group: Group, arguments: TableArguments) -> None:
    """Write every table of one group."""
    values = truth.final_values(group)
    target = truth.headline(values)
    for kind in values["kind"].unique():
        publish(accuracy_table(group, kind, values), group)
        keep(detail_table(group, kind, values), group)
    if target and _has_none(group):
        publish(none_table(group, values, target), group)
    compared = comparison_table(group, values, arguments.baseline)
    if compared is not None:
        publish(compared, group)
    deviating = deviation_table(group, values)
    if deviating is not None:
        keep(deviating, group)
        inside = deviating.display["within"].value_counts()
        known = int(inside.get("yes", 0) + inside.get("no", 0))
        print(
            f"\n{group.name}: {inside.get('yes', 0)} of {known} printed numbers lie in our interval"
            f" ({len(deviating.display) - known} have none, as n < 2); deviation.md has all."
        )
    keep(runs_table(group, values, target), group)
    if values.empty:
        print(f"{group.name}: no derived cell has been evaluated, so there is no accuracy to report.")
    elif arguments.baseline not in group.methods:
        print(f"{group.name}: no comparison, because the baseline {arguments.baseline} has no finished run.")
    say(group)
    if not group.for_report:
        print(f"tables: {group.folder}/")


def main(arguments: TableArguments) -> None:
    """Analyse every group below the results folder."""
    for group in read_groups(arguments, ("evaluation",)):
        analyse(group, arguments)


if __name__ == "__main__":
    run(main, TableArguments, __doc__)
