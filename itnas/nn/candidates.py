"""What a mixing sees: the outputs of the candidates of one or several choices, side by side in the channels.

A view computes what is asked for and nothing else, so that a single-path method pays for one path only. Five-dimensional
tensors are two to three times slower on a CPU, therefore the edges of a view lie side by side in the channels.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Candidates(ABC):
    """Outputs ``F_k`` of the m candidates of E edges.

    Attributes:
        x: any tensor of the batch, from which new tensors take device and type.
        n_edges: E, the number of edges.
        n_candidates: m, the number of candidates of every edge.
        channels: C, the channels of an edge's output.
    """

    x: Tensor
    n_edges: int
    n_candidates: int
    channels: int

    @abstractmethod
    def all(self) -> list[Tensor | None]:
        """Return one entry per candidate: ``[B, E*C, H, W]``, or ``[B, C, H, W]`` where all edges agree, or None for zero."""

    @abstractmethod
    def one(self, edge: int, candidate: int) -> Tensor | None:
        """Return the output ``[B, C, H, W]`` of one candidate on one edge, None for zero."""

    @abstractmethod
    def zeros(self) -> Tensor:
        """Return an edge's output ``[B, C, H, W]`` when nothing is kept."""

    def total(self, edge: int, kept: Iterable[int]) -> Tensor:
        """Return the sum ``[B, C, H, W]`` of the kept candidates of an edge."""
        outputs = [y for k in kept if (y := self.one(edge, k)) is not None]
        return sum(outputs[1:], start=outputs[0]) if outputs else self.zeros()

    def widen(self, output: Tensor, candidate: int) -> Tensor:
        """Return an output of :meth:`all` as ``[B, E*C, H, W]``, repeating what all edges share."""
        repeats = self.n_edges * self.channels // output.shape[1]
        return output if repeats == 1 else torch.cat([output] * repeats, dim=1)

    def spread(self, part: Tensor, candidate: int) -> Tensor:
        """Return a statistic ``[B, (E or 1)*C, *D]`` of a candidate's output as ``[B, E, C, *D]``."""
        part = part.unflatten(1, (-1, self.channels))
        return part.expand(part.shape[0], self.n_edges, *part.shape[2:])

    def per_edge(self, parts: Sequence[Tensor | None], which: Sequence[int]) -> Tensor:
        """Stack statistics of the candidates ``which`` to ``[B, E, len(which), C, *D]``, zeros where None."""
        spread = [None if part is None else self.spread(part, k) for part, k in zip(parts, which, strict=True)]
        zeros = torch.zeros_like(next(part for part in spread if part is not None))
        return torch.stack([zeros if part is None else part for part in spread], dim=2)

    def combine(self, outputs: Sequence[Tensor | None], weights: Tensor) -> list[Tensor]:
        """Return ``sum_k w_k F_k`` ``[B, C, H, W]`` of each edge.

        Args:
            outputs: what :meth:`all` returned; None counts as zeros.
            weights: ``[B or 1, E, m, C or 1]``.
        """
        total: Tensor | None = None
        per_channel = weights.transpose(1, 2).expand(-1, -1, -1, self.channels).flatten(2)[..., None, None]
        for k, output in enumerate(outputs):
            if output is not None:
                wide = self.widen(output, k)
                total = per_channel[:, k] * wide if total is None else torch.addcmul(total, per_channel[:, k], wide)
        if total is None:
            return [self.zeros() for _ in range(self.n_edges)]
        return list(total.split(self.channels, dim=1))


class MapCandidates(Candidates):
    """Candidates of one edge whose outputs ``[B, C, H, W]`` are given (None for zeros), such as a node's possible parents."""

    def __init__(self, outputs: Sequence[Tensor | None]) -> None:
        self.outputs = list(outputs)
        self.x = next(y for y in self.outputs if y is not None)
        self.n_edges, self.n_candidates, self.channels = 1, len(self.outputs), self.x.shape[1]

    def all(self) -> list[Tensor | None]:
        """Return the given outputs."""
        return self.outputs

    def one(self, edge: int, candidate: int) -> Tensor | None:
        """Return one of them."""
        return self.outputs[candidate]

    def zeros(self) -> Tensor:
        """Return zeros like any of them."""
        return torch.zeros_like(self.x)


class OperationCandidates(Candidates):
    """Candidates of one edge, each a module applied to the same input when it is asked for."""

    def __init__(self, operations: Sequence[nn.Module], x: Tensor, channels: int) -> None:
        self.operations, self.x = operations, x
        self.n_edges, self.n_candidates, self.channels = 1, len(operations), channels

    def all(self) -> list[Tensor | None]:
        """Apply all modules."""
        return [operation(self.x) for operation in self.operations]

    def one(self, edge: int, candidate: int) -> Tensor | None:
        """Apply one module."""
        return self.operations[candidate](self.x)

    def zeros(self) -> Tensor:
        """Return zeros of the input's height and width."""
        return self.x.new_zeros(self.x.shape[0], self.channels, *self.x.shape[2:])


class SlotCandidates(Candidates):
    """Candidates of one edge that write to slots of its output: ``y = w_0 base + concat_k(w_k part_k)``.

    Candidate 0 fills all ``C = K c`` channels, candidate ``k`` the k-th slot of ``c`` channels with zeros elsewhere
    (NAS-Bench-1Shot1's cell output). The padded maps are never made unless somebody asks for one.
    """

    def __init__(self, base: Tensor, parts: Sequence[Tensor]) -> None:
        self.x, self.parts = base, list(parts)
        self.n_edges, self.n_candidates, self.channels = 1, len(self.parts) + 1, base.shape[1]
        self.slot = parts[0].shape[1]

    def all(self) -> list[Tensor | None]:
        """Return the base ``[B, C, H, W]`` and the parts ``[B, c, H, W]``, not padded."""
        return [self.x, *self.parts]

    def one(self, edge: int, candidate: int) -> Tensor | None:
        """Return a candidate's contribution ``[B, C, H, W]``."""
        return self.x if candidate == 0 else self.widen(self.parts[candidate - 1], candidate)

    def zeros(self) -> Tensor:
        """Return zeros like the output."""
        return torch.zeros_like(self.x)

    def total(self, edge: int, kept: Iterable[int]) -> Tensor:
        """Return the sum of kept candidates, concatenating the slots once."""
        kept = set(kept)
        parts = [part if k + 1 in kept else torch.zeros_like(part) for k, part in enumerate(self.parts)]
        return torch.cat(parts, dim=1) + self.x if 0 in kept else torch.cat(parts, dim=1)

    def widen(self, output: Tensor, candidate: int) -> Tensor:
        """Pad a part to the output's channels; what already has them stays."""
        if output.shape[1] == self.channels:
            return output
        before = (candidate - 1) * self.slot
        return F.pad(output, (0, 0, 0, 0, before, self.channels - before - self.slot))

    def spread(self, part: Tensor, candidate: int) -> Tensor:
        """Pad a statistic of a part to the output's channels."""
        if part.shape[1] != self.channels:
            before = (candidate - 1) * self.slot
            margins = (0, 0) * (part.ndim - 2) + (before, self.channels - before - self.slot)
            part = F.pad(part, margins)
        return part[:, None]

    def combine(self, outputs: Sequence[Tensor | None], weights: Tensor) -> list[Tensor]:
        """Weigh base and slots; masked outputs come padded and are summed as any others."""
        if any(y is None or y.shape[1] != self.slot for y in outputs[1:]):
            return super().combine(outputs, weights)
        w = weights.expand(-1, -1, -1, self.channels)[:, 0, :, :, None, None]
        base = outputs[0]
        assert base is not None
        slots = [y * w[:, k, (k - 1) * self.slot : k * self.slot] for k, y in enumerate(outputs) if k and y is not None]
        return [torch.addcmul(torch.cat(slots, dim=1), w[:, 0], base)]
