"""What every analysis shares: reading a results folder into groups, names and order of methods, and saving a table.

A *group* is the runs of one space, study, preset and data set. Nothing is ever averaged over two groups.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tyro
from tabulate import tabulate
from tyro.conf import Positional

from analysis import background, writing
from itnas.errors import run_main
from itnas.records import Records, read_results

LABELS = {
    "random": "Random",
    "darts": "DARTS",
    "darts-2nd": "DARTS (2nd)",
    "darts-pt": "DARTS-PT",
    "darts-pt-fix-alpha": "DARTS-PT (fix α)",
    "agnas": "AGNAS",
    "rlnas": "RLNAS",
    "it-nas": "IT-NAS",
}
"""How a method is written in tables and figures, in the order of rows; others follow under their own name."""
NONE = "none"
"""The candidate that is no connection at all."""
COLUMNS = {"epochs": ("epoch", "genotype", "skips")}
"""The columns that analyses use of a table that has many more; reading a thousand runs takes as long as it has columns."""
KIND_WORDS = {"table": "benchmark table", "trained": "trained by us"}
"""What an evaluation's kind is called where a reader sees it."""


@dataclass(frozen=True)
class Arguments:
    """Arguments of every analysis."""

    results: Positional[Path] = Path("results")
    """Folder with run records, such as results/; subfolders are searched."""
    out: Path | None = None
    """Where to write; default: the folder `analysis` inside the results folder."""


@dataclass(frozen=True)
class Group:
    """The runs of one space, study, preset and data set."""

    name: str
    """Folder name below the output folder, and the title of its tables."""
    records: Records
    folder: Path
    notes: list[str] = field(default_factory=list)
    """One sentence each on what was left out or does not fit together."""
    for_report: bool = False
    """Whether tables and figures go into one page only: then just PNGs are written, and tables are kept in ``made``."""
    made: list[writing.Table | writing.Figure] = field(default_factory=list)
    """The tables and figures made so far, in order."""

    @property
    def methods(self) -> list[str]:
        """The group's methods in the order of tables."""
        return order_methods(self.records.runs["method"].unique())

    def score_kinds(self) -> dict[str, str]:
        """Return the kind of score each method selects by.

        Of several recorded kinds it is the one with the fewest epochs: DARTS-PT's alphas are there after every epoch, the
        perturbations it selects by once.
        """
        epochs = epochs_of_kinds(self.records["scores"])
        fewest = epochs.sort_values("epoch", kind="stable").drop_duplicates("method")
        return dict(zip(fewest["method"].astype(str), fewest["kind"].astype(str), strict=True))

    def semantics(self, method: str) -> dict[str, Any]:
        """Return the section ``semantics`` of one run of ``method``."""
        runs = self.records.runs
        return self.records.meta[str(runs.loc[runs["method"] == method, "run_id"].iloc[0])]["semantics"]

    def constant(self, key: str) -> str:
        """Return what all runs of the group share: its ``study``, ``preset``, ``space`` or ``dataset``."""
        return str(self.records.runs[key].iloc[0])

    def seeds(self, method: str) -> int:
        """Return the number of runs of ``method``."""
        return int((self.records.runs["method"] == method).sum())


def epochs_of_kinds(scores: pd.DataFrame) -> pd.DataFrame:
    """Return in how many epochs each method recorded each kind of score: method, kind, epoch (their number).

    Counted by category, without sorting: a thousand runs have millions of rows.
    """
    method, kind = (scores[name].astype("category").cat for name in ("method", "kind"))
    epoch, epochs = pd.factorize(scores["epoch"])
    there = np.zeros((len(method.categories), len(kind.categories), len(epochs)), dtype=bool)
    there[method.codes, kind.codes, epoch] = True
    number = there.sum(axis=2)
    at = np.nonzero(number)
    return pd.DataFrame({"method": method.categories[at[0]], "kind": kind.categories[at[1]], "epoch": number[at]})


def of_kinds(rows: pd.DataFrame, kinds: Mapping[str, str]) -> np.ndarray:
    """Return which rows of the table `scores` have the kind that ``kinds`` names for their method.

    Compared by category: a thousand runs have millions of rows.
    """
    method, kind = rows["method"].astype("category").cat, rows["kind"].astype("category").cat
    wanted = kind.categories.get_indexer(pd.Index([kinds.get(name) for name in method.categories]))
    return (kind.codes.to_numpy() == wanted[method.codes]) & (wanted[method.codes] >= 0)


def order_methods(methods: Iterable[str]) -> list[str]:
    """Return method names in the order of :data:`LABELS`, unknown ones after them by name."""
    known = list(LABELS)
    return sorted(set(methods), key=lambda name: (known.index(name) if name in known else len(known), name))


def label(method: str) -> str:
    """Return the written name of a method."""
    return LABELS.get(method, method)


def read_groups(arguments: Arguments, tables: Iterable[str]) -> Iterator[Group]:
    """Yield the groups below the results folder, saying first what was left out.

    Raises:
        UserError: the folder holds no finished run, or a damaged one.
    """
    records = read_results(arguments.results, tables, COLUMNS, background.spread)
    if records.notes:
        print(left_out(records.notes))
    out = arguments.out or arguments.results / "analysis"
    yield from split_groups(records, out)


def left_out(notes: list[str]) -> str:
    """Return one sentence on the runs that were left out: how many, and the first few with their reason."""
    shown = "; ".join(note.removeprefix("left out, ") for note in notes[:5])
    more = f"; and {len(notes) - 5} more" if len(notes) > 5 else ""
    return f"Left out {len(notes)} run{'s' if len(notes) > 1 else ''}: {shown}{more}."


def split_groups(records: Records, out: Path) -> list[Group]:
    """Return one group per (study, preset, space, dataset) of ``records``, in that order.

    Its folder is ``<study>-<preset>``, followed by the space and the data set where one study and preset has several.
    """
    keys = ["study", "preset", "space", "dataset"]
    found = records.runs[keys].drop_duplicates().sort_values(keys)
    groups = []
    for study, preset, space, dataset in found.itertuples(index=False):
        siblings = found[(found["study"] == study) & (found["preset"] == preset)]
        parts = [study, preset]
        parts += [space] if len(siblings["space"].unique()) > 1 else []
        parts += [dataset] if len(siblings["dataset"].unique()) > 1 else []
        runs = records.runs
        mine = runs[
            (runs["study"] == study)
            & (runs["preset"] == preset)
            & (runs["space"] == space)
            & (runs["dataset"] == dataset)
        ]
        kept, notes = drop_repeated(mine, records.meta)
        notes += configuration_differences(kept, records.meta)
        name = "-".join(parts)
        groups.append(Group(name, select(records, kept), out / name, notes))
    return groups


def drop_repeated(runs: pd.DataFrame, meta: dict[str, Any]) -> tuple[pd.DataFrame, list[str]]:
    """Keep the last finished run where a method and seed has several configurations; say which were dropped."""
    finished = [str(meta[run]["cost"].get("finished", "")) for run in runs["run_id"]]
    ordered = runs.assign(_finished=finished).sort_values(["method", "search_seed", "_finished", "run_id"])
    repeated = ordered.duplicated(["method", "search_seed"], keep="last")
    notes = [
        f"left out, repeated: {row['method']} seed {row['search_seed']} ({row['run_id']}), run again under another"
        " configuration"
        for row in ordered[repeated].to_dict("records")
    ]
    return ordered[~repeated].drop(columns="_finished").sort_index(), notes


def configuration_differences(runs: pd.DataFrame, meta: dict[str, Any]) -> list[str]:
    """Return a sentence per method whose seeds were not run under one configuration."""
    notes = []
    for method, part in runs.groupby("method", observed=True):
        flat = pd.DataFrame([dict(_flatten(meta[run]["config"])) for run in part["run_id"]]).astype(str)
        differing = [key for key in flat.columns if "seed" not in key and len(flat[key].unique()) > 1]
        if differing:
            notes.append(
                f"{method}: its seeds differ in {', '.join(differing[:4])}, so their mean mixes configurations"
            )
    return notes


def _flatten(config: object, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if not isinstance(config, dict):
        yield prefix, config
        return
    for key, value in config.items():
        yield from _flatten(value, f"{prefix}.{key}" if prefix else str(key))


def select(records: Records, runs: pd.DataFrame) -> Records:
    """Return the part of ``records`` that belongs to ``runs``."""
    if len(runs) == len(records.runs):
        return records
    ids = set(runs["run_id"])
    tables = {name: frame[frame["run_id"].isin(ids)] for name, frame in records.tables.items()}
    return Records(runs, {run: records.meta[run] for run in runs["run_id"]}, tables, records.notes)


def publish(table: writing.Table, group: Group) -> None:
    """Print ``table`` and keep it."""
    if not group.for_report:
        print(f"\n{group.name}: {table.caption}\n")
        rows = table.display.astype(str).to_dict("list")
        print(tabulate(rows, headers="keys", tablefmt="simple", disable_numparse=True, maxcolwidths=44))
    keep(table, group)


def keep(table: writing.Table, group: Group) -> None:
    """Write ``table`` below the group's folder as CSV, Markdown and LaTeX."""
    group.made.append(table)
    if not group.for_report:
        writing.save_table(table, group.folder, group.notes)


def keep_numbers(numbers: pd.DataFrame, name: str, group: Group) -> None:
    """Write the numbers behind a figure or table as CSV."""
    if not group.for_report:
        group.folder.mkdir(parents=True, exist_ok=True)
        numbers.to_csv(group.folder / f"{name}.csv", index=False)


def say(group: Group) -> None:
    """Print the group's notes; a report has them at its top."""
    for note in [] if group.for_report else group.notes:
        print(f"note: {note}")


def run(main: Callable[[Any], None], arguments: type[Arguments], description: str | None) -> None:
    """Parse the command line into ``arguments`` and call ``main``; mistakes become one sentence."""
    gc.freeze()
    gc.set_threshold(100_000, 20, 100)  # Python's own looks for cycles so often that it is a tenth of an analysis
    try:
        run_main(lambda: _in_background(main, tyro.cli(arguments, description=description)))
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _in_background(main: Callable[[Any], None], arguments: object) -> None:
    with background.allowed():
        main(arguments)
