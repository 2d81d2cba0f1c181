"""NASLib's keywords of optimizers as our configurations."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from itnas.optimizers import MethodConfig
from itnas.optimizers.darts import DARTSConfig


def configure(config: MethodConfig, keywords: Mapping[str, Any], *, nesterov: bool) -> MethodConfig:
    """Return ``config`` with what NASLib's keywords say."""

    def renamed(**names: str) -> dict[str, Any]:
        return {field: keywords[theirs] for field, theirs in names.items() if theirs in keywords}

    weights = renamed(lr="learning_rate", momentum="momentum", weight_decay="weight_decay", grad_clip="grad_clip")
    weights["grad_clip"] = weights.get("grad_clip", config.weights.grad_clip) or None
    config = dataclasses.replace(config, weights=dataclasses.replace(config.weights, nesterov=nesterov, **weights))
    if isinstance(config, DARTSConfig):
        alphas = renamed(lr="arch_learning_rate", weight_decay="arch_weight_decay")
        order = 2 if keywords.get("unrolled") else config.order
        config = dataclasses.replace(config, alphas=dataclasses.replace(config.alphas, **alphas), order=order)
    return config
