"""Does the trained supernet rank architectures as the benchmark does? The record's table `architectures`.

A fixed random subset of architectures (the same in every run of a space) is measured with the trained supernet: each choice
keeps what the architecture chose, with weight one, and nothing is trained further. Beside it stand the method's own
score of every architecture and, where there is a benchmark table, its accuracies (algorithms' section 3.2).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from itnas.config import RankingConfig
from itnas.data.images import Loader
from itnas.evaluate import Table
from itnas.measure import CHUNK, Evaluator, restored_statistics
from itnas.nn.supernets import Supernet
from itnas.optimizers import Optimizer
from itnas.spaces import SearchSpace

Progress = Callable[[str, int, int], None]
"""Called with the phase, how much of it is done, and of how much."""
_DRAWS = 50
"""Draws per wanted architecture before a space counts as smaller than the subset."""


def subset(space: SearchSpace, config: RankingConfig) -> list[str]:
    """Return distinct genotypes of ``space``, drawn uniformly with the configuration's own seed; fewer if it has fewer.

    Raises:
        UserError: all are asked for, and the space has too many to list.
    """
    if config.architectures == "all":
        return space.genotypes()
    rng, found = np.random.default_rng(config.seed), dict[str, None]()
    for _ in range(_DRAWS * config.architectures):
        if len(found) == config.architectures:
            break
        found[space.canonical(space.random(rng, exclude_none=False))] = None
    return list(found)


def kept_choices(space: SearchSpace, genotype: str) -> dict[str, dict[int, tuple[int, ...]]]:
    """Return what an architecture keeps, for ``Supernet.discretized``: every choice of every group."""
    return {group: dict(enumerate(chosen)) for group, chosen in space.chosen(genotype).items()}


@torch.no_grad()
def supernet_accuracies(
    graph: Supernet,
    space: SearchSpace,
    genotypes: Sequence[str],
    data: Loader,
    train: Loader,
    config: RankingConfig,
    progress: Progress,
) -> tuple[list[float], int]:
    """Return the accuracy (percent) of every architecture with the supernet's weights, and the number of images.

    The supernet is left bit by bit as it was, and torch's random numbers as well.
    """
    batches = list(data.clean(CHUNK, config.max_images))
    recalibration = [x for x, _ in train.frozen(config.recalibration_images).clean(CHUNK)]
    devices = {parameter.device for parameter in graph.parameters() if parameter.is_cuda}
    accuracies = []
    with restored_statistics(graph) as layers, torch.random.fork_rng(devices):
        evaluator = Evaluator(graph, config, batches, recalibration, layers, 0)
        for done, genotype in enumerate(genotypes):
            if done % max(1, len(genotypes) // 10) == 0:
                progress("ranking", done, len(genotypes))
            torch.manual_seed(0)
            with graph.discretized(kept_choices(space, genotype)):
                accuracies.append(evaluator.accuracy())
    return accuracies, sum(len(labels) for _, labels in batches)


def rank_architectures(
    optimizer: Optimizer,
    data: Loader,
    train: Loader,
    config: RankingConfig,
    table: Table | None,
    progress: Progress,
) -> list[dict[str, Any]]:
    """Return the rows of the table `architectures`: one per quantity and architecture.

    Quantities: `supernet`, the accuracy on ``data``; `score`, the method's own; `<dataset>/<split>`, the benchmark's.

    Args:
        optimizer: the method, its supernet trained.
        data: the images to measure on.
        train: training images from which BatchNorm statistics are re-estimated.
        config: which architectures, and how.
        table: the space's benchmark table, if there is one.
        progress: called with the phase, how many are done, and of how many.
    """
    space = optimizer.space
    genotypes = subset(space, config)
    accuracies, n_images = supernet_accuracies(optimizer.graph, space, genotypes, data, train, config, progress)
    rows = _rows(genotypes, "supernet", accuracies, n_images)
    scores = optimizer.architecture_scores(genotypes)
    if scores is not None:
        rows += _rows(genotypes, "score", scores.tolist(), None)
    known: dict[str, dict[str, float]] = {}
    for row in [] if table is None else table.evaluation_rows(genotypes):
        if row["seed"] == "mean":
            known.setdefault(f"{row['dataset']}/{row['split']}", {})[row["genotype"]] = row["value"]
    for quantity, values in known.items():
        rows += _rows(list(values), quantity, list(values.values()), None)
    return rows


def _rows(
    genotypes: Sequence[str], quantity: str, values: Sequence[float], n_images: int | None
) -> list[dict[str, Any]]:
    return [
        {"genotype": genotype, "quantity": quantity, "value": value, "n_images": n_images}
        for genotype, value in zip(genotypes, values, strict=True)
    ]
