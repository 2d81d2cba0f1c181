"""One search: train a supernet with one method and one seed, measure it, choose, evaluate, and write one run record.

A search can be killed at any moment and started again: it continues from its last checkpoint and, at determinism level
``exact``, ends with the records it would have ended with.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import filelock
import numpy as np
import torch

from itnas.checkpoint import read_checkpoint, restore_generators, write_checkpoint
from itnas.config import CellEvaluationConfig, SearchConfig
from itnas.data.images import Dataset, Loader
from itnas.data.load import load_data
from itnas.environment import check_device, describe_environment, deterministic
from itnas.errors import UserError
from itnas.evaluate import Truth, find_truth, trained_rows
from itnas.hessian import eigenvalue_row
from itnas.measure import discretization_accuracy
from itnas.optimizers import METHODS, Optimizer, Selection
from itnas.ranking import rank_architectures
from itnas.recording import (
    Measured,
    cost_section,
    data_section,
    epoch_row,
    identity_section,
    result_section,
    score_rows,
    semantics_section,
)
from itnas.records import OPTIONAL, read_meta, run_id, write_meta, write_table
from itnas.spaces import SearchSpace, get_space
from itnas.training import TrainingPlace, evaluation_rows

Progress = Callable[[str, int, int], None]
"""Called with the phase, how much of it is done, and of how much."""


MEASURED = ("discretization", "architectures", "eigenvalues")
"""Tables that are filled by measuring the supernet."""
PROGRESS = ("epoch", "rows", "scores", "measured", "split", "started", "resumed")
"""Attributes of a run that a checkpoint keeps."""


class RunBusy(UserError):
    """Another process works on this run."""


@dataclass(frozen=True)
class Place:
    """Where and how to run: nothing of this changes a result or enters the run id."""

    results: Path = Path("results")
    """Folder of all records."""
    study: str = "search"
    """Sub-folder and label of the study the run belongs to."""
    device: str = "cpu"
    """`cpu`, `cuda` or `cuda:N`."""
    data_root: Path | None = None
    """The folder ITNAS_DATA names, or None."""
    progress: Progress = field(default=lambda phase, done, total: None)
    """Display."""


def run_search(config: SearchConfig, place: Place) -> Path:
    """Run, continue or skip the search that ``config`` describes; return its folder.

    Raises:
        UserError: a mistake in the configuration, missing data, or a diverged training (recorded as failed).
        RunBusy: another process holds the run's lock.
    """
    check_device(place.device)
    truth = find_truth(config.evaluation, get_space(config.space), place.data_root)
    config = replace(config, evaluation=replace(config.evaluation, kind=truth.kind))  # pyright: ignore[reportArgumentType]
    data = load_data(config.data, place.data_root)
    identity = {"config": config.as_dict(), "data": data.checksum, "table": truth.describe()}
    run = Run(config, place, truth, data, run_id(identity))
    run.folder.mkdir(parents=True, exist_ok=True)
    try:
        with filelock.FileLock(run.folder / "run.lock", timeout=5):
            if not run.is_finished():
                run.execute()
    except filelock.Timeout:
        raise RunBusy(f"another process works on {run.folder}; wait for it or stop it") from None
    (run.folder / "run.lock").unlink(missing_ok=True)
    return run.folder


class Run:
    """The state of one search between its start and its record."""

    def __init__(self, config: SearchConfig, place: Place, truth: Truth, data: Dataset, identifier: str) -> None:
        self.config, self.place, self.truth, self.data, self.id = config, place, truth, data, identifier
        self.folder = place.results / place.study / identifier
        self.space: SearchSpace = get_space(config.space)
        self.epoch = 0
        self.rows: dict[str, list[dict[str, Any]]] = {name: [] for name in ("epochs", "timing", *MEASURED)}
        self.scores: list[Measured] = []
        self.measured: set[str] = set()
        self.split = "valid"
        self.resumed = 0
        self.started = datetime.now(UTC).isoformat(timespec="seconds")

    # -- the course of a search --

    def is_finished(self) -> bool:
        """Return whether the record is complete already."""
        return (self.folder / "run.json").exists() and read_meta(self.folder)["status"] == "finished"

    def execute(self) -> None:
        """Do everything that is not done yet; a failure is recorded before it is raised."""
        self.set_up()
        self.restore()
        self.write_meta("running", {})
        try:
            with deterministic(self.config.determinism):
                self.train()
                self.discretize()
                self.rank()
                selection = self.select()
                evaluation = self.evaluate(selection)
        except Exception as error:
            self.write_meta(
                "failed",
                {"error": f"{type(error).__name__}: {error}" if not isinstance(error, UserError) else str(error)},
            )
            raise
        self.finish(selection, evaluation)

    def set_up(self) -> None:
        """Seed every generator, then build data loaders, supernet and optimizers."""
        seed = self.config.seed
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002 - libraries may draw from the global generator
        torch.manual_seed(seed)
        self.generator = torch.Generator().manual_seed(seed)
        parts = (self.data.train, self.data.valid)
        train, valid = (
            Loader(part, self.data.info, self.config.batch_size, self.generator, self.place.device) for part in parts
        )
        if self.config.optimizer.watches_eigenvalues and self.config.eigenvalues is None:
            raise UserError("early stopping watches the eigenvalues: set `eigenvalues` too")
        optimizer_class = METHODS[self.config.method][0]
        self.optimizer: Optimizer = optimizer_class(self.config.optimizer, self.config.network, self.place.device)
        self.optimizer.adapt_search_space(self.space, self.data.info)
        self.optimizer.before_training()
        self.train_data, self.valid_data = self.optimizer.prepare_data(train, valid, self.generator)
        self.optimizer.checkpoint = self.on_selection_progress
        self.scheduler = None
        if self.config.epochs:
            self.scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(
                self.optimizer.op_optimizer, self.config.epochs, self.config.optimizer.weights.lr_min
            )

    def train(self) -> None:
        """Train the remaining epochs; after each, measure scores and write a checkpoint."""
        if not self.rows["epochs"]:
            self.measure_epoch(None, None)
        while self.epoch < self.config.epochs and self.optimizer.stopped_at is None:
            self.place.progress("train", self.epoch, self.config.epochs)
            rate = self.optimizer.op_optimizer.param_groups[0]["lr"]
            with self.timed("train", self.epoch + 1):
                self.optimizer.new_epoch(self.epoch)
                losses = self.optimizer.train_epoch(self.train_data, self.valid_data)
            assert self.scheduler is not None
            self.scheduler.step()
            self.epoch += 1
            self.measure_epoch(losses, rate)
            self.save()
        self.optimizer.after_training()

    def measure_epoch(self, losses: tuple[float, float] | None, rate: float | None) -> None:
        """Record losses, scores and derived cells of the epochs finished so far."""
        with self.timed("scores", self.epoch):
            limit = None if self.epoch == self.config.epochs else self.config.score_images
            validated = self.optimizer.validate(self.valid_data.first(limit))
            scores, cells = self.optimizer.scores(), self.optimizer.cell_scores()
            with_none = self.optimizer.derive(exclude_none=False)
            without_none = self.optimizer.derive(exclude_none=True)
        self.scores.append((self.epoch, self.optimizer.score_kind, scores, cells))
        self.measure_curvature()
        own = without_none if self.config.optimizer.exclude_none else with_none
        genotypes = (own, with_none, without_none)
        self.rows["epochs"].append(epoch_row(self.space, self.epoch, losses, validated, rate, genotypes))

    def measure_curvature(self) -> None:
        """Record the eigenvalues of the alphas' Hessian where the epoch is one of those, and the method has alphas."""
        config = self.config.eigenvalues
        if config is None or self.optimizer.score_kind != "alpha" or not config.due(self.epoch, self.config.epochs):
            return
        with self.timed("eigenvalues", self.epoch):
            alphas = self.optimizer.architectural_weights
            row = eigenvalue_row(self.optimizer.graph, alphas, self.valid_data, config, self.epoch)
        self.rows["eigenvalues"].append(row)
        self.optimizer.observe_curvature(self.epoch, row["eigenvalue"])

    def discretize(self) -> None:
        """Measure discretization accuracy of the supernet as training left it."""
        protocol = self.config.discretization
        if "discretization" in self.measured or not protocol.enabled or not self.optimizer.discretizes:
            return
        self.place.progress("discretization", 0, 1)
        with self.timed("discretization", None):
            data = self.measurement_data(protocol.max_images)
            self.rows["discretization"] = discretization_accuracy(
                self.optimizer.graph, self.space, data, self.train_data, protocol, self.split
            )
        self.done("discretization")

    def rank(self) -> None:
        """Measure the accuracy and the method's own score of many architectures, before a selection changes the supernet."""
        config = self.config.ranking
        if "architectures" in self.measured or config is None or not self.optimizer.discretizes:
            return
        with self.timed("ranking", None):
            data = self.measurement_data(config.max_images)
            self.rows["architectures"] = rank_architectures(
                self.optimizer, data, self.train_data, config, self.truth.table, self.place.progress
            )
        self.done("architectures")

    def measurement_data(self, max_images: int) -> Loader:
        """Return the images that the trained supernet is measured on; ``split`` says which they are."""
        data, self.split = self.optimizer.prepare_measurement(self.train_data, self.valid_data)
        return data if self.split == "valid" else data.frozen(max_images, seed=1)

    def done(self, table: str) -> None:
        """Remember that a table is filled, which a resumed search does not do again."""
        self.measured.add(table)
        self.save()

    def select(self) -> Selection:
        """Let the method choose."""
        self.place.progress("selection", 0, 1)
        with self.timed("selection", None):
            selection = self.optimizer.select(self.train_data, self.valid_data)
        if selection.kind != self.optimizer.score_kind:
            self.scores.append((self.epoch, selection.kind, dict(selection.scores), {}))
        return selection

    def evaluate(self, selection: Selection) -> list[dict[str, Any]]:
        """Return what the derived cells are worth: all cells ever derived from the table, or the final ones by training."""
        self.place.progress("evaluation", 0, 1)
        final = [selection.genotype, selection.genotype_with_none, selection.genotype_without_none]
        with self.timed("evaluation", None):
            if isinstance(self.config.evaluation, CellEvaluationConfig):
                place = TrainingPlace(self.folder.parent / "evaluations", self.place.device, self.config.determinism)
                return evaluation_rows(final, self.config.evaluation, self.data, place)
            if self.truth.table is None:
                return trained_rows(final, self.config, self.data, self.place.device)
            columns = ("genotype", "genotype_with_none", "genotype_without_none")
            derived = [row[column] for row in self.rows["epochs"] for column in columns]
            return self.truth.table.evaluation_rows(dict.fromkeys(final + derived))

    # -- the record --

    def finish(self, selection: Selection, evaluation: list[dict[str, Any]]) -> None:
        """Write the tables, then ``run.json`` as finished; remove what only resuming needed."""
        tables = {**self.rows, "scores": score_rows(self.scores, self.optimizer), "evaluation": evaluation}
        for name, rows in tables.items():
            if rows or name not in OPTIONAL:
                write_table(self.folder, name, rows)
        result = result_section(selection, evaluation, self.rows["epochs"][-1], self.optimizer)
        self.write_meta("finished", result, selection)
        (self.folder / "checkpoint.pt").unlink(missing_ok=True)

    def write_meta(self, status: str, result: dict[str, Any], selection: Selection | None = None) -> None:
        """Write ``run.json`` with the given status."""
        device, finished = self.place.device, status == "finished"
        write_meta(
            self.folder,
            {
                **identity_section(self.config, self.id, self.place.study, status),
                "environment": describe_environment(device),
                "data": data_section(self.data, self.truth),
                "semantics": semantics_section(self.config, self.optimizer, self.truth, self.split, selection),
                "result": result,
                "cost": cost_section(self.rows["timing"], device, self.started, self.resumed, finished=finished),
            },
        )

    # -- checkpoint and resume --

    def on_selection_progress(self) -> None:
        """Checkpoint inside a long selection."""
        self.save(selecting=True)

    def save(self, *, selecting: bool = False) -> None:
        """Write everything that continuing needs, atomically."""
        state = {name: getattr(self, name) for name in PROGRESS}
        state |= {
            "selecting": selecting,
            "parts": {name: part.state_dict() for name, part in self.optimizer.get_checkpointables().items()},
            "scheduler": None if self.scheduler is None else self.scheduler.state_dict(),
        }
        write_checkpoint(self.folder / "checkpoint.pt", state, self.generator)

    def restore(self) -> None:
        """Continue from the checkpoint, if there is one."""
        state = read_checkpoint(self.folder / "checkpoint.pt", self.place.device)
        if state is None:
            return
        for name in PROGRESS:
            setattr(self, name, state[name])
        self.resumed += 1
        if state["selecting"]:
            self.optimizer.restore_selection()
        for name, part in self.optimizer.get_checkpointables().items():
            part.load_state_dict(state["parts"][name])
        if self.scheduler is not None:
            self.scheduler.load_state_dict(state["scheduler"])
        restore_generators(state, self.generator)

    @contextmanager
    def timed(self, phase: str, epoch: int | None) -> Iterator[None]:
        """Add the seconds of a phase to the table `timing`."""
        start = time.perf_counter()
        yield
        self.rows["timing"].append({"epoch": epoch, "phase": phase, "seconds": time.perf_counter() - start})
