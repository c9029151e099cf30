"""A mended file of labels, put into the data that it is about."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from components.core.errors import ConfigError
from components.data.split.given_splits import SPLIT
from components.tracking.config import OF_A_SWEEP
from pipelines.kinds.classification.labels import Labelled
from pipelines.preparing.form import rows_of

ADVICE = "give the file that `gradus data labels` wrote"

Mended = dict[tuple[int, str], str | None]
"""Labels by the row's number and its split (empty where there is one file); None for a row that is to go."""


def read_mended(path: Path, labels: list[str], suggested: bool) -> Mended:
    """Return the labels of a mended file, by row number and split (empty where there is one file); None for no row.

    Raises:
        ConfigError: if it cannot be read, lacks a column, or names a label that is not declared.
    """
    column = "suggested" if suggested else "label"
    try:
        with path.open(encoding="utf-8-sig") as file:
            head = file.readline()
        separator = max(",;\t", key=head.count)  # spreadsheets write the one of their language
        frame = pd.read_csv(path, dtype=str, keep_default_na=False, sep=separator, encoding="utf-8-sig")
    except (OSError, ValueError, pd.errors.ParserError) as error:
        reason = getattr(error, "strerror", None) or str(error).partition("\n")[0]
        raise ConfigError(f"cannot read {path}: {reason}; {ADVICE}") from error
    if lacking := [name for name in ("row", column) if name not in frame]:
        raise ConfigError(f"{path} has no column {' and '.join(lacking)}; {ADVICE}")
    mended: dict[tuple[int, str], str | None] = {}
    for number, row in enumerate(frame.to_dict("records"), 1):
        label = row[column].strip()
        if label and label not in labels:
            raise ConfigError(f"{path}: row {number}: {label!r} is none of the labels {', '.join(labels)}")
        if not row["row"].strip().isdecimal():
            raise ConfigError(f"{path}: row {number}: {row['row']!r} is no row's number; {ADVICE}")
        mended[int(row["row"]), row.get(SPLIT, "")] = label or None
    return mended


def write_mended(data: Labelled, mended: Mended, config: dict[str, Any], out: Path) -> dict[str, int]:
    """Write all rows with the mended labels to `out/data.jsonl`, and the run's preset for them; count what changed.

    Raises:
        ConfigError: if a row of the mended file is not in the data.
    """
    left, counts, split = dict(mended), {"changed": 0, "left_out": 0, "rows": 0}, False
    with (out / "data.jsonl").open("x", encoding="utf-8") as file:
        for row in rows_of(data.every):
            key = next((key for key in ((row["row"], row.get(SPLIT) or ""), (row["row"], "")) if key in left), None)
            label = row["label"] if key is None else left.pop(key)
            counts["changed"] += label is not None and label != row["label"]
            if key is not None and label is None:
                counts["left_out"] += 1
                continue
            split = split or SPLIT in row
            kept = {"text": row["text"], "label": label} | ({SPLIT: row[SPLIT]} if SPLIT in row else {})
            file.write(json.dumps(kept, ensure_ascii=False) + "\n")
            counts["rows"] += 1
    if left:
        number, _ = next(iter(left))
        raise ConfigError(
            f"{len(left):,} rows of the mended file are not in the run's data, such as row {number}; {ADVICE}"
        )
    columns = {"text": "text", "label": "label"} | ({SPLIT: SPLIT} if split else {})
    source = {"url": "data.jsonl", "format": "jsonl", "columns": columns, "licence": config["source"].get("licence")}
    preset = config | {"source": source}
    if config["tracking"].get("parent"):  # a run of a sweep, which this one is not part of
        preset["tracking"] = {key: value for key, value in config["tracking"].items() if key not in OF_A_SWEEP}
    text = yaml.safe_dump(preset, sort_keys=False, allow_unicode=True)
    (out / "preset.yaml").write_text(
        f"# The config of a run, for its data with mended labels.\n{text}", encoding="utf-8"
    )
    return counts
