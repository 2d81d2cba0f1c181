"""The stand-alone network of a DARTS-like genotype, as the published evaluations train it.

L cells (20 or 8), reductions at L//3 and 2L//3 where the channels double, a stem of 3C channels, cells that read the outputs of
the two cells before them, and an auxiliary classifier after the second reduction while training (Liu et al., ICLR 2019). With
AGNAS's five cells every stage has a normal cell of its own, and each reduction its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from itnas.errors import UserError
from itnas.nn.darts_operations import FactorizedReduce, make_cell_operation
from itnas.nn.networks import Network
from itnas.nn.operations import ReLUConvBN
from itnas.spaces.darts_genotype import CellGenes, parse_genotype


def reductions(n_cells: int) -> tuple[int, int]:
    """Return the positions of the two reduction cells among ``n_cells`` cells."""
    return n_cells // 3, 2 * n_cells // 3


def cell_plan(cells: Sequence[CellGenes], n_cells: int) -> list[CellGenes]:
    """Return the genotype's cell at each of ``n_cells`` positions.

    A normal cell is repeated; with three, every stage has its own (AGNAS). The same holds for one or two reduction cells.

    Raises:
        UserError: the genotype has other numbers of cells.
    """
    normal, reduce = ([cell for cell in cells if cell.kind == kind] for kind in ("normal", "reduce"))
    if (len(normal), len(reduce)) not in ((1, 1), (3, 2)):
        raise UserError(
            f"a network needs one normal and one reduction cell, or three and two; the genotype has {len(normal)} and "
            f"{len(reduce)}"
        )
    first, second = reductions(n_cells)
    plan: list[CellGenes] = []
    for position in range(n_cells):
        stage = (position >= first) + (position >= second)
        if position in (first, second):
            plan.append(reduce[min(stage - 1, len(reduce) - 1)])
        else:
            plan.append(normal[min(stage, len(normal) - 1)])
    return plan


@dataclass(frozen=True)
class Place:
    """Where in a network a cell stands, and what it reads."""

    cell: int
    """Position, from 0."""
    stage: int
    """Number of reductions up to and including this cell."""
    reduction: bool
    """Whether the cell halves the image."""
    c_before_last: int
    """Channels of the older input."""
    c_last: int
    """Channels of the newer input."""
    channels: int
    """Channels C of the cell's nodes."""
    after_reduction: bool
    """Whether the last cell was a reduction: the older input is then twice as large as the newer."""


CellState = tuple[Tensor, Tensor]
"""What travels between cells: the outputs of the cell before the last and of the last one."""


class Preprocess(nn.Module):
    """Fits a cell's two inputs to its channels, and the older one to the newer one's size."""

    def __init__(self, place: Place, *, affine: bool, track: bool = True) -> None:
        super().__init__()
        words = {"affine": affine, "track": track}
        C = place.channels
        if place.after_reduction:
            self.older: nn.Module = FactorizedReduce(place.c_before_last, C, **words)
        else:
            self.older = ReLUConvBN(place.c_before_last, C, 1, **words)
        self.newer = ReLUConvBN(place.c_last, C, 1, **words)

    def forward(self, state: CellState) -> list[Tensor]:
        """Return both inputs as ``[B, C, H, W]``."""
        return [self.older(state[0]), self.newer(state[1])]


class GenotypeCell(nn.Module):
    """One cell of a genotype: two operations per node, their sum, the nodes' outputs side by side.

    Attributes:
        drop_path: probability with which the next training forwards drop an operation's output, image by image.
    """

    def __init__(self, cell: CellGenes, place: Place, *, affine: bool = True, pool_bn: bool = False) -> None:
        super().__init__()
        self.genes, self.concat, self.drop_path = cell.genes, tuple(cell.concat), 0.0
        self.width = len(self.concat) * place.channels
        self.preprocess = Preprocess(place, affine=affine)
        strides = [2 if place.reduction and source < 2 else 1 for _, source in cell.genes]
        self.operations = nn.ModuleList(
            make_cell_operation(name, place.channels, stride, affine=affine, pool_bn=pool_bn)
            for (name, _), stride in zip(cell.genes, strides, strict=True)
        )

    def forward(self, state: CellState) -> CellState:
        """Return the newer input and the cell's output ``[B, width, H, W]``."""
        states = self.preprocess(state)
        outputs: list[Tensor] = []
        for operation, (_, source) in zip(self.operations, self.genes, strict=True):
            y = operation(states[source])
            if self.training and self.drop_path > 0 and not isinstance(operation, nn.Identity):
                y = drop_paths(y, self.drop_path)
            outputs.append(y)
            if len(outputs) % 2 == 0:
                states.append(outputs[-2] + outputs[-1])
        return state[1], torch.cat([states[node] for node in self.concat], dim=1)


def drop_paths(x: Tensor, probability: float) -> Tensor:
    """Zero whole images of ``[B, C, H, W]`` with ``probability``, scale the others up (FractalNet's drop-path)."""
    keep = 1 - probability
    mask = torch.empty(len(x), 1, 1, 1, device=x.device, dtype=x.dtype).bernoulli_(keep)
    return x / keep * mask


class AuxiliaryHead(nn.Module):
    """Classifier after the second reduction, for training only; on 8x8 maps it is the published one."""

    def __init__(self, channels: int, n_classes: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *(nn.Conv2d(channels, 128, 1, bias=False), nn.BatchNorm2d(128), nn.ReLU()),
            *(nn.Conv2d(128, 768, 2, bias=False), nn.BatchNorm2d(768), nn.ReLU()),
        )
        self.classifier = nn.Linear(768, n_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[B, channels, H, W]`` to logits; maps of another size than 8x8 are pooled to the same 2x2."""
        x = F.relu(x)
        small = F.avg_pool2d(x, 5, 3, count_include_pad=False) if x.shape[-1] == 8 else F.adaptive_avg_pool2d(x, 2)
        return self.classifier(self.features(small).flatten(1))


class CellSkeleton(Network):
    """Stem of 3C channels, L cells with reductions at L//3 and 2L//3, global average pool, linear."""

    def __init__(
        self, make_cell: Callable[[Place], nn.Module], n_cells: int, channels: int, in_channels: int, n_classes: int
    ) -> None:
        """Build the network; the cells that ``make_cell`` makes have an attribute ``width``, the channels they return."""
        super().__init__()
        self.reductions = reductions(n_cells)
        width = 3 * channels
        self.stem = nn.Sequential(nn.Conv2d(in_channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width))
        before_last, last, after_reduction = width, width, False
        modules: list[nn.Module] = []
        for position in range(n_cells):
            reduction = position in self.reductions
            channels = 2 * channels if reduction else channels
            stage = sum(position >= start for start in self.reductions)
            place = Place(position, stage, reduction, before_last, last, channels, after_reduction)
            modules.append(make_cell(place))
            before_last, last, after_reduction = last, int(modules[-1].width), reduction  # pyright: ignore[reportArgumentType]
        self.stages = nn.ModuleList(modules)
        self.classifier = nn.Linear(last, n_classes)

    def begin(self, images: Tensor) -> CellState:
        """Return the stem's output ``[B, 3C, H, W]`` twice."""
        stem = self.stem(images)
        return stem, stem

    def head(self, state: CellState) -> Tensor:
        """Map the last cell's output to logits ``[B, n_classes]``."""
        return self.classifier(state[1].mean((2, 3)))


class CellNetwork(CellSkeleton):
    """The stand-alone network of a genotype."""

    def __init__(
        self,
        cells: Sequence[CellGenes],
        n_cells: int,
        channels: int,
        in_channels: int,
        n_classes: int,
        *,
        auxiliary: bool = False,
        affine: bool = True,
        pool_bn: bool = False,
    ) -> None:
        """Build the network; ``affine=False`` and ``pool_bn=True`` make its operations those of a supernet."""
        plan = cell_plan(cells, n_cells)
        super().__init__(
            lambda place: GenotypeCell(plan[place.cell], place, affine=affine, pool_bn=pool_bn),
            *(n_cells, channels, in_channels, n_classes),
        )
        helped: Any = self.stages[self.reductions[1]]
        self.auxiliary = AuxiliaryHead(helped.width, n_classes) if auxiliary else None

    def set_drop_path(self, probability: float) -> None:
        """Let the next training forwards drop operations with ``probability``."""
        for cell in self.stages:
            cell.drop_path = probability  # pyright: ignore[reportArgumentType]

    def with_auxiliary(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the logits and, while training a network that has the head, those of the auxiliary classifier."""
        middle = self.reductions[1] + 1
        state = self.prefix(x, middle)
        auxiliary = self.auxiliary(state[1]) if self.auxiliary is not None and self.training else None
        return self.suffix(state, middle), auxiliary

    def millions(self) -> float:
        """Return the parameters in millions as papers count them: without the auxiliary classifier."""
        return sum(p.numel() for name, p in self.named_parameters() if not name.startswith("auxiliary")) / 1e6


def build_cell_network(
    genotype: str, n_cells: int, channels: int, in_channels: int, n_classes: int, *, auxiliary: bool = False
) -> CellNetwork:
    """Return the stand-alone network of a published genotype text (BatchNorm affine and tracked everywhere).

    Raises:
        UserError: the genotype is malformed or names an operation that no cell can be built with.
    """
    return CellNetwork(parse_genotype(genotype), n_cells, channels, in_channels, n_classes, auxiliary=auxiliary)
