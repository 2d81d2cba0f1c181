"""What an architecture is worth: typed lookup over compact tables, and importers of the official files.

Methods never see this package; importing it reads nothing and imports no torch.
"""

from __future__ import annotations

import os
from pathlib import Path

from itnas.benchmarks.errors import MissingValue, NotInSource
from itnas.benchmarks.graphs import Graph
from itnas.benchmarks.nasbench101 import NASBench101Table
from itnas.benchmarks.nasbench201 import NASBench201Table
from itnas.errors import UserError

__all__ = ["Graph", "MissingValue", "NASBench101Table", "NASBench201Table", "NotInSource", "data_root"]


def data_root() -> Path | None:
    """Return the data folder named by the environment variable ``ITNAS_DATA``, or None when it is unset or empty.

    Raises:
        UserError: the variable names a folder that does not exist.
    """
    name = os.environ.get("ITNAS_DATA", "")
    if not name:
        return None
    root = Path(name)
    if not root.is_dir():
        raise UserError(f"ITNAS_DATA names {root}, which is not a folder; create it, correct the variable, or unset it")
    return root
