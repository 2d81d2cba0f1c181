"""The macro network of NAS-Bench-201 and the stand-alone network of one cell."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from itnas.nn.operations import ResNetBlock, make_operation
from itnas.spaces.nasbench201 import EDGES, NASBench201


@dataclass(frozen=True)
class NetworkConfig:
    """Size of a supernet or stand-alone network."""

    channels: int = 16
    """Channels C of the first stage; stages two and three have 2C and 4C."""
    cells_per_stage: int = 5
    """Cells N in each of the three stages."""


class MacroNetwork(nn.Module):
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

    def prefix(self, x: Tensor, stop: int) -> Tensor:
        """Map images ``[B, in_channels, H, W]`` to the input of module ``stop``."""
        x = self.stem(x)
        for module in self.stages[:stop]:
            x = module(x)
        return x

    def suffix(self, x: Tensor, start: int) -> Tensor:
        """Map the input of module ``start`` to logits ``[B, n_classes]``."""
        for module in self.stages[start:]:
            x = module(x)
        return self.head(x)

    def head(self, x: Tensor) -> Tensor:
        """Map the last stage's output ``[B, 4C, H, W]`` to logits ``[B, n_classes]``."""
        return self.classifier(self.lastact(x).mean((2, 3)))

    def forward(self, x: Tensor) -> Tensor:
        """Map images ``[B, in_channels, H, W]`` to logits ``[B, n_classes]``."""
        return self.suffix(self.prefix(x, 0), 0)


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


def build_network(genotype: str, size: NetworkConfig, in_channels: int, n_classes: int) -> MacroNetwork:
    """Return the stand-alone NAS-Bench-201 network of ``genotype`` (BatchNorm affine and tracked everywhere)."""
    operations = NASBench201().operations(genotype)
    return MacroNetwork(lambda cell, stage, channels: Cell(operations, channels), size, in_channels, n_classes)
