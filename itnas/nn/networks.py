"""Staged networks, the macro network of NAS-Bench-201, and its stand-alone network of one cell."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from itnas.nn.operations import ResNetBlock, make_operation
from itnas.spaces.nasbench201 import EDGES, NASBench201


@dataclass(frozen=True)
class NetworkConfig:
    """Size of a supernet or stand-alone network of three stages (NAS-Bench-201)."""

    channels: int = 16
    """Channels C of the first stage; stages two and three have 2C and 4C."""
    cells_per_stage: int = 5
    """Cells N in each of the three stages."""


class Network(nn.Module, ABC):
    """A chain of modules between a stem and a head; what travels between modules is a *state*.

    A state is a tensor, or a tuple of tensors where modules read more than the last output (the DARTS space).
    """

    stages: nn.ModuleList
    """Modules that map a state to the next."""

    @abstractmethod
    def begin(self, images: Tensor) -> Any:  # noqa: ANN401 - a state
        """Map images ``[B, in_channels, H, W]`` to the state that the first module reads."""

    @abstractmethod
    def head(self, state: Any) -> Tensor:  # noqa: ANN401
        """Map the last state to logits ``[B, n_classes]``."""

    def prefix(self, images: Tensor, stop: int) -> Any:  # noqa: ANN401
        """Map images to the state that module ``stop`` reads."""
        state = self.begin(images)
        for module in self.stages[:stop]:
            state = module(state)
        return state

    def suffix(self, state: Any, start: int) -> Tensor:  # noqa: ANN401
        """Map the state that module ``start`` reads to logits ``[B, n_classes]``."""
        for module in self.stages[start:]:
            state = module(state)
        return self.head(state)

    def forward(self, x: Tensor) -> Tensor:
        """Map images ``[B, in_channels, H, W]`` to logits ``[B, n_classes]``."""
        return self.suffix(self.begin(x), 0)


class MacroNetwork(Network):
    """NAS-Bench-201's skeleton: stem, three stages of N cells with residual reductions between, head.

    The stem has no ReLU; the head is BN, ReLU, global average pool, linear. With N = 5: 17 modules, reductions at 5 and 11.
    """

    def __init__(
        self,
        make_cell: Callable[[int, int, int], nn.Module],
        size: NetworkConfig,
        in_channels: int,
        n_classes: int,
    ) -> None:
        """Build the network; ``make_cell(cell, stage, channels)`` makes the searched cells."""
        super().__init__()
        C, N = size.channels, size.cells_per_stage
        self.stem = nn.Sequential(nn.Conv2d(in_channels, C, 3, padding=1, bias=False), nn.BatchNorm2d(C))
        modules: list[nn.Module] = []
        for stage in range(3):
            if stage:
                modules.append(ResNetBlock(C * 2 ** (stage - 1), C * 2**stage))
            modules += [make_cell(stage * N + i, stage, C * 2**stage) for i in range(N)]
        self.stages = nn.ModuleList(modules)
        self.lastact = nn.Sequential(nn.BatchNorm2d(4 * C), nn.ReLU())
        self.classifier = nn.Linear(4 * C, n_classes)

    @property
    def cells(self) -> list[nn.Module]:
        """The searched cells, in order."""
        return [module for module in self.stages if not isinstance(module, ResNetBlock)]

    def begin(self, images: Tensor) -> Tensor:
        """Return the stem's output ``[B, C, H, W]``."""
        return self.stem(images)

    def head(self, state: Tensor) -> Tensor:
        """Map the last stage's output ``[B, 4C, H, W]`` to logits ``[B, n_classes]``."""
        return self.classifier(self.lastact(state).mean((2, 3)))


class Cell(nn.Module):
    """One cell with one operation per edge: ``x_i = sum_{j<i} op_ij(x_j)``, output ``x_3``."""

    def __init__(self, operations: list[str], channels: int) -> None:
        super().__init__()
        self.operations = nn.ModuleList(make_operation(name, channels) for name in operations)

    def forward(self, x: Tensor) -> Tensor:
        """Keep the shape ``[B, C, H, W]``."""
        nodes = [x]
        for target in (1, 2, 3):
            incoming = [(edge, source) for edge, (end, source) in enumerate(EDGES) if end == target]
            nodes.append(torch.stack([self.operations[edge](nodes[source]) for edge, source in incoming]).sum(0))
        return nodes[-1]


def build_nasbench201(genotype: str, size: NetworkConfig, in_channels: int, n_classes: int) -> MacroNetwork:
    """Return the stand-alone NAS-Bench-201 network of ``genotype`` (BatchNorm affine and tracked everywhere)."""
    operations = NASBench201().operations(genotype)
    return MacroNetwork(lambda cell, stage, channels: Cell(operations, channels), size, in_channels, n_classes)
