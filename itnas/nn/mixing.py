"""How a choice combines its candidates: softmax alphas, AGNAS's channel attention, a single path.

A mixing serves one choice or several computed together (all edges that leave one node of a cell, a *bundle*), with its own
parameters per choice, and returns their outputs and the importance of each candidate. Candidates are operations on an
edge, or the feature maps a node may read. IT-NAS's lite transformer stands in ``lite_transformer.py``.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from itnas.nn.candidates import Candidates


@dataclass(frozen=True)
class Site:
    """Where in a supernet a mixing stands."""

    group: str
    """Group of choices of the space."""
    choices: tuple[int, ...]
    """The choices it serves, as indices into the group."""
    cell: int
    """Searched cell, from 0."""
    stage: int
    """Stage of the network, from 0."""
    n_candidates: int
    """Candidates m of each choice."""
    channels: int
    """Channels C of a choice's output."""
    none: int | None = None
    """Which candidate is the operation `none`, if there is one."""


MixingFactory = Callable[[Site], "Mixing"]
"""Makes the mixing that stands at a site."""


class Mixing(nn.Module, ABC):
    """Combines the candidates of the choices of one site.

    Attributes:
        site: where it stands.
        kept: ``{edge of the site: candidates}`` of edges that are discretized for a measurement; empty while searching.
        kept_weight: ``one`` gives kept candidates the factor 1, ``keep`` leaves them their own weight or gate.
        kept_gate: ``full`` computes gates from all candidates, ``masked`` from the kept ones with the others zeroed.
    """

    def __init__(self, site: Site) -> None:
        super().__init__()
        self.site = site
        self.kept: dict[int, tuple[int, ...]] = {}
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

    def forward(self, candidates: Candidates) -> tuple[list[Tensor], Tensor | None]:
        """Weigh all candidates and sum them edge by edge; where all edges are discretized, compute what is kept only."""
        if len(self.kept) == candidates.n_edges and self.kept_weight == "one":
            return [candidates.total(edge, self.kept[edge]) for edge in range(candidates.n_edges)], None
        outputs = candidates.all()
        if self.kept and self.kept_gate == "masked":
            outputs = self._mask(outputs, candidates)
        weights, importance = self.weigh(outputs, candidates)
        if self.kept:
            weights = self._discretize(weights)
        return candidates.combine(outputs, weights), importance.detach()

    def _selector(self, like: Tensor, n_candidates: int) -> Tensor:
        """Return ``[E, m]``: 1 on free edges, 1 only at the kept candidates of discretized ones."""
        selector = like.new_ones(len(self.site.choices), n_candidates)
        for edge, candidates in self.kept.items():
            selector[edge] = 0
            selector[edge, list(candidates)] = 1
        return selector

    def _mask(self, outputs: list[Tensor | None], candidates: Candidates) -> list[Tensor | None]:
        selector = self._selector(candidates.x, candidates.n_candidates)
        wide = [None if y is None else candidates.widen(y, k) for k, y in enumerate(outputs)]
        channels = selector.repeat_interleave(candidates.channels, dim=0)
        return [None if y is None else y * channels[:, k, None, None] for k, y in enumerate(wide)]

    def _discretize(self, weights: Tensor) -> Tensor:
        selector = self._selector(weights, weights.shape[2])[None, :, :, None]
        if self.kept_weight == "keep":
            return weights * selector
        frozen = torch.zeros(len(self.site.choices), dtype=torch.bool, device=weights.device)
        frozen[list(self.kept)] = True
        return torch.where(frozen[None, :, None, None], selector, weights)


def spatial_mean(outputs: Sequence[Tensor | None], candidates: Candidates, which: Sequence[int]) -> Tensor:
    """Return the global average pool ``[B, E, len(which), C]`` of the outputs of candidates ``which``; zeros for `none`."""
    return candidates.per_edge([None if y is None else y.mean((2, 3)) for y in outputs], which)


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
        decided: ``[choice]``, true where a choice is decided.
        fixed: the weights ``[choice, candidate]`` of decided choices: one-hot, several ones (several parents), or zeros
            (the edge is removed).
        masked: (choice, candidate) pairs whose weight is 0 for a measurement; candidate None masks the whole choice.
    """

    fixed: Tensor
    decided: Tensor

    def __init__(self, n_choices: int, n_candidates: int) -> None:
        super().__init__()
        self.logits = nn.Parameter(1e-3 * torch.randn(n_choices, n_candidates))
        self.register_buffer("fixed", torch.zeros(n_choices, n_candidates))
        self.register_buffer("decided", torch.zeros(n_choices, dtype=torch.bool))
        self.masked: set[tuple[int, int | None]] = set()

    def decide(self, choice: int, candidates: Sequence[int]) -> None:
        """Fix a choice to the sum of ``candidates``; it gets no gradient any more."""
        self.decided[choice] = True
        self.fixed[choice] = 0
        self.fixed[choice, list(candidates)] = 1

    def weights(self) -> Tensor:
        """Return the mixing weights ``[choice, candidate]``.

        The softmax of the logits, a decided row as fixed; the weight of a masked candidate is 0 and the others are *not*
        renormalised (DARTS-PT algorithm 1 as released).
        """
        weights = torch.where(self.decided[:, None], self.fixed, self.logits.softmax(dim=1))
        if self.masked:
            mask = torch.ones_like(weights)
            for choice, candidate in self.masked:
                mask[choice, slice(None) if candidate is None else candidate] = 0
            weights = weights * mask
        return weights


class SoftmaxMixing(WeightedMixing):
    """DARTS's mixed edge: ``y = sum_k softmax(alpha)_k F_k`` (DARTS eq. 2); the alphas are shared by all cells."""

    def __init__(self, site: Site, alphas: Alphas) -> None:
        super().__init__(site)
        self.alphas = alphas

    def weigh(self, outputs: list[Tensor | None], candidates: Candidates) -> tuple[Tensor, Tensor]:
        """Return the edges' rows of the softmax as weights and as importance."""
        weights = self.alphas.weights()[list(self.site.choices)]
        return weights[None, :, :, None], weights[None]


class ChannelAttention(WeightedMixing):
    """AGNAS's module: a squeeze-and-excitation over the concatenated candidates (AGNAS eq. 5 and 6).

    ``Atten = sigmoid(W2 relu(W1 GAP(concat_k F_k)))`` without biases, hidden width ``m C / reduction``; the edge's output is
    ``sum_k Atten_k * F_k`` channel by channel, the importance of ``k`` the mean (or sum) of its ``C`` gates.
    """

    def __init__(
        self,
        site: Site,
        *,
        reduction: int | Literal["num_ops"] = 8,
        channel_sum: bool = False,
    ) -> None:
        super().__init__(site)
        n_edges, width = len(site.choices), site.n_candidates * site.channels
        hidden = max(1, width // (site.n_candidates if reduction == "num_ops" else reduction))
        self.squeeze = EdgeLinear(n_edges, width, hidden, bias=False)
        self.excite = EdgeLinear(n_edges, hidden, width, bias=False)
        self.channel_sum = channel_sum

    def gates(self, descriptors: Tensor) -> Tensor:
        """Map descriptors ``[B, E, m, C]`` to gates ``[B, E, m, C]`` in (0, 1)."""
        flat = descriptors.flatten(2).transpose(0, 1)
        hidden = torch.relu(self.squeeze(flat))
        return torch.sigmoid(self.excite(hidden)).transpose(0, 1).unflatten(2, descriptors.shape[2:])

    def weigh(self, outputs: list[Tensor | None], candidates: Candidates) -> tuple[Tensor, Tensor]:
        """Return the gates as weights and their mean (or sum) over channels as importance."""
        gates = self.gates(spatial_mean(outputs, candidates, range(candidates.n_candidates)))
        return gates, gates.detach().sum(-1) if self.channel_sum else gates.detach().mean(-1)


class SinglePath(Mixing):
    """One path through the supernet (SPOS, RLNAS).

    Attributes:
        path: the candidates of every edge of the site: one operation, several parents, or none where the edge is absent.
    """

    def __init__(self, site: Site) -> None:
        super().__init__(site)
        self.path: list[tuple[int, ...]] = [(0,)] * len(site.choices)

    def forward(self, candidates: Candidates) -> tuple[list[Tensor], None]:
        """Compute the path's candidates and nothing else; a path has no importance."""
        chosen = {**dict(enumerate(self.path)), **self.kept}
        return [candidates.total(edge, chosen[edge]) for edge in range(candidates.n_edges)], None
