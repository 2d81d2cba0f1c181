"""The stand-alone network of a DARTS-like genotype, as the published evaluations train it.

L cells (20 or 8), reductions at L//3 and 2L//3 where the channels double, a stem of 3C channels, cells that read the outputs of
the two cells before them, and an auxiliary classifier after the second reduction while training (Liu et al., ICLR 2019). With
AGNAS's five cells every stage has a normal cell of its own, and each reduction its own.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from itnas.errors import UserError
from itnas.nn.darts_operations import FactorizedReduce, make_cell_operation
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


class GenotypeCell(nn.Module):
    """One cell of a genotype: two operations per node, their sum, the nodes' outputs side by side."""

    def __init__(
        self,
        cell: CellGenes,
        c_before_last: int,
        c_last: int,
        channels: int,
        after_reduction: bool,
        *,
        affine: bool = True,
        pool_bn: bool = False,
    ) -> None:
        """Build the cell; ``after_reduction`` tells that the older input is twice as large as the newer."""
        super().__init__()
        self.genes, self.concat, self.channels = cell.genes, tuple(cell.concat), channels
        first = FactorizedReduce if after_reduction else _Project
        self.preprocess0 = first(c_before_last, channels, affine=affine)
        self.preprocess1 = _Project(c_last, channels, affine=affine)
        strides = [2 if cell.kind == "reduce" and source < 2 else 1 for _, source in cell.genes]
        self.operations = nn.ModuleList(
            make_cell_operation(name, channels, stride, affine=affine, pool_bn=pool_bn)
            for (name, _), stride in zip(cell.genes, strides, strict=True)
        )

    def forward(self, s0: Tensor, s1: Tensor, drop_path: float = 0.0) -> Tensor:
        """Map the outputs of the two cells before to ``[B, n_concat * channels, H, W]``."""
        states = [self.preprocess0(s0), self.preprocess1(s1)]
        outputs: list[Tensor] = []
        for operation, (_, source) in zip(self.operations, self.genes, strict=True):
            y = operation(states[source])
            if self.training and drop_path > 0 and not isinstance(operation, nn.Identity):
                y = drop_paths(y, drop_path)
            outputs.append(y)
            if len(outputs) % 2 == 0:
                states.append(outputs[-2] + outputs[-1])
        return torch.cat([states[node] for node in self.concat], dim=1)


class _Project(ReLUConvBN):
    """ReLU, 1x1 convolution, BatchNorm: fits an input to the cell's channels."""

    def __init__(self, c_in: int, c_out: int, *, affine: bool = True) -> None:
        super().__init__(c_in, c_out, 1, affine=affine)


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


class CellNetwork(nn.Module):
    """The stand-alone network of a genotype.

    Attributes:
        drop_path: probability with which the next training forwards drop an operation's output, image by image.
    """

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
        super().__init__()
        self.drop_path = 0.0
        self.reductions = reductions(n_cells)
        width = 3 * channels
        self.stem = nn.Sequential(nn.Conv2d(in_channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width))
        c_before_last, c_last, after_reduction = width, width, False
        modules: list[nn.Module] = []
        for position, cell in enumerate(cell_plan(cells, n_cells)):
            if position in self.reductions:
                channels *= 2
            modules.append(
                GenotypeCell(cell, c_before_last, c_last, channels, after_reduction, affine=affine, pool_bn=pool_bn)
            )
            after_reduction = position in self.reductions
            c_before_last, c_last = c_last, len(tuple(cell.concat)) * channels
            if position == self.reductions[1]:
                c_auxiliary = c_last
        self.cells = nn.ModuleList(modules)
        self.auxiliary = AuxiliaryHead(c_auxiliary, n_classes) if auxiliary else None
        self.classifier = nn.Linear(c_last, n_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map images ``[B, in_channels, H, W]`` to logits ``[B, n_classes]``."""
        return self.with_auxiliary(x)[0]

    def with_auxiliary(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the logits and, while training a network that has the head, those of the auxiliary classifier."""
        s0 = s1 = self.stem(x)
        auxiliary = None
        for position, cell in enumerate(self.cells):
            s0, s1 = s1, cell(s0, s1, self.drop_path)
            if position == self.reductions[1] and self.auxiliary is not None and self.training:
                auxiliary = self.auxiliary(s1)
        return self.classifier(s1.mean((2, 3))), auxiliary

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
