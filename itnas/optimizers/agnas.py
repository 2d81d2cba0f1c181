"""AGNAS: attention-guided architecture search (Sun et al., ICML 2022).

A channel-attention module on every edge is trained with the weights on the training half alone; the importance of an
operation is the mean gate of its channels over the validation half. The NAS-Bench-201 code was not released: defaults
follow the released DARTS-space code and the specification's section 2.3.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from itnas.nn.mixing import ChannelAttention, MixingFactory
from itnas.optimizers.attention import AttentionConfig, AttentionOptimizer
from itnas.spaces.base import SearchSpace


@dataclass(frozen=True)
class AGNASConfig(AttentionConfig):
    """AGNAS."""

    reduction: int | Literal["num_ops"] = 8
    """Hidden width of the module is m C / reduction; `num_ops` makes it C."""
    channel_sum: bool = False
    """Sum the gates over channels, as the paper writes it; late stages with more channels then dominate."""


class AGNAS(AttentionOptimizer):
    """Mixing: channel attention per edge. Step: single level. Selection: largest mean gate."""

    score_kind: ClassVar[str] = "gate"
    config: AGNASConfig

    def make_module(self, search_space: SearchSpace) -> MixingFactory:
        """Every choice of every cell has its own module."""
        return lambda site: ChannelAttention(site, reduction=self.config.reduction, channel_sum=self.config.channel_sum)
