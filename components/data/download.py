"""The step `download`: the raw file, kept as it came, and the table that it holds."""

import json
import logging
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
from pydantic import JsonValue

from components.core.home import home
from components.core.http_client import HTTPError, Stalled, Transient, answer
from components.core.records import Facts, fingerprint, sha256_of
from components.core.redaction import EXACT
from components.data.batches import schema, write_batches
from components.data.fetch import fetch, locate, open_download
from components.data.formats.dialect import READING
from components.data.formats.reading import Seen, unused_columns, unused_note
from components.data.sources import FileSource, InstructionSourceConfig
from components.data.split.given_splits import SPLIT
from components.data.tables import read_batches
from components.data.turns import recognised

# How a file is fetched, and what may be done with it, does not change what is fetched.
NOT_IDENTITY = {"licence", "max_bytes", "timeout", "attempts", "backoff", "allow_private"}

HEAD_TIMEOUT = 10.0  # seconds, or `source.timeout` if that is less
VALIDATORS = ("ETag", "Last-Modified")
HEAD_REFUSED = (403, 405, 501)  # from servers that may answer GET all the same
REVISIONS = "revisions"
"""Folder under the home that holds, a file for each URL, what its server said last."""

logger = logging.getLogger(__name__)


def download(source: FileSource, downloads: Path, mirror: Path | None, out: Path) -> Facts:
    """Fetch a source and write `out/raw/<name>` (as it came) and `out/table.parquet` (`source.table_columns`).

    Where splits have files of their own, these are in `out/raw/<split>/`, and the table has all rows, those of train
    first, and a column `split`; `row` counts in each file. The facts are of the source's own file, those of the others
    in `files`; `rows` counts all.

    Raises:
        DownloadError: if the source cannot be fetched, unpacked, or is not the file declared.
        TableError: if it cannot be read as a table.
        DataRejected: if it lacks a column that `source.columns` names.
    """
    sources = source.files() or {"": source}
    raws = {
        name: _bring(each, downloads, mirror, out / "raw" / name.removeprefix("train"))
        for name, each in sources.items()
    }
    if isinstance(source, InstructionSourceConfig):
        source = recognised(next(iter(raws.values())), source)
        sources = {name: each.model_copy(update={"columns": source.columns}) for name, each in sources.items()}
    columns = schema([*source.table_columns, *([SPLIT] if any(raws) else [])])
    counts: Counter[str] = Counter()
    seen = {name: Seen() for name in raws}

    def batches() -> Iterator[pa.RecordBatch]:
        for name, raw in raws.items():
            for batch in read_batches(raw, sources[name], seen[name]):
                counts[name] += batch.num_rows
                split = [pa.array([name] * batch.num_rows, pa.string())] if name else []
                yield pa.record_batch([*batch.columns, *split], schema=columns)

    rows = write_batches(batches(), columns, out / "table.parquet")
    files: dict[str, Facts] = {
        name: {"url": each.url, "member": each.member, "sha256": sha256_of(raw), "bytes": raw.stat().st_size}
        for (name, each), raw in zip(sources.items(), raws.values(), strict=True)
    }
    own, *others = files
    unused = unused_columns(source, seen[own].columns)
    notes = [note for each in seen.values() for note in each.notes]
    return {
        **files[own],
        "rows": rows,
        "columns": columns.names,
        "unused": unused,
        "notes": [*notes, *unused_note(raws[own], unused)],
        "reading": source.model_dump(mode="json", include=set(READING)),
        **({"files": {name: files[name] | {"rows": counts[name]} for name in others}} if others else {}),
    }


def _bring(source: FileSource, downloads: Path, mirror: Path | None, folder: Path) -> Path:
    """Give a fetched file a second name in a folder, so that it takes its room once; copy it where that cannot be."""
    fetched = fetch(source, downloads, mirror)
    folder.mkdir(parents=True, exist_ok=True)
    raw = folder / fetched.name
    # Neither is ever written to: the store keeps steps as they are, and a new version of a download is another file.
    try:
        raw.hardlink_to(fetched)
    except OSError:  # Another file system, or one without links.
        shutil.copyfile(fetched, raw)
    return raw


def source_identity(source: FileSource, mirror: Path | None) -> dict[str, JsonValue]:
    """Return what the step's result depends on: the config, and the content of the file as far as it is known.

    `content` is the SHA-256 of a local file (the source's own, or the mirror's), None if there is no such file. For a
    URL without `source.sha256` it is what the server says of the file's version when it is asked now; if it says
    nothing, a value that is new each time, so that the file is fetched; if it cannot be reached, what it said last.
    `files` has the same of the files of other splits.
    """
    files = {name: source_identity(each, mirror) for name, each in source.files().items() if name != "train"}
    given = {"files": files} if files else {}
    path = locate(source, mirror)
    if path:
        content: JsonValue = sha256_of(path) if path.is_file() else None
    else:
        content = None if source.sha256 else _revision(source)
    return {**source.model_dump(mode="json", exclude=NOT_IDENTITY, context=EXACT), "content": content, **given}


def _revision(source: FileSource) -> JsonValue:
    kept = home() / REVISIONS / f"{fingerprint(source.url)}.json"
    timeout = min(source.timeout, HEAD_TIMEOUT)
    revision: JsonValue = time.time_ns()
    try:
        with (
            open_download(source) as session,
            answer(session, "HEAD", source.url, timeout=timeout, allow_redirects=True) as response,
        ):
            headers = response.headers
        if any(name in headers for name in VALIDATORS):
            revision = {name: headers[name] for name in (*VALIDATORS, "Content-Length") if name in headers}
    except HTTPError as error:
        if isinstance(error, Transient) and not error.status and not isinstance(error, Stalled):
            logger.warning(
                "%s cannot be reached: what was fetched last is used, if it is still in the store", source.url
            )
            try:
                last: JsonValue = json.loads(kept.read_text(encoding="utf-8"))
            except (OSError, ValueError):
                last = None
            return last
        if error.status not in HEAD_REFUSED:  # something may be wrong, such as a refused redirect: the fetch says what
            return revision
    with suppress(OSError):  # a home that cannot be written is named by the store, which comes next
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(json.dumps(revision), encoding="utf-8")
    return revision
