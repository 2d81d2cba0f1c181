"""The methods, by the names used on command lines and in records."""

from __future__ import annotations

from dataclasses import replace

from itnas.errors import UserError
from itnas.optimizers.agnas import AGNAS, AGNASConfig
from itnas.optimizers.base import MethodConfig, Optimizer, Selection
from itnas.optimizers.darts import DARTS, DARTSConfig
from itnas.optimizers.darts_pt import DARTSPT, DARTSPTConfig
from itnas.optimizers.it_nas import ITNAS, ITNASConfig
from itnas.optimizers.random_search import RandomSearch
from itnas.optimizers.rlnas import RLNAS, RLNASConfig

METHODS: dict[str, tuple[type[Optimizer], MethodConfig]] = {
    "random": (RandomSearch, MethodConfig()),
    "darts": (DARTS, DARTSConfig()),
    "darts-2nd": (DARTS, DARTSConfig(order=2)),
    "darts-pt": (DARTSPT, DARTSPTConfig()),
    "darts-pt-fix-alpha": (DARTSPT, DARTSPTConfig(fix_alpha=True)),
    "agnas": (AGNAS, AGNASConfig()),
    "rlnas": (RLNAS, RLNASConfig()),
    "it-nas": (ITNAS, ITNASConfig()),
}
"""Optimizer class and default configuration of every method. A new method is one file and one line here."""

ALL_METHODS = ("random", "darts", "darts-pt", "agnas", "rlnas", "it-nas")
"""What "all methods" means where nothing more is listed."""


def check_method(name: str) -> str:
    """Return ``name`` if it is a method.

    Raises:
        UserError: it is not.
    """
    if name not in METHODS:
        raise UserError(f"unknown method {name!r}; choose one of {', '.join(METHODS)}")
    return name


def default_config(method: str) -> MethodConfig:
    """Return a method's configuration as published (see each field's docstring for its source)."""
    return replace(METHODS[check_method(method)][1])


__all__ = ["ALL_METHODS", "METHODS", "MethodConfig", "Optimizer", "Selection", "check_method", "default_config"]
