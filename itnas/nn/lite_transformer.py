"""IT-NAS's lite transformer: operations as tokens, an indicator token, and the IT row of the attention map.

The paper's method section and code were never published; every question its text leaves open is a field of
:class:`LiteTransformerConfig` whose default is the reading argued for in the project's specification (section 4).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from itnas.nn.candidates import Candidates
from itnas.nn.mixing import EdgeLinear, Site, WeightedMixing, spatial_mean


@dataclass(frozen=True)
class LiteTransformerConfig:
    """The lite transformer of one edge: m candidates of C channels, tokens of width d."""

    mix: Literal["it_row", "it_gate", "it_residual", "token_gate", "token_gate_it"] = "it_row"
    """How the module acts on the edge. `it_row`: y = sum_k a_k F_k with a_k the IT row over the operations;
    `it_gate`: channel gates sigmoid(z_IT W); `it_residual`: sum_k F_k plus a term from z_IT; `token_gate`: gates
    sigmoid(z_k W), whose IT row is untrained with one layer (the negative control); `token_gate_it`:
    sigmoid((z_k + z_IT) W)."""
    descriptor: Literal["gap", "gap_std", "grid"] = "gap"
    """Token descriptor: spatial mean; mean and standard deviation (which tells skip from pooling); or `grid`."""
    grid_size: int = 2
    """Side s of the adaptive average pool of descriptor `grid`; s = H = W is the flattened map."""
    embedding: Literal["shared", "per_op"] = "shared"
    """Whether the operations of an edge share the linear map from descriptor to token."""
    width: int | None = None
    """Token width d; by default the cell's channels C."""
    heads: int = 1
    """Attention heads; the IT row is averaged over them."""
    layers: int = 1
    """Layers; the importance is read from the last."""
    ffn_ratio: int = 0
    """Hidden width of a feed-forward sub-layer in multiples of d; 0 has none."""
    norm: Literal["pre", "post", "none"] = "pre"
    """Where LayerNorm stands relative to attention and feed-forward."""
    indicator: Literal["learned", "mean"] = "learned"
    """The indicator token: a learned vector per edge, or the mean of the operation tokens."""
    op_embedding: bool = False
    """Add a learned vector per operation to its token; the module can then ignore the data (a static alpha)."""
    mask_self: bool = False
    """Forbid the IT to attend to itself, so that its row is a softmax over the operations only."""
    none_token: bool = True
    """Whether `none` has a token; without, its importance is 0."""
    readout: Literal["mean", "logit", "renormalised", "vote"] = "mean"
    """Importance per image before averaging: A[IT, k]; its logit; A renormalised over operations; 1 for the largest."""
    output_scale: Literal["one", "num_ops"] = "one"
    """Factor on the output of `it_row`: 1 (weights sum to one) or m."""
    learned_temperature: bool = False
    """Learn a factor on 1/sqrt(d_head)."""
    dropout: float = 0.0
    """Dropout on the attention map."""


class LiteTransformer(WeightedMixing):
    """The lite transformers of a site's choices, computed as batched products over them.

    Shapes: E edges, m tokens of operations plus the IT at position 0, T = m + 1.
    """

    def __init__(self, site: Site, config: LiteTransformerConfig) -> None:
        super().__init__(site)
        self.config = config
        self.uniform_share = 0.0
        self.tokens = [k for k in range(site.n_candidates) if config.none_token or k != site.none]
        E, m, channels = len(site.choices), len(self.tokens), site.channels
        d = config.width or channels
        if d % config.heads:
            raise ValueError(f"token width {d} is not a multiple of {config.heads} heads")
        per_channel = {"gap": 1, "gap_std": 2, "grid": config.grid_size**2}[config.descriptor]
        self.embed = EdgeLinear(E * (m if config.embedding == "per_op" else 1), channels * per_channel, d, bias=True)
        self.indicator = nn.Parameter(0.02 * torch.randn(E, 1, 1, d)) if config.indicator == "learned" else None
        self.op_vectors = nn.Parameter(0.02 * torch.randn(E, 1, m, d)) if config.op_embedding else None
        uses_values = config.mix != "it_row"
        self.layers = nn.ModuleList(
            AttentionLayer(
                E, d, config, values=uses_values or layer < config.layers - 1, last=layer == config.layers - 1
            )
            for layer in range(config.layers)
        )
        n_out = {"it_row": 0, "it_gate": m * channels}.get(config.mix, channels)
        self.head = EdgeLinear(E, d, n_out, bias=False) if n_out else None

    def sharing_at(self, site: Site) -> LiteTransformer:
        """Return a mixing at another site of the same shape that has this one's parameters."""
        twin = LiteTransformer(site, self.config)
        for name in ("embed", "indicator", "op_vectors", "layers", "head"):
            setattr(twin, name, getattr(self, name))
        return twin

    def describe(self, outputs: Sequence[Tensor | None], candidates: Candidates) -> Tensor:
        """Return the token descriptors ``[B, E, m, D]`` of the candidates' outputs."""
        kept = [outputs[k] for k in self.tokens]
        if self.config.descriptor == "gap":
            return spatial_mean(kept, candidates, self.tokens)
        describe = _mean_and_std if self.config.descriptor == "gap_std" else self._grid
        return candidates.per_edge([None if y is None else describe(y) for y in kept], self.tokens).flatten(3)

    def _grid(self, y: Tensor) -> Tensor:
        return F.adaptive_avg_pool2d(y, self.config.grid_size).flatten(2)

    def attend(self, descriptors: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Run the layers on descriptors ``[B, E, m, D]``.

        Returns:
            The last layer's attention map ``[B, E, T, T]`` (mean over heads; rows sum to 1), its logits, and the output
            tokens ``[E, B, T, d]`` if the mix uses them.
        """
        x = descriptors.transpose(0, 1)
        E, B, m, _ = x.shape
        if self.config.embedding == "per_op":
            x = self.embed(x.transpose(1, 2).flatten(0, 1)).unflatten(0, (E, m)).transpose(1, 2)
        else:
            x = self.embed(x)
        if self.op_vectors is not None:
            x = x + self.op_vectors
        indicator = x.mean(2, keepdim=True) if self.indicator is None else self.indicator.expand(-1, B, -1, -1)
        x = torch.cat([indicator, x], dim=2)
        attention = logits = None
        for layer in self.layers:
            x, attention, logits = layer(x)
        assert attention is not None
        assert logits is not None
        return attention.transpose(0, 1), logits.transpose(0, 1), x

    def forward(self, candidates: Candidates) -> tuple[list[Tensor], Tensor | None]:
        """Mix as the configuration says; only `it_residual` adds a term that is no weighted sum."""
        decided = self.kept_weight == "one" and len(self.kept) == candidates.n_edges
        if self.config.mix != "it_residual" or decided:
            return super().forward(candidates)
        outputs = candidates.all()
        if self.kept and self.kept_gate == "masked":
            outputs = self._mask(outputs, candidates)
        attention, logits, z = self.attend(self.describe(outputs, candidates))
        weights = attention.new_ones(1, candidates.n_edges, candidates.n_candidates, 1)
        assert self.head is not None
        assert z is not None
        term = self.head(z[:, :, 0])[..., None, None] / len(self.tokens)  # [E, B, C, 1, 1]
        if self.kept:
            weights = self._discretize(weights)
            if self.kept_weight == "one":  # the edge is its operation alone: the module is pruned with the rest
                free = [edge not in self.kept for edge in range(candidates.n_edges)]
                term = term * term.new_tensor(free)[:, None, None, None, None]
        edges = [y + extra for y, extra in zip(candidates.combine(outputs, weights), term, strict=True)]
        return edges, self._importance(attention, logits, candidates.n_candidates)

    def weigh(self, outputs: list[Tensor | None], candidates: Candidates) -> tuple[Tensor, Tensor]:
        """Return the weights of the candidates under the configured mix, and the IT row as importance."""
        attention, logits, z = self.attend(self.describe(outputs, candidates))
        importance = self._importance(attention, logits, candidates.n_candidates)
        if self.config.mix == "it_row":
            row = attention[:, :, 0, 1:]
            weights = (row / row.sum(-1, keepdim=True))[..., None]
            if self.config.output_scale == "num_ops":
                weights = weights * len(self.tokens)
        else:
            assert self.head is not None
            assert z is not None
            if self.config.mix == "it_gate":
                gates = self.head(z[:, :, 0]).unflatten(-1, (len(self.tokens), -1))
            else:
                gates = self.head(z[:, :, 1:] + z[:, :, :1] if self.config.mix == "token_gate_it" else z[:, :, 1:])
            weights = torch.sigmoid(gates).transpose(0, 1)
        if self.uniform_share:
            uniform = 1 / len(self.tokens) if self.config.mix == "it_row" else 0.5
            weights = (1 - self.uniform_share) * weights + self.uniform_share * uniform
        return self._scatter(weights, candidates.n_candidates), importance

    def _importance(self, attention: Tensor, logits: Tensor, n_candidates: int) -> Tensor:
        row = attention[:, :, 0, 1:].detach()
        if self.config.readout == "logit":
            row = logits[:, :, 0, 1:].detach()
        elif self.config.readout == "renormalised":
            row = row / row.sum(-1, keepdim=True)
        elif self.config.readout == "vote":
            row = F.one_hot(row.argmax(-1), row.shape[-1]).to(row.dtype)
        return self._scatter(row[..., None], n_candidates).squeeze(-1)

    def _scatter(self, values: Tensor, n_candidates: int) -> Tensor:
        """Put ``[B, E, tokens, c]`` at the tokens' places among all candidates, 0 elsewhere."""
        if len(self.tokens) == n_candidates:
            return values
        full = values.new_zeros(*values.shape[:2], n_candidates, values.shape[3])
        full[:, :, self.tokens] = values
        return full


class AttentionLayer(nn.Module):
    """One layer over tokens ``[E, B, T, d]``: self-attention and, if configured, a feed-forward sub-layer.

    Layers before the last are ordinary encoder layers with residual connections. The last layer's output tokens are
    ``A V`` (the specification's ``z``), without the residual term; it has values only if the mix reads them.
    """

    def __init__(self, n_edges: int, width: int, config: LiteTransformerConfig, *, values: bool, last: bool) -> None:
        super().__init__()
        self.config, self.last = config, last
        self.query = EdgeLinear(n_edges, width, width, bias=False)
        self.key = EdgeLinear(n_edges, width, width, bias=False)
        self.value = EdgeLinear(n_edges, width, width, bias=False) if values else None
        normalises = config.norm == "pre" or (config.norm == "post" and values)
        self.norm = EdgeLayerNorm(n_edges, width) if normalises else None
        self.temperature = nn.Parameter(torch.ones(n_edges, 1, 1, 1, 1)) if config.learned_temperature else None
        self.ffn: nn.Sequential | None = None
        if config.ffn_ratio and values:
            hidden = config.ffn_ratio * width
            self.ffn = nn.Sequential(
                EdgeLinear(n_edges, width, hidden, bias=True), nn.GELU(), EdgeLinear(n_edges, hidden, width, bias=True)
            )
            self.ffn_norm = None if config.norm == "none" else EdgeLayerNorm(n_edges, width)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the output tokens, the attention map ``[E, B, T, T]`` (mean over heads) and its logits."""
        normed = self.norm(x) if self.norm is not None and self.config.norm == "pre" else x
        q, k = self._heads(self.query(normed)), self._heads(self.key(normed))
        logits = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
        if self.temperature is not None:
            logits = logits * self.temperature
        if self.config.mask_self:
            blocked = torch.zeros(logits.shape[-2:], dtype=torch.bool, device=logits.device)
            blocked[0, 0] = True
            logits = logits.masked_fill(blocked, -torch.inf)
        attention = F.dropout(logits.softmax(-1), self.config.dropout, self.training)
        if self.value is not None:
            mixed = (attention @ self._heads(self.value(normed))).transpose(2, 3).flatten(3)
            x = mixed if self.last else x + mixed
            if self.norm is not None and self.config.norm == "post":
                x = self.norm(x)
            x = self._feed_forward(x)
        return x, attention.mean(2), logits.mean(2)

    def _heads(self, x: Tensor) -> Tensor:
        """Split ``[E, B, T, d]`` into ``[E, B, heads, T, d / heads]``."""
        return x.unflatten(3, (self.config.heads, -1)).transpose(2, 3)

    def _feed_forward(self, x: Tensor) -> Tensor:
        if self.ffn is None:
            return x
        if self.ffn_norm is None:
            return x + self.ffn(x)
        return x + self.ffn(self.ffn_norm(x)) if self.config.norm == "pre" else self.ffn_norm(x + self.ffn(x))


class EdgeLayerNorm(nn.Module):
    """LayerNorm over the last axis of ``[E, ..., d]`` with its own scale and shift per edge."""

    def __init__(self, n_edges: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(n_edges, 1, 1, width))
        self.bias = nn.Parameter(torch.zeros(n_edges, 1, 1, width))

    def forward(self, x: Tensor) -> Tensor:
        """Keep the shape ``[E, B, T, d]``."""
        return F.layer_norm(x, x.shape[-1:]) * self.weight + self.bias


def _mean_and_std(y: Tensor) -> Tensor:
    variance, mean = torch.var_mean(y, dim=(2, 3), correction=0)
    return torch.stack([mean, (variance + 1e-5).sqrt()], dim=-1)
