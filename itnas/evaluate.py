"""What derived cells are worth: the benchmark's table where there is one, else stand-alone networks trained from scratch.

Nothing here is seen by a method: it runs after the choice is made, and only its records know the test accuracy.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

import torch
from torch import nn
from torch.nn import functional as F

from itnas.benchmarks.nasbench1shot1 import NASBench1Shot1Table
from itnas.benchmarks.nasbench101 import GRAPHS
from itnas.benchmarks.nasbench201 import NASBench201Table
from itnas.config import EvaluationConfig, SearchConfig
from itnas.data.images import Dataset, Loader
from itnas.errors import UserError
from itnas.nn.build import build_network
from itnas.optimizers.base import evaluate
from itnas.spaces import NASBench1Shot1, NASBench201, SearchSpace, get_space
from itnas.training import rows_of_seeds


class Table(Protocol):
    """A benchmark's table, asked by genotypes of one space."""

    name: ClassVar[str]
    """Folder of the table in the data folder."""

    @property
    def sha256(self) -> str:
        """Checksum of the table's file."""
        ...

    def evaluation_rows(self, archs: Iterable[str]) -> list[dict[str, Any]]:
        """Return rows of the record's table `evaluation` for genotypes."""
        ...

    def reference(self) -> Mapping[str, Any]:
        """Return optimum and mean over all cells of the space, by `<data set>/<split>`."""
        ...


@dataclass(frozen=True)
class Truth:
    """Where accuracies of derived cells come from."""

    kind: str
    """`table` or `trained`."""
    table: Table | None

    def describe(self) -> dict[str, Any] | None:
        """Return name and checksum of the table, or None."""
        return None if self.table is None else {"name": self.table.name, "sha256": self.table.sha256}


def find_truth(config: EvaluationConfig, space: SearchSpace, root: Path | None) -> Truth:
    """Resolve `auto`: the table of ``space`` if there is one and ``root`` holds it, else training.

    Raises:
        UserError: the table is demanded and missing, or present and damaged.
    """
    name = _table_name(space)
    path = None if root is None or name is None else root / name / "table.parquet"
    if config.kind == "trained" or (config.kind == "auto" and (path is None or not path.exists())):
        return Truth("trained", None)
    if name is None:
        raise UserError(f"there is no benchmark table for space {space.name}; evaluate with kind `trained`")
    if path is None:
        raise UserError("evaluation by table needs the data folder; set ITNAS_DATA or evaluate with kind `trained`")
    return Truth("table", _open_table(space, path))


def _table_name(space: SearchSpace) -> str | None:
    """Return the folder of the table that knows the cells of ``space``, or None where there is no such benchmark."""
    if isinstance(space, NASBench1Shot1):
        return NASBench1Shot1Table.name
    return NASBench201Table.name if isinstance(space, NASBench201) else None


def _open_table(space: SearchSpace, path: Path) -> Table:
    """Open a table, which must be whole: a reference is taken over all cells of the space."""
    if isinstance(space, NASBench1Shot1):
        table = NASBench1Shot1Table.open(space, path)
        known, whole = len(table.parent), GRAPHS
    else:
        table = NASBench201Table.open(path)
        whole = len(table)
        known = whole if table.provenance is None else table.provenance.architectures
    if known < whole:
        raise UserError(
            f"{path} knows {known} of {whole} cells; import the whole benchmark or set evaluation.kind trained"
        )
    return table


def train_network(genotype: str, config: SearchConfig, data: Dataset, seed: int, device: str) -> dict[str, float]:
    """Train the stand-alone network of ``genotype`` on the training part; return valid and test accuracy (percent)."""
    settings = config.evaluation
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    network = build_network(get_space(config.space), genotype, config.network, data.info.channels, data.info.n_classes)
    network.to(device=device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    train, valid, test = (
        Loader(part, data.info, settings.batch_size, generator, device) for part in (data.train, data.valid, data.test)
    )
    sgd = settings.weights
    optimizer = sgd.make(network.parameters())
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, settings.epochs, sgd.lr_min)
    for _ in range(settings.epochs):
        network.train()
        for images, labels in train:
            optimizer.zero_grad()
            F.cross_entropy(network(images), labels).backward()
            if sgd.grad_clip is not None:
                nn.utils.clip_grad_norm_(network.parameters(), sgd.grad_clip)
            optimizer.step()
        schedule.step()
    return {"valid_accuracy": evaluate(network, valid)[1], "test_accuracy": evaluate(network, test)[1]}


def trained_rows(genotypes: Iterable[str], config: SearchConfig, data: Dataset, device: str) -> list[dict[str, Any]]:
    """Return rows of the record's table `evaluation` from training every genotype with every evaluation seed."""
    rows: list[dict[str, Any]] = []
    for genotype in dict.fromkeys(genotypes):
        runs = {seed: train_network(genotype, config, data, seed, device) for seed in config.evaluation.seeds}
        rows += rows_of_seeds(genotype, data.info.name, config.evaluation.epochs, runs)
    return rows
