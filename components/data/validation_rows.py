"""The table under validation: read, checked for its types, and parted into what passes and what fails."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from components.data.rules import COLUMNS
from components.data.validation_report import FailingRow, Finding
from components.errors import TableError

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


def read(table: Path) -> "pa.Table":
    """Return a Parquet table whose columns of `COLUMNS`, as far as they are there, have the right types.

    Raises:
        TableError: if it is not a Parquet file, or `row` is not of integers, or `text` or `label` not of text.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        source = pq.read_table(table)
    except (pa.ArrowException, OSError) as error:
        reason = " ".join(str(error).split())
        raise TableError(f"{table} cannot be read as a Parquet table: {reason}") from error
    for name in COLUMNS:
        if fault := _fault(source, name):
            raise TableError(f"{table}: column {name!r} {fault}; write it as {'int64' if name == 'row' else 'string'}")
    return source


def _fault(source: "pa.Table", name: str) -> str | None:
    import pyarrow as pa

    found = source.schema.get_all_field_indices(name)
    if len(found) != 1:
        return f"is there {len(found)} times" if found else None
    kind = source.schema.field(name).type
    if name == "row":
        fits = pa.types.is_integer(kind) and not source[name].null_count
        return None if fits else f"has {kind} values or nulls, not integers only"
    value = kind.value_type if pa.types.is_dictionary(kind) else kind
    tests = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view, pa.types.is_null)
    return None if any(test(value) for test in tests) else f"has {kind} values, not text"


def frame_of(source: "pa.Table") -> "pd.DataFrame":
    """Return those of `COLUMNS` that are there; a null is None, and the index is the position in the table."""
    import pandas as pd
    import pyarrow as pa

    kinds = {"row": pa.int64(), "text": pa.string(), "label": pa.string()}
    series = {
        name: pd.Series(
            source[name].cast(kinds[name]).to_numpy(zero_copy_only=False), dtype="int64" if name == "row" else object
        )
        for name in COLUMNS
        if name in source.column_names
    }
    return pd.DataFrame(series, index=pd.RangeIndex(source.num_rows))


def rejected_rows(frame: "pd.DataFrame", findings: list[Finding]) -> "pd.DataFrame":
    """Return the failing rows with columns `row`, `text`, `label` and `reason`; the index is the position."""
    import pandas as pd

    positions = failing_positions(findings)
    reasons: dict[int, list[str]] = {position: [] for position in positions}
    for finding in findings:
        for position in finding.failing:
            reasons[position].append(finding.name)
    failing = frame.loc[positions].reindex(columns=list(COLUMNS)).astype(object)
    if "row" not in frame:
        failing["row"] = [position + 1 for position in positions]
    failing["reason"] = pd.Series({position: ";".join(names) for position, names in reasons.items()}, dtype=object)
    return failing.where(failing.notna(), None)


def failing_positions(findings: Iterable[Finding]) -> list[int]:
    """Return the positions of the rows that fail any expectation, in order."""
    return sorted({position for finding in findings for position in finding.failing})


def write_rejected(rows: list[FailingRow], path: Path) -> None:
    """Write failing rows to Parquet: `row` int64, `text`, `label` and `reason` string."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema([("row", pa.int64()), ("text", pa.string()), ("label", pa.string()), ("reason", pa.string())])
    pq.write_table(pa.Table.from_pylist([vars(row) for row in rows], schema=schema), path)
