"""How an edge combines its candidate operations: softmax alphas, AGNAS's channel attention, a single path.

Every mixing serves all edges that leave one node of a cell (a *bundle*), with its own parameters per edge, and returns the
edges' outputs and the importance of each candidate. IT-NAS's lite transformer stands in ``lite_transformer.py``.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from itnas.nn.operations import Candidates

MixingFactory = Callable[[int, int, tuple[int, ...], int, int], "Mixing"]
"""``factory(cell, stage, edges, n_candidates, channels)`` makes the mixing of one bundle; ``edges`` are choice indices."""


class Mixing(nn.Module, ABC):
    """Combines the candidate operations of the edges of one bundle.

    Attributes:
        edges: indices of the bundle's edges among the choices of the cell.
        kept: ``{local edge: candidate}`` of edges that are discretized for a measurement; empty while searching.
        kept_weight: ``one`` gives a kept candidate the factor 1, ``keep`` leaves it its own weight or gate.
        kept_gate: ``full`` computes gates from all candidates, ``masked`` from the kept one with the others zeroed.
    """

    def __init__(self, edges: Sequence[int]) -> None:
        super().__init__()
        self.edges = tuple(edges)
        self.kept: dict[int, int] = {}
        self.kept_weight: Literal["one", "keep"] = "one"
        self.kept_gate: Literal["full", "masked"] = "full"

    @abstractmethod
    def forward(self, candidates: Candidates) -> tuple[list[Tensor], Tensor | None]:
        """Return the output ``[B, C, H, W]`` of each edge and the importance ``[B or 1, E, m]`` (detached), if it has one."""


class WeightedMixing(Mixing):
    """Mixings whose edge output is ``sum_k w_k F_k`` with one weight per candidate, or per candidate and channel."""

    @abstractmethod
    def weigh(self, outputs: list[Tensor | None], candidates: Candidates) -> tuple[Tensor, Tensor]:
        """Return weights ``[B or 1, E, m, C or 1]`` and importance ``[B or 1, E, m]`` of the candidates' outputs."""

    def forward(self, candidates: Candidates) -> tuple[list[Tensor], Tensor]:
        """Weigh all candidates and sum them edge by edge."""
        outputs = candidates.all()
        if self.kept and self.kept_gate == "masked":
            outputs = self._mask(outputs, candidates)
        weights, importance = self.weigh(outputs, candidates)
        if self.kept:
            weights = self._discretize(weights)
        return combine(outputs, weights, candidates), importance.detach()

    def _selector(self, like: Tensor, n_candidates: int) -> Tensor:
        """Return ``[E, m]``: 1 on free edges, one-hot on discretized ones."""
        selector = like.new_ones(len(self.edges), n_candidates)
        for edge, candidate in self.kept.items():
            selector[edge] = 0
            selector[edge, candidate] = 1
        return selector

    def _mask(self, outputs: list[Tensor | None], candidates: Candidates) -> list[Tensor | None]:
        selector = self._selector(candidates.x, candidates.n_candidates)
        wide = [None if y is None else widen(y, candidates) for y in outputs]
        channels = selector.repeat_interleave(candidates.channels, dim=0)
        return [None if y is None else y * channels[:, k, None, None] for k, y in enumerate(wide)]

    def _discretize(self, weights: Tensor) -> Tensor:
        selector = self._selector(weights, weights.shape[2])[None, :, :, None]
        if self.kept_weight == "keep":
            return weights * selector
        frozen = torch.zeros(len(self.edges), dtype=torch.bool, device=weights.device)
        frozen[list(self.kept)] = True
        return torch.where(frozen[None, :, None, None], selector, weights)


def widen(output: Tensor, candidates: Candidates) -> Tensor:
    """Return a candidate's output as ``[B, E*C, H, W]``, repeating what all edges share."""
    repeats = candidates.n_edges * candidates.channels // output.shape[1]
    return output if repeats == 1 else torch.cat([output] * repeats, dim=1)


def combine(outputs: Sequence[Tensor | None], weights: Tensor, candidates: Candidates) -> list[Tensor]:
    """Return ``sum_k w_k F_k`` ``[B, C, H, W]`` of each edge for weights ``[B or 1, E, m, C or 1]``; None counts as zeros."""
    total: Tensor | None = None
    per_channel = weights.transpose(1, 2).expand(-1, -1, -1, candidates.channels).flatten(2)[..., None, None]
    for k, output in enumerate(outputs):
        if output is not None:
            wide = widen(output, candidates)
            total = per_channel[:, k] * wide if total is None else torch.addcmul(total, per_channel[:, k], wide)
    if total is None:
        raise ValueError("every candidate operation of the bundle is `none`")
    return list(total.split(candidates.channels, dim=1))


def per_edge(parts: Sequence[Tensor | None], candidates: Candidates) -> Tensor:
    """Stack statistics ``[B, (E or 1)*C, *D]`` of the candidates' outputs to ``[B, E, m, C, *D]``, zeros where None."""
    shape = (candidates.n_edges, candidates.channels)
    some = next(part for part in parts if part is not None)
    zeros = some.new_zeros(some.shape[0], *shape, *some.shape[2:])

    def spread(part: Tensor) -> Tensor:
        return part.unflatten(1, (-1, candidates.channels)).expand(zeros.shape)

    return torch.stack([zeros if part is None else spread(part) for part in parts], dim=2)


def spatial_mean(outputs: Sequence[Tensor | None], candidates: Candidates) -> Tensor:
    """Return the global average pool ``[B, E, m, C]`` of the candidates' outputs; zeros for ``none``."""
    return per_edge([None if y is None else y.mean((2, 3)) for y in outputs], candidates)


class EdgeLinear(nn.Module):
    """Independent linear maps, one per group, applied as one batched product; initialised as ``nn.Linear`` is."""

    def __init__(self, groups: int, n_in: int, n_out: int, *, bias: bool) -> None:
        super().__init__()
        bound = 1 / math.sqrt(n_in)
        self.weight = nn.Parameter(torch.empty(groups, n_in, n_out).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(groups, 1, n_out).uniform_(-bound, bound)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[groups, ..., n_in]`` to ``[groups, ..., n_out]``."""
        flat = x.reshape(x.shape[0], -1, x.shape[-1])
        y = torch.bmm(flat, self.weight) if self.bias is None else torch.baddbmm(self.bias, flat, self.weight)
        return y.unflatten(1, x.shape[1:-1]) if x.ndim != 3 else y


class Alphas(nn.Module):
    """Architecture parameters of a group of choices, with what DARTS-PT needs to mask and to fix candidates.

    Attributes:
        logits: parameter ``[choice, candidate]``, initialised to 1e-3 N(0, 1).
        fixed: one-hot rows of the choices that are decided; all-zero rows are free.
    """

    fixed: Tensor

    def __init__(self, n_choices: int, n_candidates: int) -> None:
        super().__init__()
        self.logits = nn.Parameter(1e-3 * torch.randn(n_choices, n_candidates))
        self.register_buffer("fixed", torch.zeros(n_choices, n_candidates))
        self.masked: tuple[int, int] | None = None

    def weights(self) -> Tensor:
        """Return the mixing weights ``[choice, candidate]``.

        The softmax of the logits; a decided row is its one-hot and gets no gradient; the weight of the ``masked``
        candidate is 0 and the others are *not* renormalised (DARTS-PT algorithm 1 as released).
        """
        decided = self.fixed.sum(1, keepdim=True) > 0
        weights = torch.where(decided, self.fixed, self.logits.softmax(dim=1))
        if self.masked is not None:
            mask = torch.ones_like(weights)
            mask[self.masked] = 0
            weights = weights * mask
        return weights


class SoftmaxMixing(WeightedMixing):
    """DARTS's mixed edge: ``y = sum_k softmax(alpha)_k F_k`` (DARTS eq. 2); the alphas are shared by all cells."""

    def __init__(self, edges: Sequence[int], alphas: Alphas) -> None:
        super().__init__(edges)
        self.alphas = alphas

    def weigh(self, outputs: list[Tensor | None], candidates: Candidates) -> tuple[Tensor, Tensor]:
        """Return the edges' rows of the softmax as weights and as importance."""
        weights = self.alphas.weights()[list(self.edges)]
        return weights[None, :, :, None], weights[None]


class ChannelAttention(WeightedMixing):
    """AGNAS's module: a squeeze-and-excitation over the concatenated candidates (AGNAS eq. 5 and 6).

    ``Atten = sigmoid(W2 relu(W1 GAP(concat_k F_k)))`` without biases, hidden width ``m C / reduction``; the edge's output is
    ``sum_k Atten_k * F_k`` channel by channel, the importance of ``k`` the mean (or sum) of its ``C`` gates.
    """

    def __init__(
        self,
        edges: Sequence[int],
        n_candidates: int,
        channels: int,
        *,
        reduction: int | Literal["num_ops"] = 8,
        channel_sum: bool = False,
    ) -> None:
        super().__init__(edges)
        width = n_candidates * channels
        hidden = max(1, width // (n_candidates if reduction == "num_ops" else reduction))
        self.squeeze = EdgeLinear(len(self.edges), width, hidden, bias=False)
        self.excite = EdgeLinear(len(self.edges), hidden, width, bias=False)
        self.channel_sum = channel_sum

    def gates(self, descriptors: Tensor) -> Tensor:
        """Map descriptors ``[B, E, m, C]`` to gates ``[B, E, m, C]`` in (0, 1)."""
        flat = descriptors.flatten(2).transpose(0, 1)
        hidden = torch.relu(self.squeeze(flat))
        return torch.sigmoid(self.excite(hidden)).transpose(0, 1).unflatten(2, descriptors.shape[2:])

    def weigh(self, outputs: list[Tensor | None], candidates: Candidates) -> tuple[Tensor, Tensor]:
        """Return the gates as weights and their mean (or sum) over channels as importance."""
        gates = self.gates(spatial_mean(outputs, candidates))
        return gates, gates.detach().sum(-1) if self.channel_sum else gates.detach().mean(-1)


class SinglePath(Mixing):
    """One operation per edge (SPOS, RLNAS); ``path`` holds the candidate of every edge of the bundle."""

    def __init__(self, edges: Sequence[int]) -> None:
        super().__init__(edges)
        self.path: list[int] = [0] * len(self.edges)

    def forward(self, candidates: Candidates) -> tuple[list[Tensor], None]:
        """Compute the path's operations and nothing else; a path has no importance."""
        chosen = {**dict(enumerate(self.path)), **self.kept}
        outputs = [candidates.one(edge, chosen[edge]) for edge in range(candidates.n_edges)]
        return [torch.zeros_like(candidates.x) if y is None else y for y in outputs], None
