"""The step `download`: the raw file, kept as it came, and the table that it holds."""

import json
import logging
import re
import shutil
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import JsonValue

from components.core.errors import ConfigError
from components.core.home import home
from components.core.http_client import HTTPError, Stalled, Transient, answer
from components.core.records import Facts, fingerprint, sha256_of
from components.core.redaction import EXACT
from components.data.batches import schema, write_batches
from components.data.fetch import fetch, locate, open_download
from components.data.formats.dialect import READING
from components.data.formats.reading import Seen, unused_columns, unused_note
from components.data.hub.config import is_hub
from components.data.hub.repository import fetch_file, folder_of, look_up, source_of
from components.data.sources import FileSource, InstructionSourceConfig
from components.data.split.given_splits import SPLIT
from components.data.tables import read_limited
from components.data.turns import recognised

# How a file is fetched, and what may be done with it, does not change what is fetched.
NOT_IDENTITY = {"licence", "max_bytes", "timeout", "attempts", "backoff", "allow_private"}

HEAD_TIMEOUT = 10.0  # seconds, or `source.timeout` if that is less
VALIDATORS = ("ETag", "Last-Modified")
HEAD_REFUSED = (403, 405, 501)  # from servers that may answer GET all the same
REVISIONS = "revisions"
"""Folder under the home that holds, a file for each URL, what its server said last."""

COMMIT = re.compile("[0-9a-f]{40}")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Part:
    """A file of a source."""

    split: str
    """Which split's rows it has; nothing where the source gives none."""
    source: FileSource
    """How it is read."""
    raw: Path
    """Where it lies."""
    origin: Facts
    """Where it came from."""


def download(source: FileSource, downloads: Path, mirror: Path | None, out: Path) -> Facts:
    """Fetch a source and write `out/raw/<name>` (as it came) and `out/table.parquet` (`source.table_columns`).

    Where splits have files of their own, these are in `out/raw/<split>/`, and the table has all rows, those of train
    first, and a column `split`; `row` counts in each split, over all files of it. The facts are of the source's own
    file, those of the others in `files`; `rows` counts all. Of a data set of the hub they also hold its `revision` and
    `commit`.

    Raises:
        DownloadError: if the source cannot be fetched, unpacked, or is not the file declared.
        TableError: if it cannot be read as a table.
        DataRejected: if it lacks a column that `source.columns` names.
    """
    parts = list(_parts(source, downloads, mirror, out / "raw"))
    if isinstance(first := parts[0].source, InstructionSourceConfig):
        found = {"columns": recognised(parts[0].raw, first).columns}
        source = source.model_copy(update=found)
        parts = [replace(part, source=part.source.model_copy(update=found)) for part in parts]
    given = any(part.split for part in parts)
    if given and SPLIT in source.table_columns:
        raise ConfigError(
            f"source.columns.split names a column, but {source.url} brings its splits as files: leave it out"
        )
    columns = schema([*source.table_columns, *([SPLIT] if given else [])])
    counts, highest = [0] * len(parts), dict.fromkeys((part.split for part in parts), 0)
    seen = [Seen() for _ in parts]

    def batches() -> Iterator[pa.RecordBatch]:
        for number, part in enumerate(parts):
            before = highest[part.split]
            for batch in read_limited(part.raw, part.source, seen[number]):
                counts[number] += batch.num_rows
                rows = pc.add(batch["row"], before)
                highest[part.split] = max(highest[part.split], pc.max(rows).as_py() or 0, before + seen[number].last)
                split = [pa.array([part.split] * batch.num_rows, pa.string())] if given else []
                yield pa.record_batch([rows, *batch.columns[1:], *split], schema=columns)

    rows = write_batches(batches(), columns, out / "table.parquet")
    own, *others = [{**part.origin, "sha256": sha256_of(part.raw), "bytes": part.raw.stat().st_size} for part in parts]
    unused = unused_columns(source, seen[0].columns)
    notes = [note for each in seen for note in each.notes]
    return {
        **own,
        "rows": rows,
        "columns": columns.names,
        "unused": unused,
        "notes": [*notes, *unused_note(parts[0].raw, unused)],
        "reading": parts[0].source.model_dump(mode="json", include=set(READING)),
        **({"limit": source.limit} if source.limit else {}),
        **({"files": _by_split(parts[1:], others, counts[1:])} if others else {}),
    }


def _by_split(parts: Sequence[Part], facts: Sequence[Facts], counts: Sequence[int]) -> Facts:
    """Return the facts of files, each under its split, those of several of one split also under their numbers."""
    of_split: Counter[str] = Counter()
    found = {}
    for part, each, rows in zip(parts, facts, counts, strict=True):
        of_split[part.split] += 1
        number = of_split[part.split]
        found[f"{part.split} {number}" if number > 1 else part.split] = each | {"rows": rows}
    return found


def _parts(source: FileSource, downloads: Path, mirror: Path | None, folder: Path) -> Iterator[Part]:
    """Yield the files of a source, each with a second name in a folder."""
    for name, each in (source.files() or {"": source}).items():
        if is_hub(each.url):
            yield from _parts_of_hub(name, each, downloads, mirror, folder)
        else:
            fetched = fetch(each, downloads, mirror)
            raw = _link(fetched, folder / name.removeprefix("train") / fetched.name)
            yield Part(name, each, raw, {"url": each.url, "member": each.member})


def _parts_of_hub(name: str, source: FileSource, downloads: Path, mirror: Path | None, folder: Path) -> Iterator[Part]:
    found = look_up(source, mirror)
    for split, path in ((split, path) for split, paths in found.splits.items() for path in paths):
        file = fetch_file(source, found, path, mirror)
        one = source_of(source, path, file)
        if one.member or one.sha256:
            file = fetch(one.model_copy(update={"url": str(file)}), downloads, mirror)
        origin = {"url": one.url, "member": one.member, "revision": found.revision, "commit": found.commit}
        yield Part(split or name, one, _link(file, folder / name.removeprefix("train") / path), origin)


def _link(fetched: Path, raw: Path) -> Path:
    """Give a fetched file a second name, so that it takes its room once; copy it where that cannot be."""
    raw.parent.mkdir(parents=True, exist_ok=True)
    # Neither is ever written to: the store keeps steps as they are, and a new version of a download is another file.
    try:
        raw.hardlink_to(fetched)
    except OSError:  # Another file system, or one without links.
        shutil.copyfile(fetched, raw)
    return raw


def source_identity(source: FileSource, mirror: Path | None) -> dict[str, JsonValue]:
    """Return what the step's result depends on: the config, and the content of the file as far as it is known.

    `content` is None where `source.sha256` says it, on whichever machine the file is. Otherwise it is the SHA-256 of a
    local file (the source's own, or the mirror's), None if there is no such file; of a URL what the server says of the
    file's version when it is asked now; if it says nothing, a value that is new each time, so that the file is fetched;
    if it cannot be reached, what it said last.
    Of a data set of the hub it is its commit now, with the files of each split. `files` has the same of the files of
    other splits.
    """
    files = {name: source_identity(each, mirror) for name, each in source.files().items() if name != "train"}
    given = {"files": files} if files else {}
    if is_hub(source.url):
        content: JsonValue = _content_of_hub(source, mirror)
    elif source.sha256:
        content = None
    elif path := locate(source, mirror):
        content = sha256_of(path) if path.is_file() else None
    else:
        content = _revision(source)
    return {**source.model_dump(mode="json", exclude=NOT_IDENTITY, context=EXACT), "content": content, **given}


def _content_of_hub(source: FileSource, mirror: Path | None) -> JsonValue:
    folder = folder_of(source, mirror)
    if folder is None and COMMIT.fullmatch(source.hub.revision):
        return None
    found = look_up(source, mirror)
    paths = [path for paths in found.splits.values() for path in paths]
    hashes: list[JsonValue] = [sha256_of(folder / path) for path in paths] if folder else []
    return {
        "commit": found.commit,
        "splits": {split: [*each] for split, each in found.splits.items()},
        "hashes": hashes,
    }


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
