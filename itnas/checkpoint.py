"""The checkpoint of a search: everything that continuing it needs, in one file that is written atomically."""

from __future__ import annotations

import io
import pickle
import random
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from itnas.errors import UserError
from itnas.records import write_atomic


def write_checkpoint(path: Path, state: dict[str, Any], generator: torch.Generator) -> None:
    """Write ``state`` with the state of every random generator, ``generator`` being the search's own."""
    buffer = io.BytesIO()
    torch.save({**state, "generators": _generator_states(generator)}, buffer)
    write_atomic(path, buffer.getvalue())


def read_checkpoint(path: Path, device: str) -> dict[str, Any] | None:
    """Return what :func:`write_checkpoint` wrote, tensors on ``device``; None if there is no file.

    Raises:
        UserError: the file is damaged.
    """
    if not path.exists():
        return None
    try:
        return torch.load(path, map_location=device, weights_only=False)
    except (RuntimeError, EOFError, pickle.UnpicklingError, zipfile.BadZipFile, KeyError) as error:
        raise UserError(f"{path} is damaged ({str(error).splitlines()[0]}); delete it to repeat the run") from None


def _generator_states(generator: torch.Generator) -> dict[str, Any]:
    return {
        "python": random.getstate(),
        "numpy": np.random.get_state(),  # noqa: NPY002
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "run": generator.get_state(),
    }


def restore_generators(state: dict[str, Any], generator: torch.Generator) -> None:
    """Set every random generator as it was when the checkpoint ``state`` was written."""
    states = state["generators"]
    random.setstate(states["python"])
    np.random.set_state(states["numpy"])  # noqa: NPY002
    torch.set_rng_state(states["torch"].cpu())
    if states["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all([one.cpu() for one in states["cuda"]])
    generator.set_state(states["run"].cpu())
