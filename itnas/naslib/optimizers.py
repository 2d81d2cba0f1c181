"""The methods as NASLib optimizers; ``base.py`` says what they share. Needs NASLib."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from itnas.naslib.angles import angles_on_graph
from itnas.naslib.base import GraphOptimizer
from itnas.naslib.supernet import InitialParts

logger = logging.getLogger(__name__)


class DARTSOptimizer(GraphOptimizer):
    """DARTS, first order, or second with ``unrolled=True`` (Liu et al., ICLR 2019)."""

    method_name = "darts"

    def _measure(self, finished: bool) -> tuple[dict[str, np.ndarray], bool]:
        return self.alphas(), finished

    def current_scores(self) -> dict[str, np.ndarray]:
        """Return the alphas, which are parameters of the graph and in every checkpoint of it."""
        return self.alphas()

    def alphas(self) -> dict[str, np.ndarray]:
        """Return the alphas before the softmax, as NASLib's rules of discretization expect them."""
        return self._barred({g: alphas.logits.detach().double().cpu().numpy() for g, alphas in self._alphas().items()})


class DARTSPTOptimizer(DARTSOptimizer):
    """DARTS-PT: masks operations one by one and keeps those whose loss hurts most (Wang et al., ICLR 2021).

    The selection fine-tunes the supernet between decisions, and leaves it as it was.
    """

    method_name = "darts-pt"

    def _measure(self, finished: bool) -> tuple[dict[str, np.ndarray], bool]:
        if not finished or not self.valid_data.images:
            return self.alphas(), False
        selection = self.method.select(self.train_data, self.valid_data)
        return self._as_scores(selection.genotype), True

    def current_scores(self) -> dict[str, np.ndarray]:
        """Return the selection, or the alphas where none was made since the last step."""
        decided = self.selected is not None and self.selected[0] == int(self.saved.trained)
        if decided or (self.saved.decided and self.saved.is_current()):
            return GraphOptimizer.current_scores(self)
        logger.warning("DARTS-PT has not selected yet: the architecture is the argmax of its alphas")
        return self.alphas()

    @contextmanager
    def _undisturbed(self) -> Iterator[None]:
        method: Any = self.method
        weights = {name: value.clone() for name, value in _state(self.graph).items()}
        optimizer, adam = method.op_optimizer, copy.deepcopy(method.arch_optimizer.state_dict())
        with super()._undisturbed():
            yield
        with torch.no_grad():
            for name, value in _state(self.graph).items():
                value.copy_(weights[name])
        method.op_optimizer, method.progress = optimizer, None
        method.arch_optimizer.load_state_dict(adam)


class AGNASOptimizer(GraphOptimizer):
    """AGNAS: channel attention on every edge, mean gate as score (Sun et al., ICML 2022)."""

    method_name = "agnas"


class ITNASOptimizer(GraphOptimizer):
    """IT-NAS: a lite transformer on every edge, the indicator token's attention as score (ICLR 2023 submission)."""

    method_name = "it-nas"


class RLNASOptimizer(GraphOptimizer):
    """RLNAS: single paths, the angle that weights turned as score (Zhang et al., CVPR 2021).

    For the paper's random labels use :class:`~itnas.naslib.RandomLabelTrainer`.
    """

    method_name = "rlnas"

    def adapt_search_space(self, search_space: Any, dataset: str | None = None, *args: Any, **keywords: Any) -> None:  # noqa: ANN401
        """Build the supernet; the weights before training travel with the graph, because angles are measured from them."""
        super().adapt_search_space(search_space, dataset, *args, **keywords)
        method: Any = self.method
        method.architectures = angles_on_graph(method.architectures)
        self.initial: InitialParts | None = None

    def before_training(self) -> None:
        """Move everything to the device; the first time, keep the weights."""
        method: Any = self.method
        super().before_training()
        if self.initial is None:
            self.initial = InitialParts(method.initial.parts)
            self.graph.add_module("itnas_initial", self.initial)
        method.initial.parts = self.initial.parts()

    def _measure(self, finished: bool) -> tuple[dict[str, np.ndarray], bool]:
        selection = self.method.select(self.train_data, self.valid_data)
        return self._as_scores(selection.genotype), finished


def _state(graph: Any) -> dict[str, Tensor]:  # noqa: ANN401
    """Return parameters and buffers, without asking for scores as ``state_dict`` does."""
    return {**dict(graph.named_parameters()), **dict(graph.named_buffers())}
