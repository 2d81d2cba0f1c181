"""What stands on a searched edge of a NASLib graph: its primitives as the candidates of one of our mixings.

Needs NASLib.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from naslib.search_spaces.core.primitives import AbstractPrimitive  # pyright: ignore[reportMissingImports]
from torch import Tensor

from itnas.errors import UserError
from itnas.nn.candidates import Candidates
from itnas.nn.mixing import Mixing


class PrimitiveCandidates(Candidates):
    """Outputs of the primitives of one edge, each computed when asked for."""

    def __init__(self, x: Tensor, primitives: Sequence[Any], channels: int, none: int | None) -> None:
        self.x, self.primitives, self.none = x, primitives, none
        self.n_edges, self.n_candidates, self.channels = 1, len(primitives), channels

    def all(self) -> list[Tensor | None]:
        """Return every primitive's output ``[B, C, H, W]``, None for `none`."""
        return [self.one(0, k) for k in range(self.n_candidates)]

    def one(self, edge: int, candidate: int) -> Tensor | None:
        """Return one primitive's output, None for `none`."""
        return None if candidate == self.none else self.primitives[candidate](self.x, None)

    def zeros(self) -> Tensor:
        """Return zeros of the output's shape, which a stride makes smaller than the input's."""
        return self.primitives[0 if self.none is None else self.none](self.x, None) * 0.0


class MixedEdge(AbstractPrimitive):
    """A searched edge: the primitives, in our order of candidates, and the mixing that combines them.

    Attributes:
        importance: what the mixing measured in the last forward pass, ``[B or 1, 1, m]``, or None.
    """

    def __init__(self, primitives: Sequence[Any], order: Sequence[int], mixing: Mixing) -> None:
        super().__init__({})
        self.primitives = list(primitives)  # a list in NASLib's order: what its graphs look for and discretize
        for number, primitive in enumerate(self.primitives):
            self.add_module(f"primitive-{number}", primitive)
        self.order, self.mixing = tuple(order), mixing
        self.importance: Tensor | None = None

    def forward(self, x: Tensor, edge_data: Any = None) -> Tensor:  # noqa: ANN401 - NASLib's EdgeData
        """Mix the candidates' outputs at ``x`` ``[B, C, H, W]``."""
        site = self.mixing.site
        ordered = [self.primitives[place] for place in self.order]
        outputs, self.importance = self.mixing(PrimitiveCandidates(x, ordered, site.channels, site.none))
        return outputs[0]

    def weight_tensors(self, candidate: int) -> list[Tensor]:
        """Return the parameters of a candidate, in our order of candidates."""
        return list(self.primitives[self.order[candidate]].parameters())

    def get_embedded_ops(self) -> list[Any]:
        """Return the primitives, as NASLib's graphs ask for."""
        return self.primitives


def output_channels(primitives: Sequence[Any]) -> int:
    """Return the channels of an edge's output, from the first primitive that was told.

    Raises:
        UserError: none was.
    """
    for primitive in primitives:
        known = getattr(primitive, "init_params", {})
        for name in ("C_out", "C"):
            if known.get(name) is not None:
                return int(known[name])
    for primitive in primitives:
        convolutions = [m for m in primitive.modules() if isinstance(m, torch.nn.Conv2d)]
        if convolutions:
            return convolutions[-1].out_channels
    raise UserError("no operation of the edge knows its channels; NASLib's convolutions do, by their argument C_out")
