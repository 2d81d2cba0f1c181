"""Tables that a run may have beside those of every record: supernet ranking of architectures, Hessian eigenvalues.

A run that has none simply has no such file; an analysis says so in a sentence.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from analysis.common import Group
from itnas.errors import UserError

SCHEMAS: dict[str, pa.Schema] = {
    # A fixed random subset of architectures with the trained supernet. quantity: supernet (its accuracy, percent) | score
    # (the method's own: sum of log importance, or angle) | <dataset>/<split> (the benchmark table's accuracy, percent).
    "architectures": pa.schema(
        [("genotype", pa.string()), ("quantity", pa.string()), ("value", pa.float64()), ("n_images", pa.int32())]
    ),
    # Largest eigenvalue of the Hessian of the validation loss with respect to the alphas, after an epoch.
    "eigenvalues": pa.schema([("epoch", pa.int32()), ("eigenvalue", pa.float64()), ("n_images", pa.int32())]),
}


def read_optional(group: Group, name: str) -> pd.DataFrame:
    """Return the rows of an optional table of all runs of ``group``, after run_id, method and search_seed.

    Raises:
        UserError: a file is damaged or lacks a column.
    """
    schema, parts = SCHEMAS[name], []
    for run in group.records.runs.to_dict("records"):
        path = Path(run["folder"]) / f"{name}.parquet"
        if not path.is_file():
            continue
        try:
            with pq.ParquetFile(path) as file:
                frame = file.read().select(schema.names).cast(schema).to_pandas()
        except (pa.ArrowInvalid, KeyError, OSError) as error:
            raise UserError(
                f"{path} is damaged ({str(error).splitlines()[0]}); delete its folder and repeat the run"
            ) from None
        identity = {key: run[key] for key in ("run_id", "method", "search_seed")}
        parts.append(frame.assign(**identity))
    columns = ["run_id", "method", "search_seed", *schema.names]
    return pd.concat(parts, ignore_index=True)[columns] if parts else pd.DataFrame(columns=columns)
