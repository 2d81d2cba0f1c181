"""From the state of a search to its record: the rows of the table `scores`, and what ``run.json`` says."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np

from itnas.config import SearchConfig
from itnas.data.images import Dataset
from itnas.environment import code_version, peak_memory_mb
from itnas.evaluate import Truth
from itnas.optimizers import Optimizer, Selection
from itnas.records import SCHEMA_VERSION
from itnas.spaces import SearchSpace

Measured = tuple[int, str, dict[str, np.ndarray], dict[str, np.ndarray]]
"""Epoch, kind, scores ``{group: [choice, candidate]}`` and scores per cell ``{group: [cell, choice, candidate]}``."""
PHASES = ("train", "scores", "eigenvalues", "discretization", "ranking", "selection", "evaluation")
"""What a run spends its time on, as in the record's table `timing`."""
SEARCHING = ("train", "scores", "selection")
"""The phases that a search needs to choose; the others only measure."""


def score_rows(measured: Iterable[Measured], optimizer: Optimizer) -> list[dict[str, Any]]:
    """Return the rows of the table `scores`: aggregate scores as cell -1, then every cell's own."""
    rows: list[dict[str, Any]] = []
    for epoch, kind, scores, cells in measured:
        for group, choices in optimizer.space.groups.items():
            group_kind = optimizer.kind_of(group) if kind == optimizer.score_kind else kind
            arrays = [(-1, scores[group])]
            if group in cells:
                arrays += zip(optimizer.graph.cells_of(group), cells[group], strict=True)
            for cell, array in arrays:
                rows += [
                    {
                        "epoch": epoch,
                        "cell": cell,
                        "group": group,
                        "choice": choice.name,
                        "candidate": candidate,
                        "kind": group_kind,
                        "score": float(array[i][k]),
                    }
                    for i, choice in enumerate(choices)
                    for k, candidate in enumerate(choice.candidates)
                ]
    return rows


def epoch_row(
    space: SearchSpace,
    epoch: int,
    losses: tuple[float, float] | None,
    validated: tuple[float, float] | None,
    rate: float | None,
    genotypes: tuple[str, str, str],
) -> dict[str, Any]:
    """Return a row of the table `epochs`.

    Args:
        space: the search space.
        epoch: epochs finished.
        losses: loss and accuracy on the training half, None before training.
        validated: loss and accuracy on the validation half, None where undefined.
        rate: the epoch's learning rate, None before training.
        genotypes: the derived cell by the method's own rule, with `none` and without.
    """
    row: dict[str, Any] = {"epoch": epoch}
    row["train_loss"], row["train_accuracy"] = losses or (None, None)
    row["valid_loss"], row["valid_accuracy"] = validated or (None, None)
    row["learning_rate"] = rate
    for suffix, genotype in zip(("", "_with_none", "_without_none"), genotypes, strict=True):
        row[f"genotype{suffix}"] = genotype
        row[f"skips{suffix}"] = space.count(genotype, space.skip_name)
    return row


def result_section(
    selection: Selection, evaluation: Iterable[Mapping[str, Any]], last: Mapping[str, Any], optimizer: Optimizer
) -> dict[str, Any]:
    """Return the section `result` of a finished search; ``last`` is the last row of the table `epochs`."""
    worth = {
        f"{row['dataset']}/{row['split']}": row["value"]
        for row in evaluation
        if row["genotype"] == selection.genotype and row["seed"] == "mean"
    }
    return {
        "genotype": selection.genotype,
        "genotype_with_none": selection.genotype_with_none,
        "genotype_without_none": selection.genotype_without_none,
        "supernet_valid_accuracy": last["valid_accuracy"],
        "supernet_parameters": round(optimizer.get_model_size() * 1e6),
        "accuracy": worth,
    }


def data_section(data: Dataset, truth: Truth) -> dict[str, Any]:
    """Return the section `data`."""
    return {
        "dataset": data.info.name,
        "checksum": data.checksum,
        "split": data.split,
        "n_train": len(data.train.images),
        "n_valid": len(data.valid.images),
        "n_test": len(data.test.images),
        "table": truth.describe(),
    }


def semantics_section(
    config: SearchConfig, optimizer: Optimizer, truth: Truth, split: str, selection: Selection | None
) -> dict[str, Any]:
    """Return the section `semantics`: what the numbers of this record mean.

    ``split`` is what the supernet was measured on. ``score_kind`` is what the method chooses by, which for DARTS-PT is not
    what it scores by after every epoch (``epoch_score_kind``); before the choice it is not known yet.
    """
    protocol = "n/a: the method trains no supernet"
    if optimizer.discretizes:
        protocol = config.discretization.describe(split) if config.discretization.enabled else "n/a: switched off"
    return {
        "score_kind": None if selection is None else selection.kind,
        "epoch_score_kind": optimizer.score_kind,
        "rule": "without_none" if config.optimizer.exclude_none else "with_none",
        "discretization": protocol,
        "evaluation": truth.kind,
        "ranking": config.ranking.describe(split) if config.ranking and optimizer.discretizes else None,
        "reference": None if truth.table is None else truth.table.reference(),
        "accuracy_unit": "percent",
        "determinism": config.determinism,
    }


def cost_section(
    timing: Iterable[Mapping[str, Any]], device: str, started: str, resumed: int, *, finished: bool
) -> dict[str, Any]:
    """Return the section `cost`: seconds per phase, of the search, and in total; a phase that never was is left out."""
    seconds = dict.fromkeys(("train", "scores", "discretization", "selection", "evaluation"), 0.0)
    for row in timing:
        seconds[row["phase"]] = seconds.get(row["phase"], 0.0) + row["seconds"]
    return {
        **{f"{phase}_seconds": round(seconds[phase], 3) for phase in PHASES if phase in seconds},
        "search_seconds": round(sum(seconds[phase] for phase in SEARCHING), 3),
        "total_seconds": round(sum(seconds.values()), 3),
        "peak_memory_mb": round(peak_memory_mb(device), 1),
        "started": started,
        "finished": datetime.now(UTC).isoformat(timespec="seconds") if finished else None,
        "resumed": resumed,
    }


def identity_section(config: SearchConfig, identifier: str, study: str, status: str) -> dict[str, Any]:
    """Return the top-level keys that say which run it is, its configuration and the code it ran."""
    return {
        "schema_version": SCHEMA_VERSION,
        "run_id": identifier,
        "study": study,
        "space": config.space,
        "method": config.method,
        "dataset": config.data.dataset,
        "preset": config.preset,
        "search_seed": config.seed,
        "status": status,
        "config": config.as_dict(),
        "code": code_version(),
    }
