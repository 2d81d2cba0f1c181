"""What the papers print, as data with its source (``reported.csv``), to stand beside our numbers marked as reported."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

FILE = Path(__file__).with_name("reported.csv")
"""Columns: space, method (ours it can be compared with, or empty), label, dataset, split, metric (accuracy or error, in
percent, as printed), value, sd (empty: not printed), source, note."""


def reported(space: str) -> pd.DataFrame:
    """Return the printed numbers for ``space`` as accuracies in percent; an error is turned into 100 - error."""
    rows = pd.read_csv(FILE, keep_default_na=False, na_values={"sd": [""]})
    rows = rows[rows["space"] == space].reset_index(drop=True)
    error = rows["metric"] == "error"
    return rows.assign(value=rows["value"].where(~error, 100 - rows["value"]).round(6))
