"""The data that a run used, as MLflow dataset inputs: name, hash, schema, rows, and where it came from."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from components.tracking.runs import Run

if TYPE_CHECKING:
    import pyarrow as pa

CONTEXTS = {"train": "training", "validation": "validation", "test": "testing"}
"""What MLflow calls a split."""
DIGEST_LENGTH = 8
"""Leading characters of the SHA-256 that MLflow shows as a dataset's digest; the whole stands in the tag `sha256`."""
COLUMN_TYPES = {"string": "string", "large_string": "string", "int32": "integer", "int64": "long", "bool": "boolean"}
"""MLflow's column types by Arrow's; `float` and `double` are the same word in both."""


def log_inputs(run: Run, splits: Mapping[str, Path], digests: Mapping[str, str], source_url: str, name: str) -> None:
    """Record which data a run used.

    Args:
        run: the open run.
        splits: Parquet files by split (`train`, `validation`, `test`, or names of your own).
        digests: the files' SHA-256, hexadecimal, by split.
        source_url: where the raw data came from.
        name: the dataset's name, for example the preset's.

    Raises:
        TrackingError: if the store cannot be written.
    """
    inputs = [_dataset(split, path, digests[split], source_url, name) for split, path in splits.items()]
    run.record("inputs", datasets=inputs, models=[])


def _dataset(split: str, path: Path, sha256: str, source_url: str, name: str) -> dict[str, dict[str, str]]:
    import pyarrow.parquet as pq

    footer = pq.ParquetFile(path)
    is_web = source_url.startswith(("http://", "https://"))
    dataset = {
        "name": name,
        "digest": sha256[:DIGEST_LENGTH],
        "source_type": "http" if is_web else "local",
        "source": json.dumps({"url" if is_web else "uri": source_url}),
        "schema": json.dumps({"mlflow_colspec": _columns(footer.schema_arrow)}),
        "profile": json.dumps({"num_rows": footer.metadata.num_rows, "split": split, "sha256": sha256}),
    }
    tags = {"mlflow.data.context": CONTEXTS.get(split, split), "sha256": sha256, "split": split}
    return {"dataset": dataset, "tags": tags}


def _columns(schema: "pa.Schema") -> list[dict[str, object]]:
    return [
        {"type": COLUMN_TYPES.get(str(column.type), str(column.type)), "name": column.name, "required": True}
        for column in schema
    ]
