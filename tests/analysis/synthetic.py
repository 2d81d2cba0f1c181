"""A results folder that looks like one the search wrote, without a supernet: the fixture of every analysis test.

Scores follow the shape of the real ones (alphas drift from uniform, a gate is near 0.5, an angle near 1) and the
supernet's discretization accuracy agrees with them up to noise, so that tau is neither 0 nor 1. Everything is written
through :mod:`itnas.records`, and follows from the method's name and the seed.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from itnas import records
from itnas.spaces import get_space
from itnas.spaces.base import SearchSpace

METHODS = ("random", "darts", "darts-2nd", "darts-pt", "darts-pt-fix-alpha", "agnas", "rlnas", "it-nas")
KINDS = {"random": "constant", "agnas": "gate", "rlnas": "angle", "it-nas": "attention"}
"""Score kind by method; alpha for the others."""
PER_CELL = ("agnas", "it-nas")
WITHOUT_NONE = ("agnas", "it-nas")
WORTH = {"none": -2.0, "skip_connect": 0.3, "nor_conv_1x1": 0.8, "nor_conv_3x3": 1.2, "avg_pool_3x3": -0.5}
REFERENCE = {
    "optimum": {"cifar10/valid": 91.6067, "cifar10/test": 94.3733, "cifar100/valid": 73.4933, "cifar100/test": 73.5133}
    | {"imagenet16-120/valid": 46.7333, "imagenet16-120/test": 47.3111},
    "mean": {"cifar10/valid": 83.6869, "cifar10/test": 87.0629, "cifar100/valid": 61.2997, "cifar100/test": 61.4055}
    | {"imagenet16-120/valid": 33.8077, "imagenet16-120/test": 33.5864},
    "n": 15625,
}
PROTOCOL = "bn=recalib weight=one gate=full split=valid"


@dataclass(frozen=True)
class Spec:
    """What one synthetic run is."""

    method: str = "darts"
    search_seed: int = 0
    study: str = "nb201"
    space: str = "nasbench201"
    preset: str = "digits"
    dataset: str = "digits"
    kind: str = "table"
    epochs: int = 10
    cells: int = 3
    protocols: tuple[str, ...] = (PROTOCOL,)
    architectures: int = 0
    """Architectures whose supernet accuracy and score are recorded beside the table's."""
    eigenvalues: bool = False
    """Whether the alphas' Hessian eigenvalue is recorded, for methods with alphas."""
    status: str = "finished"
    salt: str = ""
    """Changes the run id and nothing else, as another configuration of the same method and seed would."""


def worth(space: SearchSpace, genotype: str, dataset: str, split: str) -> float:
    """Return the made-up accuracy (percent) of a genotype; a hash adds what its operations do not explain."""
    best = REFERENCE["optimum"].get(f"{dataset}/{split}", 95.0)
    ops = space.operations(genotype)
    deficit = (
        sum(1.2 - WORTH.get(op, 0.0) for op in ops) * 1.5 + zlib.crc32(f"{genotype}{dataset}".encode()) % 100 / 100
    )
    return float(max(10.0, best - deficit))


def cells_of(spec: Spec, group: str) -> list[int]:
    """Return the cells that a group of choices decides: every second one is a reduction cell where there are such."""
    if group.startswith(("normal", "reduce")):
        return [cell for cell in range(spec.cells) if (cell % 2 == 1) == group.startswith("reduce")]
    return list(range(spec.cells))


def write_run(results: Path, spec: Spec) -> Path:
    """Write one run below ``results`` and return its folder."""
    space = get_space(spec.space)
    identity = {key: getattr(spec, key) for key in ("study", "space", "method", "dataset", "preset", "search_seed")}
    run = records.run_id({**identity, "epochs": spec.epochs, "cells": spec.cells, "kind": spec.kind, "salt": spec.salt})
    folder = results / spec.study / run
    rng = np.random.default_rng(zlib.crc32(repr((spec.method, spec.search_seed, spec.salt)).encode()))
    epochs = 0 if spec.method == "random" else spec.epochs
    scores = _scores(space, spec, epochs, rng)
    cells = _epoch_genotypes(space, spec, scores)
    result = _select(space, spec, cells, scores, rng)
    result |= {"supernet_valid_accuracy": None, "supernet_parameters": 12345, "accuracy": None}
    meta = {"schema_version": records.SCHEMA_VERSION, "run_id": run, **identity, "status": spec.status}
    meta |= _sections(spec, result, rng)
    records.write_meta(folder, meta)
    if spec.status != "finished":
        return folder
    records.write_table(folder, "epochs", cells)
    records.write_table(folder, "scores", scores)
    records.write_table(folder, "discretization", _discretization(space, spec, scores, rng))
    records.write_table(folder, "evaluation", _evaluation(space, spec, cells, result))
    timing = [
        {"epoch": e, "phase": p, "seconds": s}
        for e in range(1, epochs + 1)
        for p, s in (("train", 4.0), ("scores", 0.5))
    ]
    timing += [
        {"epoch": None, "phase": "selection", "seconds": 2.0},
        {"epoch": None, "phase": "evaluation", "seconds": 3.0},
    ]
    records.write_table(folder, "timing", timing)
    _write_optional(folder, space, spec, epochs, rng)
    return folder


def write_results(results: Path, methods: tuple[str, ...] = METHODS, seeds: int = 3, **changes: Any) -> Path:
    """Write ``methods`` x ``seeds`` runs below ``results`` and return it."""
    for method in methods:
        for seed in range(seeds):
            write_run(results, Spec(method=method, search_seed=seed, **changes))
    return results


def _scores(space: SearchSpace, spec: Spec, epochs: int, rng: np.random.Generator) -> pd.DataFrame:
    """Scores per epoch: a preference that grows over the epochs, made positive as the method's kind is."""
    kind = KINDS.get(spec.method, "alpha")
    parts = []
    for group, choices in space.groups.items():
        m = len(choices[0].candidates)
        liking = np.array([WORTH.get(c, 0.0) for c in choices[0].candidates]) + rng.normal(0, 0.8, (len(choices), m))
        if spec.method.startswith("darts") and "pt" not in spec.method and space.skip_name in choices[0].candidates:
            liking[:, choices[0].candidates.index(space.skip_name)] += 1.5
        for cell in (-1, *(cells_of(spec, group) if spec.method in PER_CELL else ())):
            own = liking + (rng.normal(0, 0.3, liking.shape) if cell >= 0 else 0)
            raw = own * np.linspace(0, 1, epochs + 1)[:, None, None] + rng.normal(0, 0.02, (epochs + 1, *own.shape))
            parts.append(_long(_squash(raw, kind), group, choices, cell, kind))
        if spec.method.startswith("darts-pt"):
            drop = 2 * liking[None] + rng.normal(0, 0.5, liking[None].shape)
            parts.append(_long(drop, group, choices, -1, "perturbation", first_epoch=epochs))
    return pd.concat(parts, ignore_index=True)


def _squash(raw: np.ndarray, kind: str) -> np.ndarray:
    if kind == "constant":
        return np.full_like(raw, 1 / raw.shape[-1])
    if kind == "gate":
        return 1 / (1 + np.exp(-0.2 * raw))
    if kind == "angle":
        return 1 + 0.1 * raw
    scaled = np.exp(0.3 * raw)
    return scaled / scaled.sum(axis=-1, keepdims=True) * (0.9 if kind == "attention" else 1.0)


def _long(values: np.ndarray, group: str, choices: Any, cell: int, kind: str, first_epoch: int = 0) -> pd.DataFrame:
    n, e, m = len(values), len(choices), values.shape[-1]
    return pd.DataFrame(
        {
            "epoch": np.repeat(np.arange(first_epoch, first_epoch + n), e * m),
            "cell": cell,
            "group": group,
            "choice": np.tile(np.repeat([c.name for c in choices], m), n),
            "candidate": np.tile([name for c in choices for name in c.candidates], n),
            "kind": kind,
            "score": values.ravel(),
        }
    )


def _epoch_genotypes(space: SearchSpace, spec: Spec, scores: pd.DataFrame) -> pd.DataFrame:
    """Epoch table: derived cells from the aggregate scores."""
    rule = "genotype_without_none" if spec.method in WITHOUT_NONE else "genotype_with_none"
    aggregate = scores[(scores["cell"] == -1) & (scores["kind"] != "perturbation")]
    rows = []
    for epoch, part in aggregate.groupby("epoch"):
        arrays = {
            group: part.loc[part["group"] == group, "score"].to_numpy().reshape(len(choices), -1)
            for group, choices in space.groups.items()
        }
        row: dict[str, Any] = {"epoch": int(str(epoch))}
        for name, exclude in (("genotype_with_none", False), ("genotype_without_none", True)):
            row[name] = space.derive(arrays, exclude_none=exclude)
        row["genotype"] = row[rule]
        for suffix in ("", "_with_none", "_without_none"):
            row[f"skips{suffix}"] = space.count(row[f"genotype{suffix}"], space.skip_name)
        if row["epoch"]:
            epoch = row["epoch"]
            row |= {
                "train_loss": 2.3 / epoch,
                "train_accuracy": 50.0,
                "valid_loss": 2.4 / epoch,
                "valid_accuracy": 45.0,
            }
        rows.append(row)
    return pd.DataFrame(rows).reindex(columns=records.TABLES["epochs"].names)


def _select(
    space: SearchSpace, spec: Spec, cells: pd.DataFrame, scores: pd.DataFrame, rng: np.random.Generator
) -> dict[str, Any]:
    """Final genotypes: the last epoch's, but a draw for random search and the perturbations' argmax for DARTS-PT."""
    result: dict[str, Any] = {key: cells[key].iloc[-1] for key in ("genotype_with_none", "genotype_without_none")}
    drops = scores[scores["kind"] == "perturbation"]
    for name, exclude in (("genotype_with_none", False), ("genotype_without_none", True)):
        if spec.method == "random":
            result[name] = space.random(rng, exclude_none=exclude)
        elif len(drops):
            arrays = {group: part["score"].to_numpy() for group, part in drops.groupby("group")}
            shaped = {group: arrays[group].reshape(len(choices), -1) for group, choices in space.groups.items()}
            result[name] = space.derive(shaped, exclude_none=exclude)
    rule = "genotype_without_none" if spec.method in WITHOUT_NONE else "genotype_with_none"
    return {"genotype": result[rule], **result}


def _discretization(space: SearchSpace, spec: Spec, scores: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    if spec.method == "random":
        return pd.DataFrame(columns=records.TABLES["discretization"].names)
    last = scores[(scores["epoch"] == scores["epoch"].max()) & (scores["cell"] == -1)]
    last = last[last["kind"] == last["kind"].iloc[0]]
    preference = (last["score"] - last["score"].mean()) / last["score"].std()
    parts = []
    for protocol in spec.protocols:
        for cell in (-1, *range(spec.cells)):
            noisy = 60 + 5 * preference + rng.normal(0, 4, len(last))
            frame = last[["group", "choice", "candidate"]].assign(
                cell=cell, accuracy=np.round(noisy, 2), protocol=protocol
            )
            there = [cell < 0 or cell in cells_of(spec, group) for group in frame["group"]]
            parts.append(frame[there].assign(n_images=400))
    return pd.concat(parts, ignore_index=True)


def _evaluation(space: SearchSpace, spec: Spec, cells: pd.DataFrame, result: dict[str, Any]) -> list[dict[str, Any]]:
    columns = ["genotype", "genotype_with_none", "genotype_without_none"]
    found = {result[column] for column in columns}
    if spec.kind == "table":
        found |= set(cells[columns].to_numpy().ravel())
    genotypes = sorted(found)
    datasets = ("cifar10", "cifar100", "imagenet16-120") if spec.kind == "table" else (spec.dataset,)
    datasets = ("cifar10",) if spec.space.startswith("nasbench1shot1") and spec.kind == "table" else datasets
    seeds = ("777", "888", "999") if spec.kind == "table" else ("0", "1")
    rows = []
    for genotype in genotypes:
        for dataset in datasets:
            for split in ("valid", "test"):
                value = worth(space, genotype, dataset, split)
                row = {"genotype": genotype, "kind": spec.kind, "dataset": dataset, "split": split, "epochs": 200}
                known = (split == "valid" and dataset == "cifar10") or spec.kind == "trained"
                rows.append({**row, "seed": "mean", "value": value, "n": len(seeds) if known else None})
                rows += [{**row, "seed": seed, "value": value, "n": 1} for seed in seeds if known]
    return rows


def _write_optional(folder: Path, space: SearchSpace, spec: Spec, epochs: int, rng: np.random.Generator) -> None:
    """Supernet ranking (noisier than the truth) and an eigenvalue that triples halfway."""
    if spec.architectures and epochs:
        genotypes = sorted({space.random(rng, exclude_none=False) for _ in range(spec.architectures)})
        true = np.array([worth(space, genotype, "cifar10", "test") for genotype in genotypes])
        values = {"supernet": true / 2 + rng.normal(0, 3, len(true))}
        values |= {"cifar10/test": true} if spec.kind == "table" else {}
        values["score"] = true / 100 + rng.normal(0, 0.2, len(true))
        rows = [
            {"genotype": genotype, "quantity": quantity, "value": value, "n_images": 400}
            for quantity, column in values.items()
            for genotype, value in zip(genotypes, column, strict=True)
        ]
        records.write_table(folder, "architectures", rows)
    if spec.eigenvalues and epochs and KINDS.get(spec.method, "alpha") == "alpha":
        curve = 0.1 * (1 + 2 / (1 + np.exp(-(np.arange(epochs + 1) - epochs / 2)))) + rng.normal(0, 0.002, epochs + 1)
        rows = [
            {"epoch": e, "eigenvalue": v, "smallest": -v / 3, "n_images": 400}
            for e, v in enumerate(curve)
            if e % 2 == 0
        ]
        records.write_table(folder, "eigenvalues", rows)


def _sections(spec: Spec, result: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    table = {"name": "nas-bench-201/table.parquet", "sha256": "0" * 64} if spec.kind == "table" else None
    search = {"epochs": spec.epochs, "batch_size": 32, "weight_rate": 0.1, "score_rate": 3e-3}
    trained = spec.method != "random"
    parts = {"train": trained * (40 + 10 * rng.random()), "scores": 4.0 * trained, "selection": 2.0 * trained}
    seconds = {f"{part}_seconds": value for part, value in parts.items()} | {"search_seconds": sum(parts.values())}
    seconds |= {"discretization_seconds": 5.0 * trained, "evaluation_seconds": 3.0, "total_seconds": 55.0}
    return {
        "config": {"method": {"name": spec.method}, "search": search, "search_seed": spec.search_seed},
        "code": {"version": "0.1.0", "commit": "0" * 40, "dirty": False},
        "environment": {
            "python": "3.11",
            "torch": "2.13.0",
            "numpy": "2",
            "platform": "Linux",
            "device": "cpu",
            "threads": 1,
        },
        "data": {"dataset": spec.dataset, "checksum": "0" * 64, "n_train": 800, "n_valid": 400, "n_test": 597}
        | {"split": "stratified", "table": table},
        "semantics": {
            "score_kind": "perturbation" if spec.method.startswith("darts-pt") else KINDS.get(spec.method, "alpha"),
            "rule": "without_none" if spec.method in WITHOUT_NONE else "with_none",
            "importance": "mean over valid images",
            "bn": "recalib",
            "discretization": "n/a: no supernet" if spec.method == "random" else PROTOCOL,
            "evaluation": spec.kind,
            "reference": REFERENCE if spec.kind == "table" else None,
        },
        "result": {"error": "loss became NaN"} if spec.status == "failed" else result,
        "cost": seconds
        | {"peak_memory_mb": 400.0, "started": "2026-11-22T00:00:00Z"}
        | {"finished": f"2026-11-22T0{len(spec.salt)}:10:00Z", "resumed": 0},
    }
