"""What is measured on a trained supernet: discretization accuracy (AGNAS section 6.1, Fig. 3).

Keep one operation on one edge, prune the others, and evaluate the supernet without any further training. The supernet is
left bit by bit as it was.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from itnas.config import DiscretizationConfig, RankingConfig
from itnas.data.images import Loader
from itnas.nn.buffers import kept_buffers
from itnas.nn.supernets import Supernet
from itnas.spaces.base import SearchSpace

CHUNK = 500
"""Images per batch of a measurement."""


@contextmanager
def restored_statistics(model: nn.Module) -> Iterator[list[nn.BatchNorm2d]]:
    """Yield the model's BatchNorm layers; put buffers, momentum and mode back afterwards."""
    layers = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta, training = [layer.momentum for layer in layers], model.training
    try:
        with kept_buffers(model):
            yield layers
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
        model.train(training)


class Evaluator:
    """Accuracy of a supernet from one module on, with the part before it computed once."""

    def __init__(
        self,
        graph: Supernet,
        protocol: DiscretizationConfig | RankingConfig,
        batches: list[tuple[Tensor, Tensor]],
        recalibration: list[Tensor],
        layers: list[nn.BatchNorm2d],
        start: int,
    ) -> None:
        self.graph, self.protocol, self.layers, self.start = graph, protocol, layers, start
        self.recalibration: list[Tensor] = []
        if protocol.bn == "recalib":
            self.recalibration = list(self._estimating(recalibration, lambda x: graph.prefix(x, start)))
        graph.train(protocol.bn == "train")
        self.inputs = [(graph.prefix(images, start), labels) for images, labels in batches]

    def _estimating(self, inputs: list[Tensor], forward: Any) -> Iterator[Tensor]:  # noqa: ANN401
        """Run ``forward`` in training mode; running statistics become the mean over the batches seen."""
        self.graph.train()
        for number, x in enumerate(inputs):
            for layer in self.layers:
                layer.momentum = 1 / (number + 1)
            yield forward(x)

    def accuracy(self) -> float:
        """Return the accuracy (percent) of the supernet as it is discretized now."""
        for _ in self._estimating(self.recalibration, lambda x: self.graph.suffix(x, self.start)):
            pass
        self.graph.train(self.protocol.bn == "train")
        hits = sum((self.graph.suffix(x, self.start).argmax(1) == y).sum() for x, y in self.inputs)
        return 100 * float(hits) / sum(len(y) for _, y in self.inputs)


@torch.no_grad()
def discretization_accuracy(
    graph: Supernet,
    space: SearchSpace,
    data: Loader,
    train: Loader,
    protocol: DiscretizationConfig,
    split: str,
) -> list[dict[str, Any]]:
    """Return one row of the record's table `discretization` per (cell, choice, candidate), and per choice in all cells at once.

    Args:
        graph: the trained supernet.
        space: its search space.
        data: the images to measure on (the validation half; for RLNAS its training images with their random labels).
        train: training images from which BatchNorm statistics are re-estimated.
        protocol: what the paper leaves open.
        split: the name of ``data``, for the record.
    """
    batches = list(data.clean(CHUNK, protocol.max_images))
    recalibration = [x for x, _ in train.frozen(protocol.recalibration_images).clean(CHUNK)]
    n_images = sum(len(labels) for _, labels in batches)
    rows: list[dict[str, Any]] = []
    with restored_statistics(graph) as layers:
        for cell in [None, *range(len(graph.supercells))]:
            start = 0 if cell is None else graph.module_of(cell)
            evaluator = Evaluator(graph, protocol, batches, recalibration, layers, start)
            for group, choices in space.groups.items():
                if cell is not None and group not in graph.groups_of(cell):
                    continue
                for place, choice in enumerate(choices):
                    for k, candidate in enumerate(choice.candidates):
                        with graph.discretized(
                            {group: {place: (k,)}}, cell, weight=protocol.weight, gate=protocol.gate
                        ):
                            accuracy = evaluator.accuracy()
                        rows.append(
                            {
                                "cell": -1 if cell is None else cell,
                                "group": group,
                                "choice": choice.name,
                                "candidate": candidate,
                                "accuracy": accuracy,
                                "n_images": n_images,
                                "protocol": protocol.describe(split),
                            }
                        )
    return rows
