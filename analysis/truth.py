"""What a run's derived cells are worth: the evaluation table as lookups, and the methods' summaries over seeds.

Accuracies are in percent. An evaluation's *kind* is ``table`` (the benchmark's) or ``trained`` (ours, from scratch);
the two are never mixed, and neither are data sets, splits or schedules.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from analysis.common import Group, order_methods
from analysis.stats import Summary, summarize

VARIANTS = {"genotype": "own rule", "genotype_with_none": "with none", "genotype_without_none": "without none"}
"""Genotypes of a run: by the method's own rule (the headline), and by the rule with and without the operation none."""
DATASETS = ("cifar10", "cifar100", "imagenet16-120")
"""Order of data sets in tables; others follow by name."""
SPLITS = ("valid", "test")


def means(group: Group) -> pd.DataFrame:
    """Return the evaluation rows that are means over training seeds, at their kind's and data set's longest schedule.

    One row per run, genotype, kind, dataset and split, with ``value`` and ``n`` (trainings; NaN where unknown).
    """
    rows = group.records["evaluation"]
    rows = rows[rows["seed"] == "mean"]
    longest = rows.groupby(["kind", "dataset", "split"], observed=True)["epochs"].transform("max")
    return rows[rows["epochs"] == longest]


def targets(evaluation: pd.DataFrame) -> list[tuple[str, str, str]]:
    """Return the (kind, dataset, split) that ``evaluation`` has, in the order of tables."""
    found = evaluation[["kind", "dataset", "split"]].drop_duplicates().itertuples(index=False, name=None)

    def place(target: tuple[str, str, str]) -> tuple[Any, ...]:
        kind, dataset, split = target
        return kind, DATASETS.index(dataset) if dataset in DATASETS else len(DATASETS), dataset, SPLITS.index(split)

    return sorted(found, key=place)


def headline(evaluation: pd.DataFrame) -> tuple[str, str, str] | None:
    """Return the target of one-number summaries: the first data set's test split, the table's if there is one."""
    tests = [target for target in targets(evaluation) if target[2] == "test"]
    return tests[0] if tests else None


def final_values(group: Group) -> pd.DataFrame:
    """Return the value of every run's final genotypes.

    Columns: run_id, method, search_seed, variant (key of :data:`VARIANTS`), genotype, kind, dataset, split, value, n.
    """
    evaluation = means(group)[["run_id", "genotype", "kind", "dataset", "split", "value", "n"]]
    finals = final_genotypes(group)
    evaluation = evaluation.assign(run_id=evaluation["run_id"].astype(str))
    return finals.merge(evaluation, on=["run_id", "genotype"], how="inner")


def at(values: pd.DataFrame, target: tuple[str, str, str]) -> pd.DataFrame:
    """Return the rows of :func:`final_values` for the methods' own cells at one (kind, dataset, split)."""
    kind, dataset, split = target
    there = (values["kind"] == kind) & (values["dataset"] == dataset) & (values["split"] == split)
    return values[there & (values["variant"] == "genotype")]


def final_genotypes(group: Group) -> pd.DataFrame:
    """Return a row per run and variant: run_id, method, search_seed, variant, genotype."""
    identity = ["run_id", "method", "search_seed"]
    rows = []
    for run in zip(*(group.records.runs[key].tolist() for key in identity), strict=True):
        result = group.records.meta[run[0]]["result"]
        rows += [(*run, key, result[key]) for key in VARIANTS if result.get(key)]
    return pd.DataFrame(rows, columns=[*identity, "variant", "genotype"])


def epoch_values(group: Group, target: tuple[str, str, str]) -> pd.DataFrame:
    """Return the value of the derived cell (own rule) after every epoch: run_id, method, search_seed, epoch, value."""
    kind, dataset, split = target
    evaluation = means(group)
    at = (evaluation["kind"] == kind) & (evaluation["dataset"] == dataset) & (evaluation["split"] == split)
    cells = group.records["epochs"][["run_id", "method", "search_seed", "epoch", "genotype"]]
    return cells.merge(evaluation.loc[at, ["run_id", "genotype", "value"]], on=["run_id", "genotype"], how="inner")


def reference(group: Group, which: str) -> dict[str, float]:
    """Return the table's ``optimum`` or ``mean`` over all architectures by ``dataset/split``; empty without a table."""
    for meta in group.records.meta.values():
        found = meta["semantics"].get("reference")
        if found:
            return dict(found[which])
    return {}


def summaries(values: pd.DataFrame) -> pd.DataFrame:
    """Return mean, sd, interval, n, best seed per (method, variant, kind, dataset, split) of :func:`final_values`."""
    keys = ["method", "variant", "kind", "dataset", "split"]
    rows = []
    for key, part in values.groupby(keys, observed=True):
        found: Summary = summarize(part["value"].to_numpy())
        best = int(part["value"].to_numpy().argmax())
        row: dict[str, object] = dict(zip(keys, key, strict=True))
        row |= {"seeds": found.n, "mean": found.mean, "sd": found.sd}
        row |= {"low": found.low, "high": found.high}
        row |= {"best": part["value"].iloc[best], "best_seed": part["search_seed"].iloc[best]}
        rows.append(row | {"trainings": part["n"].min()})
    frame = pd.DataFrame(rows, columns=[*keys, "seeds", "mean", "sd", "low", "high", "best", "best_seed", "trainings"])
    order = order_methods(frame["method"])
    return frame.sort_values(["method", "variant"], key=lambda c: c.map(order.index) if c.name == "method" else c)
