"""The step `download`: the raw file, kept as it came, and the table that it holds."""

import shutil
from pathlib import Path

from pydantic import JsonValue

from components.data.batches import write_batches
from components.data.fetch import fetch, locate
from components.data.sources import SourceConfig
from components.data.tables import read_batches, schema_of
from components.records import Facts, sha256_of

# How a file is fetched, and what may be done with it, does not change what is fetched.
NOT_IDENTITY = {"licence", "max_bytes", "timeout", "attempts", "backoff"}


def download(source: SourceConfig, downloads: Path, mirror: Path | None, out: Path) -> Facts:
    """Fetch a source and write `out/raw/<name>` (as it came) and `out/table.parquet` (row, text, label).

    Raises:
        DownloadError: if the source cannot be fetched, unpacked, or is not the file declared.
        TableError: if it cannot be read as a table.
        DataRejected: if it lacks a column that `source.columns` names.
    """
    fetched = fetch(source, downloads, mirror)
    raw = out / "raw" / fetched.name
    raw.parent.mkdir()
    shutil.copyfile(fetched, raw)
    schema = schema_of(source)
    rows = write_batches(read_batches(raw, source), schema, out / "table.parquet")
    return {
        "url": source.url,
        "member": source.member,
        "sha256": sha256_of(raw),
        "bytes": raw.stat().st_size,
        "rows": rows,
        "columns": schema.names,
    }


def source_identity(source: SourceConfig, mirror: Path | None) -> dict[str, JsonValue]:
    """Return what the step's result depends on: the config, and the content of a local file that stands for it.

    `content` is the SHA-256 of that file (the source's own, or the mirror's), and None for the network or if there is
    no such file.
    """
    path = locate(source, mirror)
    content = sha256_of(path) if path and path.is_file() else None
    return {**source.model_dump(mode="json", exclude=NOT_IDENTITY), "content": content}
