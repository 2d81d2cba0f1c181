"""NAS-Bench-1Shot1: supernet and stand-alone network of its three spaces (Zela, Siems & Hutter, ICLR 2020).

A cell reads one input s. Block b gets ``u_b = sum_k w_k z_k`` of its possible parents ``z = [P_b(s), h_1, ..., h_(b-1)]``, with
a 1x1 projection P_b of the input per block, and returns ``h_b = sum_o v_o o(u_b)``. The cell's output is
``w_0 P_out(s) + concat_b(w_b h_b)``. Parents and output are choices as the operations are, and mix by the same mixings.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from itnas.nn.candidates import MapCandidates, OperationCandidates, SlotCandidates
from itnas.nn.mixing import MixingFactory, Site
from itnas.nn.networks import Network, NetworkConfig
from itnas.nn.operations import convolve
from itnas.nn.supernets import Importances, SuperCell, Supernet
from itnas.spaces.nasbench1shot1 import OPERATIONS, NASBench1Shot1
from itnas.spaces.nasbench1shot1 import Cell as CellPlan


@dataclass(frozen=True)
class OneShot1NetworkConfig(NetworkConfig):
    """Size of a NAS-Bench-1Shot1 supernet or stand-alone network, and two quirks of the released code."""

    channels: int = 16
    """Channels C of a block in the first stage; doubled in stages two and three. Cells have K C channels."""
    cells_per_stage: int = 3
    """Cells N in each of the three stages."""
    bn_momentum: float = 0.1
    """BatchNorm momentum in PyTorch's sense. The released code has 0.997, TensorFlow's meaning of the word: its running
    statistics are practically those of the last batch, and accuracies in evaluation mode are noisy."""
    pool_padding: int = 0
    """Padding of the 2x2 max-pooling between stages. 0 halves maps exactly (32, 16, 8) as NAS-Bench-101 does; the released
    code's 1 gives 32, 17, 9 with a border of zeros."""


class ConvBNReLU(nn.Module):
    """Convolution without bias, BatchNorm, ReLU: NAS-Bench-101's order."""

    def __init__(
        self, c_in: int, c_out: int, kernel: int, momentum: float, *, affine: bool = True, track: bool = True
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(c_in, c_out, kernel, padding=kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(c_out, momentum=momentum, affine=affine, track_running_stats=track)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[B, c_in, H, W]`` to ``[B, c_out, H, W]``."""
        return torch.relu(self.bn(convolve(self.conv, x)))

    def weights(self, channels: slice | None = None) -> list[Tensor]:
        """Return the convolution's weight, and BatchNorm's scale and shift if it has them, of some output channels."""
        own = channels or slice(None)
        parameters = [self.conv.weight, self.bn.weight, self.bn.bias] if self.bn.affine else [self.conv.weight]
        return [parameter[own] for parameter in parameters]


def make_operation(name: str, channels: int, momentum: float, *, affine: bool = True, track: bool = True) -> nn.Module:
    """Return a candidate operation; max-pooling has no BatchNorm."""
    if name == "maxpool3x3":
        return nn.MaxPool2d(3, stride=1, padding=1)
    kernel = {"conv3x3-bn-relu": 3, "conv1x1-bn-relu": 1}[name]
    return ConvBNReLU(channels, channels, kernel, momentum, affine=affine, track=track)


class OneShot1Network(Network):
    """The skeleton: stem, three stages of N cells with max-pooling between, ReLU-conv1x1-BN, pool, linear."""

    def __init__(
        self,
        make_cell: Callable[[int, int, int, int], nn.Module],
        n_blocks: int,
        size: OneShot1NetworkConfig,
        in_channels: int,
        n_classes: int,
    ) -> None:
        """Build the network; ``make_cell(cell, stage, c_in, channels)`` makes cells that return ``n_blocks * channels``."""
        super().__init__()
        C, N = size.channels, size.cells_per_stage
        self.stem = ConvBNReLU(in_channels, C, 3, size.bn_momentum)
        modules: list[nn.Module] = []
        width = C
        for stage in range(3):
            if stage:
                modules.append(nn.MaxPool2d(2, stride=2, padding=size.pool_padding))
            for number in range(N):
                modules.append(make_cell(stage * N + number, stage, width, C * 2**stage))
                width = n_blocks * C * 2**stage
        self.stages = nn.ModuleList(modules)
        self.last = nn.Sequential(
            nn.ReLU(),
            nn.Conv2d(width, 4 * C, 1, bias=False),
            nn.BatchNorm2d(4 * C, momentum=size.bn_momentum, affine=False),
        )
        self.classifier = nn.Linear(4 * C, n_classes)

    def begin(self, images: Tensor) -> Tensor:
        """Return the stem's output ``[B, C, H, W]``."""
        return self.stem(images)

    def head(self, state: Tensor) -> Tensor:
        """Map the last cell's output ``[B, 4 K C, H, W]`` to logits ``[B, n_classes]``."""
        return self.classifier(self.last(state).mean((2, 3)))

    def fixed_modules(self) -> list[nn.Module]:
        """Return what every architecture has: stem, last convolution, classifier."""
        return [self.stem, self.last, self.classifier]


class OneShot1Cell(nn.Module):
    """One cell of a derived architecture. Slots of blocks that do not feed the output are zeros, as in the supernet."""

    def __init__(self, plan: CellPlan, c_in: int, channels: int, momentum: float) -> None:
        super().__init__()
        self.parents, self.channels = plan.parents, channels
        self.operations = nn.ModuleDict(
            {
                str(node): make_operation(OPERATIONS[op], channels, momentum)
                for node, op in enumerate(plan.ops, 1)
                if op >= 0
            }
        )
        widths = dict.fromkeys(range(1, len(plan.parents)), channels) | {len(plan.parents): len(plan.ops) * channels}
        self.projections = nn.ModuleDict(
            {
                str(node): ConvBNReLU(c_in, widths[node], 1, momentum)
                for node, parents in enumerate(plan.parents, 1)
                if 0 in parents
            }
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[B, c_in, H, W]`` to ``[B, K C, H, W]``."""
        outputs: dict[int, Tensor] = {}
        for node, parents in enumerate(self.parents[:-1], start=1):
            if parents:
                read = [self.projections[str(node)](x) if k == 0 else outputs[k] for k in parents]
                outputs[node] = self.operations[str(node)](sum(read[1:], start=read[0]))
        empty = x.new_zeros(x.shape[0], self.channels, *x.shape[2:])
        last = len(self.parents)
        slots = torch.cat([outputs[k] if k in self.parents[-1] else empty for k in range(1, last)], dim=1)
        return slots + self.projections[str(last)](x) if 0 in self.parents[-1] else slots


class OneShot1SuperCell(SuperCell):
    """A searched cell: all operations in every block, all possible parents of every node.

    The projections of all blocks and of the output read the same input and are one convolution: block b owns output
    channels ``(b-1) C .. b C - 1``, the output the last ``K C``.
    """

    def __init__(
        self,
        space: NASBench1Shot1,
        make_mixing: MixingFactory,
        place: tuple[int, int],
        c_in: int,
        channels: int,
        momentum: float,
        *,
        affine: bool,
        track: bool,
    ) -> None:
        super().__init__()
        self.channels, self.n_blocks, self.input_groups = channels, space.n_blocks, dict(space.input_groups)
        K, last = space.n_blocks, space.n_blocks + 1
        self.projection = ConvBNReLU(c_in, 2 * K * channels, 1, momentum)
        self.blocks = nn.ModuleList(
            nn.ModuleList(make_operation(name, channels, momentum, affine=affine, track=track) for name in OPERATIONS)
            for _ in range(K)
        )
        sites = [Site("operations", (block,), *place, len(OPERATIONS), channels) for block in range(K)]
        for node, group in self.input_groups.items():
            sites.append(Site(group, (0,), *place, node, K * channels if node == last else channels))
        self.mixings = nn.ModuleList(make_mixing(site) for site in sites)
        self.mixing_of = {node: K + i for i, node in enumerate(self.input_groups)}

    def with_importance(self, state: Tensor) -> tuple[Tensor, Importances]:
        """Map ``[B, c_in, H, W]`` to ``[B, K C, H, W]``; importances of the K blocks, then of the decided nodes."""
        K, C = self.n_blocks, self.channels
        importances: Importances = [None] * len(self.mixings)
        *projected, base = self.projection(state).split([C] * K + [K * C], dim=1)
        outputs: list[Tensor] = []
        for block in range(K):
            parents = [projected[block], *outputs]
            if block + 1 in self.input_groups:
                at = self.mixing_of[block + 1]
                (x,), importances[at] = self.mixings[at](MapCandidates(parents))
            else:
                x = sum(parents[1:], start=parents[0])
            (y,), importances[block] = self.mixings[block](OperationCandidates(self.blocks[block], x, C))  # pyright: ignore
            outputs.append(y)
        at = self.mixing_of[K + 1]
        (out,), importances[at] = self.mixings[at](SlotCandidates(base, outputs))
        return out, importances

    def projection_channels(self, node: int) -> slice:
        """Return the output channels of the projection that belong to a block (from 1) or to the output (K + 1)."""
        C, K = self.channels, self.n_blocks
        return slice((node - 1) * C, node * C) if node <= K else slice(K * C, 2 * K * C)

    def projection_weights(self, node: int) -> list[Tensor]:
        """Return the weights of the projection of the input to a block (from 1) or to the output (K + 1)."""
        return self.projection.weights(self.projection_channels(node))

    def operation_weights(self, node: int, op: int) -> list[Tensor]:
        """Return the weights of a candidate operation in a block (from 1); none for pooling."""
        module = self.blocks[node - 1][op]  # pyright: ignore
        return module.weights() if isinstance(module, ConvBNReLU) else []


class OneShot1Supernet(Supernet, OneShot1Network):
    """The supernet of one of the three spaces."""

    def __init__(
        self,
        space: NASBench1Shot1,
        make_mixing: MixingFactory,
        size: OneShot1NetworkConfig,
        in_channels: int,
        n_classes: int,
        *,
        affine: bool = True,
        track: bool = True,
    ) -> None:
        """Build the supernet; ``affine`` and ``track`` configure the BatchNorm of candidate operations only."""
        momentum = size.bn_momentum

        def make_cell(cell: int, stage: int, c_in: int, channels: int) -> SuperCell:
            return OneShot1SuperCell(
                space, make_mixing, (cell, stage), c_in, channels, momentum, affine=affine, track=track
            )

        OneShot1Network.__init__(self, make_cell, space.n_blocks, size, in_channels, n_classes)


def build_oneshot1(
    space: NASBench1Shot1, genotype: str, size: OneShot1NetworkConfig, in_channels: int, n_classes: int
) -> OneShot1Network:
    """Return the stand-alone network of ``genotype``."""
    plan, momentum = space.parse(genotype), size.bn_momentum
    return OneShot1Network(
        lambda cell, stage, c_in, channels: OneShot1Cell(plan, c_in, channels, momentum),
        space.n_blocks,
        size,
        in_channels,
        n_classes,
    )
