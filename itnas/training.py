"""What a found DARTS-like genotype is worth: its stand-alone network trained from scratch, recorded on its own, resumable.

A training is one genotype, one protocol, one data set and one evaluation seed; none of this knows which search found the
genotype. Its record is ``results/<study>/evaluations/<id>/``: ``evaluation.json`` and ``epochs.parquet``. Searches that find
the same cell share it; a killed training continues from its last epoch. Test images are read once, after the last epoch.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import filelock
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from itnas.checkpoint import read_checkpoint, restore_generators, write_checkpoint
from itnas.config import CellEvaluationConfig
from itnas.data.images import Dataset, ImageSet, Loader, cutout
from itnas.environment import code_version, describe_environment, deterministic, peak_memory_mb
from itnas.errors import UserError
from itnas.nn.darts_networks import CellNetwork, build_cell_network
from itnas.optimizers.base import evaluate
from itnas.records import run_id, write_atomic, write_table

EVALUATION_VERSION = 1
"""Version of the evaluation record's layout."""


@dataclass(frozen=True)
class TrainingPlace:
    """Where and how to train: nothing of this changes a result."""

    folder: Path
    """Folder of the evaluation records."""
    device: str = "cpu"
    """`cpu`, `cuda` or `cuda:N`."""
    determinism: str = "exact"
    """Determinism level, as of searches."""


def evaluation_rows(
    genotypes: Iterable[str], protocol: CellEvaluationConfig, data: Dataset, place: TrainingPlace
) -> list[dict[str, Any]]:
    """Return rows of a run's table `evaluation`: every distinct genotype trained with every evaluation seed."""
    rows: list[dict[str, Any]] = []
    for genotype in dict.fromkeys(genotypes):
        results = {seed: Training(genotype, protocol, data, seed, place).result() for seed in protocol.seeds}
        rows += rows_of_seeds(genotype, data.info.name, protocol.epochs, results)
    return rows


def rows_of_seeds(
    genotype: str, dataset: str, epochs: int, results: Mapping[int, Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Return rows of a run's table `evaluation`: mean over seeds and every seed, for each split that was measured.

    Args:
        genotype: what was trained.
        dataset: name of the data set.
        epochs: length of the trainings.
        results: ``valid_accuracy`` and ``test_accuracy`` (percent, or None) by evaluation seed.
    """
    rows: list[dict[str, Any]] = []
    for split in ("valid", "test"):
        values = {str(seed): result[f"{split}_accuracy"] for seed, result in results.items()}
        if None in values.values():
            continue
        common: dict[str, Any] = {"genotype": genotype, "kind": "trained", "dataset": dataset}
        common |= {"split": split, "epochs": epochs}
        rows.append({**common, "seed": "mean", "value": float(np.mean(list(values.values()))), "n": len(values)})
        rows += [{**common, "seed": seed, "value": value, "n": 1} for seed, value in values.items()]
    return rows


def training_images(data: Dataset, protocol: CellEvaluationConfig) -> ImageSet:
    """Return the images to train on, with cutout added to their augmentation.

    Raises:
        UserError: the halves of the data set are stored differently and cannot be joined.
    """
    part = data.train
    if protocol.images == "train+valid":
        if (
            data.train.images.shape[1:] != data.valid.images.shape[1:]
            or data.train.images.dtype != data.valid.images.dtype
        ):
            raise UserError(
                f"train and valid of data set {data.info.name} cannot be joined; set evaluation.images to train"
            )
        images = torch.cat([data.train.images, data.valid.images])
        part = ImageSet(images, torch.cat([data.train.labels, data.valid.labels]), part.augment, part.clean)
    if not protocol.cutout:
        return part
    augment = part.augment
    return ImageSet(part.images, part.labels, lambda x, gen: cutout(augment(x, gen), protocol.cutout, gen), part.clean)


class Training:
    """One stand-alone training, from its start to its record."""

    def __init__(
        self, genotype: str, protocol: CellEvaluationConfig, data: Dataset, seed: int, place: TrainingPlace
    ) -> None:
        self.genotype, self.protocol, self.data, self.seed, self.place = genotype, protocol, data, seed, place
        words = asdict(protocol)
        settings = {name: value for name, value in words.items() if name not in ("kind", "seeds")}
        self.identity = {
            **{"genotype": genotype, "dataset": data.info.name, "evaluation_seed": seed, "protocol": settings},
            "data": {"checksum": data.checksum, "split": data.split},
            "determinism": place.determinism,
        }
        self.folder = place.folder / run_id(self.identity)
        self.rows: list[dict[str, Any]] = []
        self.seconds, self.resumed, self.started = 0.0, 0, datetime.now(UTC).isoformat(timespec="seconds")

    def result(self) -> dict[str, Any]:
        """Return the recorded result; train, or continue to train, if there is none yet.

        Another process that trains the same is waited for.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = self.folder / "evaluation.lock"
        with filelock.FileLock(lock):
            if (done := self.finished()) is not None:
                return done
            with deterministic(self.place.determinism):
                self.set_up()
                self.restore()
                self.train()
                result = self.measure()
            self.record(result)
        lock.unlink(missing_ok=True)
        return result

    def finished(self) -> dict[str, Any] | None:
        """Return the result of a finished record, or None.

        Raises:
            UserError: the record is damaged.
        """
        path = self.folder / "evaluation.json"
        if not path.exists():
            return None
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            return {key: content["result"][key] for key in ("valid_accuracy", "test_accuracy", "parameters")}
        except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
            raise UserError(f"{path} is damaged ({error}); delete the folder {self.folder} and repeat") from None

    def set_up(self) -> None:
        """Seed, and build loaders, network, optimizer and schedule."""
        protocol, info = self.protocol, self.data.info
        torch.manual_seed(self.seed)
        self.generator = torch.Generator().manual_seed(self.seed)
        network = build_cell_network(
            self.genotype,
            protocol.cells,
            protocol.channels,
            info.channels,
            info.n_classes,
            auxiliary=protocol.auxiliary_weight > 0,
        )
        self.network: CellNetwork = network.to(device=self.place.device, memory_format=torch.channels_last)  # pyright: ignore
        self.train_data = self.loader(training_images(self.data, protocol))
        self.optimizer = protocol.weights.make(self.network.parameters())
        self.schedule = torch.optim.lr_scheduler.CosineAnnealingLR(
            self.optimizer, protocol.epochs, protocol.weights.lr_min
        )

    def loader(self, part: ImageSet) -> Loader:
        """Return a loader of one part of the data."""
        return Loader(part, self.data.info, self.protocol.batch_size, self.generator, self.place.device)

    def train(self) -> None:
        """Train the remaining epochs, with a checkpoint after each."""
        while len(self.rows) < self.protocol.epochs:
            start = time.perf_counter()
            rate = self.optimizer.param_groups[0]["lr"]
            self.network.set_drop_path(self.protocol.drop_path * len(self.rows) / self.protocol.epochs)
            loss, accuracy = self.train_epoch()
            self.schedule.step()
            row = {"epoch": len(self.rows) + 1, "train_loss": loss, "train_accuracy": accuracy, "learning_rate": rate}
            self.rows.append(row)
            self.seconds += time.perf_counter() - start
            self.save()

    def train_epoch(self) -> tuple[float, float]:
        """Step once through the training images; return mean loss (without the auxiliary one) and accuracy (percent).

        Raises:
            UserError: the loss is no finite number.
        """
        self.network.train()
        losses, hits = (torch.zeros((), device=self.place.device) for _ in range(2))
        for images, labels in self.train_data:
            self.optimizer.zero_grad()
            logits, auxiliary = self.network.with_auxiliary(images)
            loss = F.cross_entropy(logits, labels)
            losses += loss.detach() * len(labels)
            hits += (logits.argmax(1) == labels).sum()
            if auxiliary is not None:
                loss = loss + self.protocol.auxiliary_weight * F.cross_entropy(auxiliary, labels)
            loss.backward()
            if self.protocol.weights.grad_clip is not None:
                nn.utils.clip_grad_norm_(self.network.parameters(), self.protocol.weights.grad_clip)
            self.optimizer.step()
        if not torch.isfinite(losses):
            raise UserError(
                f"the loss of the stand-alone training is {losses.item()}: it diverged; lower evaluation.weights.lr "
                f"(now {self.protocol.weights.lr:g})"
            )
        n = len(self.train_data.images)
        return losses.item() / n, 100 * hits.item() / n

    def measure(self) -> dict[str, Any]:
        """Return the accuracies (percent) of the last epoch, and the parameters in millions.

        The validation half is measured only where it was not trained on.
        """
        held_out = self.protocol.images == "train"
        return {
            "valid_accuracy": evaluate(self.network, self.loader(self.data.valid))[1] if held_out else None,
            "test_accuracy": evaluate(self.network, self.loader(self.data.test))[1],
            "parameters": self.network.millions(),
        }

    def record(self, result: dict[str, Any]) -> None:
        """Write the record; remove what only resuming needed."""
        write_table(self.folder, "epochs", self.rows)
        content = {
            "evaluation_version": EVALUATION_VERSION,
            "evaluation_id": self.folder.name,
            **self.identity,
            "result": result,
            "code": code_version(),
            "environment": describe_environment(self.place.device),
            "cost": {
                "train_seconds": round(self.seconds, 3),
                "peak_memory_mb": round(peak_memory_mb(self.place.device), 1),
                "started": self.started,
                "finished": datetime.now(UTC).isoformat(timespec="seconds"),
                "resumed": self.resumed,
            },
        }
        text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
        write_atomic(self.folder / "evaluation.json", (text + "\n").encode())
        (self.folder / "checkpoint.pt").unlink(missing_ok=True)

    def save(self) -> None:
        """Write everything that continuing needs, atomically."""
        state = {"parts": {name: getattr(self, name).state_dict() for name in ("network", "optimizer", "schedule")}}
        state |= {name: getattr(self, name) for name in ("rows", "seconds", "resumed", "started")}
        write_checkpoint(self.folder / "checkpoint.pt", state, self.generator)

    def restore(self) -> None:
        """Continue from the last finished epoch, if there is one.

        Raises:
            UserError: the checkpoint is damaged.
        """
        state = read_checkpoint(self.folder / "checkpoint.pt", self.place.device)
        if state is None:
            return
        for name, part in state["parts"].items():
            getattr(self, name).load_state_dict(part)
        self.rows, self.seconds, self.started = state["rows"], state["seconds"], state["started"]
        self.resumed = state["resumed"] + 1
        restore_generators(state, self.generator)
