"""One search: train a supernet with one method and one seed, measure it, choose, evaluate, and write one run record.

A search can be killed at any moment and started again: it continues from its last checkpoint and, at determinism level
``exact``, ends with the records it would have ended with.
"""

from __future__ import annotations

import io
import pickle
import random
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import filelock
import numpy as np
import torch

from itnas.config import SearchConfig
from itnas.data.images import Dataset, Loader
from itnas.data.load import load_data
from itnas.environment import code_version, describe_environment, deterministic, peak_memory_mb
from itnas.errors import UserError
from itnas.evaluate import Truth, find_truth, trained_rows
from itnas.measure import discretization_accuracy
from itnas.optimizers import METHODS, Optimizer, Selection
from itnas.records import SCHEMA_VERSION, read_meta, run_id, write_atomic, write_meta, write_table
from itnas.spaces import SearchSpace, get_space

Progress = Callable[[str, int, int], None]
"""Called with the phase, how much of it is done, and of how much."""


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
    if place.device.startswith("cuda") and not torch.cuda.is_available():
        raise UserError(f"device {place.device} is not available here; use `--device cpu`")
    truth = find_truth(config.evaluation, place.data_root)
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
        self.rows: dict[str, list[dict[str, Any]]] = {"epochs": [], "timing": [], "discretization": []}
        self.scores: list[tuple[int, str, dict[str, np.ndarray], dict[str, np.ndarray]]] = []
        self.discretized = False
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
        while self.epoch < self.config.epochs:
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
        own = without_none if self.config.optimizer.exclude_none else with_none
        genotypes = {"genotype": own, "genotype_with_none": with_none, "genotype_without_none": without_none}
        skips = {
            key.replace("genotype", "skips"): self.space.count(genotype, self.space.skip_name)
            for key, genotype in genotypes.items()
        }
        train_loss, train_accuracy = losses or (None, None)
        valid_loss, valid_accuracy = validated or (None, None)
        self.rows["epochs"].append(
            {
                "epoch": self.epoch,
                "train_loss": train_loss,
                "train_accuracy": train_accuracy,
                "valid_loss": valid_loss,
                "valid_accuracy": valid_accuracy,
                "learning_rate": rate,
                **genotypes,
                **skips,
            }
        )

    def discretize(self) -> None:
        """Measure discretization accuracy of the supernet as training left it."""
        protocol = self.config.discretization
        if self.discretized or not protocol.enabled or not self.optimizer.discretizes:
            return
        self.place.progress("discretization", 0, 1)
        with self.timed("discretization", None):
            data, split = self.optimizer.prepare_measurement(self.train_data, self.valid_data)
            if split != "valid":
                data = data.frozen(protocol.max_images, seed=1)
            self.split = split
            self.rows["discretization"] = discretization_accuracy(
                self.optimizer.graph, self.space, data, self.train_data, protocol, split
            )
        self.discretized = True
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
            if self.truth.table is None:
                return trained_rows(final, self.config, self.data, self.place.device)
            columns = ("genotype", "genotype_with_none", "genotype_without_none")
            derived = [row[column] for row in self.rows["epochs"] for column in columns]
            return self.truth.table.evaluation_rows(dict.fromkeys(final + derived))

    # -- the record --

    def finish(self, selection: Selection, evaluation: list[dict[str, Any]]) -> None:
        """Write the tables, then ``run.json`` as finished; remove what only resuming needed."""
        for name, rows in {**self.rows, "scores": self.score_rows(), "evaluation": evaluation}.items():
            write_table(self.folder, name, rows)
        worth = {
            f"{row['dataset']}/{row['split']}": row["value"]
            for row in evaluation
            if row["genotype"] == selection.genotype and row["seed"] == "mean"
        }
        last = self.rows["epochs"][-1]
        result = {
            "genotype": selection.genotype,
            "genotype_with_none": selection.genotype_with_none,
            "genotype_without_none": selection.genotype_without_none,
            "supernet_valid_accuracy": last["valid_accuracy"],
            "supernet_parameters": round(self.optimizer.get_model_size() * 1e6),
            "accuracy": worth,
        }
        self.write_meta("finished", result)
        (self.folder / "checkpoint.pt").unlink(missing_ok=True)

    def score_rows(self) -> list[dict[str, Any]]:
        """Return the rows of the table `scores`: aggregate scores as cell -1, then every cell's own."""
        rows: list[dict[str, Any]] = []
        for epoch, kind, scores, cells in self.scores:
            for group, choices in self.space.groups.items():
                arrays = [(-1, scores[group])]
                if group in cells:
                    arrays += zip(self.optimizer.graph.cells_of(group), cells[group], strict=True)
                for cell, array in arrays:
                    rows += [
                        {
                            "epoch": epoch,
                            "cell": cell,
                            "group": group,
                            "choice": choice.name,
                            "candidate": candidate,
                            "kind": kind,
                            "score": float(array[i][k]),
                        }
                        for i, choice in enumerate(choices)
                        for k, candidate in enumerate(choice.candidates)
                    ]
        return rows

    def write_meta(self, status: str, result: dict[str, Any]) -> None:
        """Write ``run.json`` with the given status."""
        config = self.config
        seconds = {
            phase: sum(row["seconds"] for row in self.rows["timing"] if row["phase"] == phase)
            for phase in ("train", "scores", "discretization", "selection", "evaluation")
        }
        protocol = "n/a: the method trains no supernet"
        if self.optimizer.discretizes:
            protocol = config.discretization.describe(self.split)
            protocol = protocol if config.discretization.enabled else "n/a: switched off"
        write_meta(
            self.folder,
            {
                "schema_version": SCHEMA_VERSION,
                "run_id": self.id,
                "study": self.place.study,
                "space": config.space,
                "method": config.method,
                "dataset": config.data.dataset,
                "preset": config.preset,
                "search_seed": config.seed,
                "status": status,
                "config": config.as_dict(),
                "code": code_version(),
                "environment": describe_environment(self.place.device),
                "data": {
                    "dataset": self.data.info.name,
                    "checksum": self.data.checksum,
                    "split": self.data.split,
                    "n_train": len(self.data.train.images),
                    "n_valid": len(self.data.valid.images),
                    "n_test": len(self.data.test.images),
                    "table": self.truth.describe(),
                },
                "semantics": {
                    "score_kind": self.optimizer.score_kind,
                    "rule": "without_none" if config.optimizer.exclude_none else "with_none",
                    "discretization": protocol,
                    "evaluation": self.truth.kind,
                    "reference": None if self.truth.table is None else self.truth.table.reference(),
                    "accuracy_unit": "percent",
                    "determinism": config.determinism,
                },
                "result": result,
                "cost": {
                    **{f"{phase}_seconds": round(value, 3) for phase, value in seconds.items()},
                    "search_seconds": round(seconds["train"] + seconds["scores"] + seconds["selection"], 3),
                    "total_seconds": round(sum(seconds.values()), 3),
                    "peak_memory_mb": round(peak_memory_mb(self.place.device), 1),
                    "started": self.started,
                    "finished": datetime.now(UTC).isoformat(timespec="seconds") if status == "finished" else None,
                    "resumed": self.resumed,
                },
            },
        )

    # -- checkpoint and resume --

    def on_selection_progress(self) -> None:
        """Checkpoint inside a long selection."""
        self.save(selecting=True)

    def save(self, *, selecting: bool = False) -> None:
        """Write everything that continuing needs, atomically."""
        state = {
            "epoch": self.epoch,
            "rows": self.rows,
            "scores": self.scores,
            "discretized": self.discretized,
            "split": self.split,
            "selecting": selecting,
            "started": self.started,
            "resumed": self.resumed,
            "parts": {name: part.state_dict() for name, part in self.optimizer.get_checkpointables().items()},
            "scheduler": None if self.scheduler is None else self.scheduler.state_dict(),
            "generators": {
                "python": random.getstate(),
                "numpy": np.random.get_state(),  # noqa: NPY002
                "torch": torch.get_rng_state(),
                "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
                "run": self.generator.get_state(),
            },
        }
        buffer = io.BytesIO()
        torch.save(state, buffer)
        write_atomic(self.folder / "checkpoint.pt", buffer.getvalue())

    def restore(self) -> None:
        """Continue from the checkpoint, if there is one."""
        path = self.folder / "checkpoint.pt"
        if not path.exists():
            return
        try:
            state = torch.load(path, map_location=self.place.device, weights_only=False)
        except (RuntimeError, EOFError, pickle.UnpicklingError, zipfile.BadZipFile, KeyError) as error:
            raise UserError(f"{path} is damaged ({str(error).splitlines()[0]}); delete it to repeat the run") from None
        self.epoch, self.rows, self.scores = state["epoch"], state["rows"], state["scores"]
        self.discretized, self.started, self.resumed = state["discretized"], state["started"], state["resumed"] + 1
        self.split = state["split"]
        if state["selecting"]:
            self.optimizer.restore_selection()
        for name, part in self.optimizer.get_checkpointables().items():
            part.load_state_dict(state["parts"][name])
        if self.scheduler is not None:
            self.scheduler.load_state_dict(state["scheduler"])
        generators = state["generators"]
        random.setstate(generators["python"])
        np.random.set_state(generators["numpy"])  # noqa: NPY002
        torch.set_rng_state(generators["torch"].cpu())
        if generators["cuda"] and torch.cuda.is_available():
            torch.cuda.set_rng_state_all([s.cpu() for s in generators["cuda"]])
        self.generator.set_state(generators["run"].cpu())

    @contextmanager
    def timed(self, phase: str, epoch: int | None) -> Iterator[None]:
        """Add the seconds of a phase to the table `timing`."""
        start = time.perf_counter()
        yield
        self.rows["timing"].append({"epoch": epoch, "phase": phase, "seconds": time.perf_counter() - start})
