"""Candidate operations: one edge at a time for stand-alone networks, all edges of a node at once for supernets.

All edges that leave a node read the same input. A supernet therefore computes each convolution of those edges as one
wider convolution, and what has no weights (pooling, ReLU) once. The arithmetic is that of separate edges, channel by
channel; the number of kernels is not.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from itnas.nn.candidates import Candidates

CONV_KERNELS = {"nor_conv_1x1": 1, "nor_conv_3x3": 3}
"""Kernel size of each convolution by operation name."""


def average_pool(x: Tensor) -> Tensor:
    """``avg_pool_3x3``: stride 1, padding 1, borders averaged over the pixels that exist, no BatchNorm."""
    return F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)


def convolve(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """Apply a convolution without bias and with stride 1; 1x1 on channels-last memory as a product, twice as fast on a CPU."""
    if conv.kernel_size == (1, 1) and x.is_contiguous(memory_format=torch.channels_last):
        return F.linear(x.permute(0, 2, 3, 1), conv.weight.flatten(1)).permute(0, 3, 1, 2)
    return conv(x)


class ReLUConvBN(nn.Module):
    """ReLU, convolution without bias, BatchNorm: NAS-Bench-201's order."""

    def __init__(
        self, c_in: int, c_out: int, kernel: int, stride: int = 1, *, affine: bool = True, track: bool = True
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(c_in, c_out, kernel, stride, padding=kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(c_out, affine=affine, track_running_stats=track)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[B, c_in, H, W]`` to ``[B, c_out, H/stride, W/stride]``."""
        return self.bn(self.conv(F.relu(x)))


class Pool(nn.Module):
    """``avg_pool_3x3`` as a module."""

    def forward(self, x: Tensor) -> Tensor:
        """Keep the shape ``[B, C, H, W]``."""
        return average_pool(x)


class Zero(nn.Module):
    """``none``: zeros of the input's shape."""

    def forward(self, x: Tensor) -> Tensor:
        """Return zeros like ``x``."""
        return torch.zeros_like(x)


def make_operation(name: str, channels: int) -> nn.Module:
    """Return the NAS-Bench-201 operation ``name`` for a stand-alone network (BatchNorm affine and tracked)."""
    if name in CONV_KERNELS:
        return ReLUConvBN(channels, channels, CONV_KERNELS[name])
    return {"none": Zero, "skip_connect": nn.Identity, "avg_pool_3x3": Pool}[name]()


class ResNetBlock(nn.Module):
    """The fixed residual block between stages: halves the image, doubles the channels.

    Two ReLU-conv-BN, the first with stride 2; shortcut of 2x2 average pooling and a 1x1 convolution without BatchNorm; no
    ReLU after the sum (NAS-Bench-201, algorithms' section 1.1).
    """

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.conv_a = ReLUConvBN(c_in, c_out, 3, stride=2)
        self.conv_b = ReLUConvBN(c_out, c_out, 3)
        self.downsample = nn.Conv2d(c_in, c_out, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[B, c_in, H, W]`` to ``[B, c_out, ceil(H/2), ceil(W/2)]``."""
        shortcut = F.avg_pool2d(x, 2, stride=2, ceil_mode=x.shape[-1] % 2 == 1)
        return self.downsample(shortcut) + self.conv_b(self.conv_a(x))


class BundledConvBN(nn.Module):
    """The same convolution-BN of several edges that read one input, computed as one convolution.

    Edge ``e`` owns output channels ``e*C .. (e+1)*C-1`` of the weights and of the BatchNorm statistics.
    """

    def __init__(self, n_edges: int, channels: int, kernel: int, *, affine: bool, track: bool) -> None:
        super().__init__()
        self.n_edges, self.channels = n_edges, channels
        self.conv = nn.Conv2d(channels, n_edges * channels, kernel, padding=kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(n_edges * channels, affine=affine, track_running_stats=track)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[B, C, H, W]`` (after ReLU) to ``[B, E*C, H, W]``."""
        return self.bn(convolve(self.conv, x))

    def edge_slice(self, edge: int) -> slice:
        """Return the channels that belong to an edge of the bundle."""
        return slice(edge * self.channels, (edge + 1) * self.channels)

    def one(self, x: Tensor, edge: int) -> Tensor:
        """Compute one edge only: ``[B, C, H, W]`` (after ReLU) to ``[B, C, H, W]``."""
        own, bn = self.edge_slice(edge), self.bn
        y = F.conv2d(x, self.conv.weight[own], padding=self.conv.padding)  # pyright: ignore[reportArgumentType]
        mean, var = (None, None) if bn.running_mean is None else (bn.running_mean[own], bn.running_var[own])  # pyright: ignore[reportOptionalSubscript]
        weight, bias = (bn.weight[own], bn.bias[own]) if bn.affine else (None, None)
        return F.batch_norm(y, mean, var, weight, bias, bn.training or mean is None, bn.momentum or 0.0, bn.eps)


class EdgeBundle(nn.Module):
    """Candidate operations of all edges that leave one node of a cell."""

    def __init__(self, operations: Sequence[str], n_edges: int, channels: int, *, affine: bool, track: bool) -> None:
        super().__init__()
        self.operations, self.n_edges, self.channels = tuple(operations), n_edges, channels
        self.convs = nn.ModuleDict(
            {
                name: BundledConvBN(n_edges, channels, CONV_KERNELS[name], affine=affine, track=track)
                for name in operations
                if name in CONV_KERNELS
            }
        )

    def forward(self, x: Tensor) -> Candidates:
        """Return the operations' outputs at ``x`` ``[B, C, H, W]``, computed when asked for."""
        return BundleCandidates(self, x)

    def weight(self, edge: int, candidate: int) -> Tensor | None:
        """Return the convolution weight of a candidate on an edge of the bundle, or None where it has none."""
        name = self.operations[candidate]
        if name not in self.convs:
            return None
        bundle = self.convs[name]
        return bundle.conv.weight[bundle.edge_slice(edge)]  # pyright: ignore


class BundleCandidates(Candidates):
    """Outputs of the candidate operations of a bundle's edges at one input."""

    def __init__(self, bundle: EdgeBundle, x: Tensor) -> None:
        self.bundle, self.x = bundle, x
        self.n_edges, self.n_candidates, self.channels = bundle.n_edges, len(bundle.operations), bundle.channels
        self._relu: Tensor | None = None

    def _activated(self) -> Tensor:
        if self._relu is None:
            self._relu = F.relu(self.x)
        return self._relu

    def all(self) -> list[Tensor | None]:
        """Return one entry per candidate operation."""
        outputs: list[Tensor | None] = []
        for name in self.bundle.operations:
            if name in self.bundle.convs:
                outputs.append(self.bundle.convs[name](self._activated()))
            elif name == "none":
                outputs.append(None)
            else:
                outputs.append(self.x if name == "skip_connect" else average_pool(self.x))
        return outputs

    def one(self, edge: int, candidate: int) -> Tensor | None:
        """Compute one operation on one edge."""
        name = self.bundle.operations[candidate]
        if name in self.bundle.convs:
            return self.bundle.convs[name].one(self._activated(), edge)  # pyright: ignore
        return {"none": lambda: None, "skip_connect": lambda: self.x, "avg_pool_3x3": lambda: average_pool(self.x)}[
            name
        ]()

    def zeros(self) -> Tensor:
        """Return zeros like the input."""
        return torch.zeros_like(self.x)
