"""The same methods as optimizers of NASLib, driven by NASLib's own Trainer.

``from itnas.naslib import ITNASOptimizer`` and put it where ``DARTSOptimizer`` stood. Written for and tested with NASLib's
commit 0b51bc18; on a current Python call :func:`make_importable` before the first ``import naslib``. Importing this package
finds NASLib, and imports it only when one of the optimizers is asked for.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from itnas.naslib.compatibility import NASLibMissing, find_naslib, make_importable, missing_package
from itnas.naslib.genotypes import TableQuery, genotype_of, query, set_genotype

if TYPE_CHECKING:
    from itnas.naslib.optimizers import (
        AGNASOptimizer,
        DARTSOptimizer,
        DARTSPTOptimizer,
        ITNASOptimizer,
        RLNASOptimizer,
    )
    from itnas.naslib.trainer import RandomLabelTrainer

find_naslib()

_HOMES = {
    "AGNASOptimizer": "optimizers",
    "DARTSOptimizer": "optimizers",
    "DARTSPTOptimizer": "optimizers",
    "ITNASOptimizer": "optimizers",
    "RLNASOptimizer": "optimizers",
    "RandomLabelTrainer": "trainer",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    except ModuleNotFoundError as error:
        if error.name is not None and error.name.split(".")[0] in ("itnas", "naslib"):
            raise
        raise missing_package(error) from error


__all__ = [
    "AGNASOptimizer",
    "DARTSOptimizer",
    "DARTSPTOptimizer",
    "ITNASOptimizer",
    "NASLibMissing",
    "RLNASOptimizer",
    "RandomLabelTrainer",
    "TableQuery",
    "genotype_of",
    "make_importable",
    "query",
    "set_genotype",
]
