"""NASLib's Trainer for what its interface gives an optimizer no way to do: random labels. Needs NASLib."""

from __future__ import annotations

from typing import Any

import torch
from naslib.defaults.trainer import Trainer  # pyright: ignore[reportMissingImports]

from itnas.errors import UserError


class RandomLabelTrainer(Trainer):
    """Trains on one random label per image, fixed for the whole search (RLNAS).

    The accuracies it reports while searching refer to those labels.
    """

    @staticmethod
    def build_search_dataloaders(config: Any) -> tuple[Any, Any, Any]:  # noqa: ANN401 - NASLib's configuration
        """Return NASLib's loaders with the labels of their data set replaced; the seed is the search's."""
        train, valid, other = Trainer.build_search_dataloaders(config)
        generator = torch.Generator().manual_seed(config.search.seed)
        for dataset in {id(loader.dataset): loader.dataset for loader in (train, valid)}.values():
            randomize_labels(dataset, generator)
        return train, valid, other


def randomize_labels(dataset: Any, generator: torch.Generator) -> None:  # noqa: ANN401 - a torch or torchvision data set
    """Give every image of ``dataset`` a label drawn uniformly from the labels that occur, in place.

    Raises:
        UserError: the data set keeps its labels neither in `targets` nor in `labels`.
    """
    for name in ("targets", "labels"):
        labels = getattr(dataset, name, None)
        if labels is not None:
            n_classes = int(torch.as_tensor(labels).max()) + 1
            drawn = torch.randint(n_classes, (len(labels),), generator=generator)
            setattr(dataset, name, drawn.tolist() if isinstance(labels, list) else drawn.to(torch.as_tensor(labels)))
            return
    raise UserError(
        f"{type(dataset).__name__} keeps its labels neither in `targets` nor in `labels`: cannot randomize them"
    )
