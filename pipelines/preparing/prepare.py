"""`gradus data prepare`: clean a file of examples, deal it, and write it for hosted services and for `gradus run`."""

import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from pydantic import BaseModel, ValidationError

from components.core.errors import ConfigError, GradusError
from components.core.home import home, mirror
from components.core.records import Facts
from components.data.asked import format_of
from components.data.batches import schema
from components.data.download import download
from components.data.fetch import locate
from components.data.formats.dialect import SUFFIXES
from components.data.hosted.ends import Ends, FoundEnds, choose_ends
from components.data.sources import FileSource
from components.data.split.given_splits import SPLITS
from components.data.split.reordering import write_in_order
from pipelines.config import apply_override, explain
from pipelines.preparing.form import Form, FormConfig, Row, ends_of, forms, rewrite, rows_of
from pipelines.preparing.writing import write_hosted, write_left_out, write_preset, write_rows

TABLE = "table.parquet"


class Prepared(BaseModel):
    """What came of a file, and what `--json` prints."""

    form: str
    folder: str
    rows_in: int
    left_out: dict[str, int]
    """Rows that were left out, by why; `left_out.jsonl` has their numbers."""
    rows: dict[str, int]
    """Rows of each split."""
    answers: dict[str, dict[str, int]] = {}
    """Of labelled texts: rows of each label, in the file and in each split."""
    overlap: dict[str, dict[str, int]]
    """Rows of one split that also stand in another, as `gradus check` counts them."""
    separator: str
    stop: str
    changed: dict[str, int]
    """How many texts were changed, by what was done."""
    found: list[str]
    """What a file of prompts and completions did not do as guides to hosted fine-tuning advise."""
    warnings: list[str]
    preset: str
    """The preset that reads the splits."""


def prepare(address: str, form_name: str, overrides: Sequence[str], out: Path) -> Prepared:
    """Clean, deal and write the examples of a file into a new folder.

    Args:
        address: a path, or what else `source.url` takes.
        form_name: one of `form.forms`.
        overrides: `source.KEY=VALUE`, `split.KEY=VALUE`, `hosted.KEY=VALUE`.
        out: the folder; it is there when all is written, or not at all.

    Raises:
        ConfigError: if an option is wrong, the folder is there, or the rows cannot be dealt.
        DataRejected, TableError, DownloadError: if the file cannot be read, or no row of it used.
    """
    with new_folder(out) as draft, scratch_beside(out) as work:
        form = form_for(address, form_name, overrides)
        facts, found = read(form, form.config.source, work)
        cleaned = work / "cleaned"
        cleaned.mkdir()
        form.clean(work / TABLE, cleaned)
        copies = form.repeated(cleaned / TABLE)
        columns = schema(name for name in pq.read_schema(cleaned / TABLE).names if name != "row")
        write_in_order(cleaned / TABLE, {work / "unique.parquet": copies.first}, columns)
        dealt = form.split(work / "unique.parquet", work)
        tables = {name: work / f"{name}.parquet" for name in SPLITS}
        left_out = write_left_out(cleaned, copies, draft / "left_out.jsonl")
        ends = choose_ends((form.pair(row) for name in SPLITS for row in rows_of(tables[name])), form.config.hosted)
        changed = write_all(form, form_name, tables, ends, draft, out.name)
        result = Prepared(
            form=form_name,
            folder=str(out),
            rows_in=facts["rows"],
            left_out=left_out | _left_out_of_train(dealt),
            rows=dealt["rows"],
            answers=counted(form, work / TABLE, dealt),
            overlap=dealt["overlap"],
            separator=ends.separator,
            stop=ends.stop,
            changed=changed | taken_off(found),
            found=found.problems if found else [],
            warnings=[*facts["notes"], *dealt["warnings"]],
            preset=str(out / "preset.yaml"),
        )
        (draft / "report.json").write_text(result.model_dump_json(indent=1), encoding="utf-8")
    return result


def form_for(address: str, name: str, overrides: Sequence[str]) -> Form:
    """Return a form with its config.

    Raises:
        ConfigError: if there is no such form, or a key is wrong.
    """
    there = forms()
    if name not in there:
        raise ConfigError(f"--as {name}: choose one of {', '.join(there)}")
    form = there[name]
    tree: dict[str, Any] = {}
    for override in overrides:
        apply_override(tree, override)
    given = tree.get("source", {})
    if not isinstance(given, dict):
        raise ConfigError("--set source: set its keys, as in --set source.format=csv")
    source = {"url": address} | given
    path = Path(address).expanduser()
    if not isinstance(source.get("columns", {}), dict):
        raise ConfigError(
            "--set source.columns: it names the column of each field, as in --set source.columns.text=NAME"
        )
    source.setdefault("format", _format_of(address))
    config_class: type[FormConfig] = form.config_class
    try:
        tree["source"] = form.choose_source(path if path.is_file() else None, source)
        config_class = form.config_for(tree["source"])
        return form(config_class.model_validate(tree))
    except ValidationError as error:
        raise ConfigError("\n".join(explain(error, "--set", config_class))) from error


def _format_of(address: str) -> str:
    path = Path(address).expanduser()
    if path.is_file():
        found = format_of(path, may_be_json=False)
    elif "://" not in address and not path.exists():
        raise ConfigError(f"there is no file {path}")
    else:
        found = SUFFIXES.get(path.suffix.lower())
    if found is None:
        formats = "|".join(dict.fromkeys(SUFFIXES.values()))
        raise ConfigError(f"{path.name}: its name says no format; add --set source.format={formats}")
    return found


def read(form: Form, source: FileSource, work: Path) -> tuple[Facts, FoundEnds | None]:
    """Write the table of a source, each row in its form, to `work/table.parquet`.

    Returns:
        The facts of `components.data.download.download`, and what stood around prompts and completions.
    """
    if (local := locate(source, mirror())) and not local.is_file():
        raise ConfigError(f"cannot read {local}: it is {'a folder' if local.is_dir() else 'not there'}")
    facts = download(source, home() / "downloads", mirror(), work)
    shutil.rmtree(work / "raw")
    found = ends_of(work / TABLE, facts)
    own = form.rewritten(facts)
    if own or found:
        (work / TABLE).rename(work / "read.parquet")
        ends = found.ends if found else Ends("", "")
        rewrite(work / "read.parquet", _change(own, ends, facts), form.columns, work / TABLE)
    form.look(work / TABLE)
    return facts, found


def _change(own: Callable[[Row], Row] | None, ends: Ends, facts: Facts) -> Callable[[Row], Row]:
    names = ("text", "label") if "text" in facts["reading"]["columns"] else ("instruction", "output")

    def change(row: Row) -> Row:
        pair = ends.taken_off((row[names[0]] or "", row[names[1]] or ""))
        row = row | {name: text or None for name, text in zip(names, pair, strict=True)}
        return own(row) if own else row

    return change


def write_all(
    form: Form, form_name: str, tables: dict[str, Path], ends: Ends, draft: Path, name: str
) -> dict[str, int]:
    """Write splits as `gradus run` reads them, their preset, and both files for hosted services; count what changed."""
    changed: dict[str, int] = {}
    for split, table in tables.items():
        write_rows((form.as_row(row) for row in rows_of(table)), draft / f"{split}.jsonl")
        for what, count in write_hosted(form, table, ends, draft, split).items():
            changed[what] = changed.get(what, 0) + count
    files = {"url": "train.jsonl", "format": "jsonl"} | {split: f"{split}.jsonl" for split in SPLITS[1:]}
    every = (row for table in tables.values() for row in rows_of(table))
    write_preset(form.preset(name, files, every), form_name, draft / "preset.yaml")
    return changed


def counted(form: Form, table: Path, dealt: Facts) -> dict[str, dict[str, int]]:
    """Return how many rows have each label before and after, of labelled texts."""
    if "classes" not in dealt:
        return {}
    before = pq.read_table(table, columns=[form.answer])[form.answer].value_counts().to_pylist()
    return {"file": {str(each["values"]): each["counts"] for each in before}, **dealt["classes"]}


def _left_out_of_train(dealt: Facts) -> dict[str, int]:
    """Return how many rows of train were left out since they also stand in a given split."""
    count = (dealt["given"] or {}).get("left_out", 0)
    return {"in train, and in a given split too": count} if count else {}


def taken_off(found: FoundEnds | None) -> dict[str, int]:
    """Return how many texts had something around them that was taken off."""
    if found is None:
        return {}
    ends = {"separators taken off": found.ends.separator, "stop texts taken off": found.ends.stop}
    return {what: found.pairs for what, end in ends.items() if end} | {"single blanks taken off": found.blanks}


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """Give a folder beside `out`, which takes its place when all is written; it must not be there.

    Raises:
        ConfigError: if it is, or cannot be made.
    """
    if out.exists():
        raise ConfigError(f"--output {out} is there already; name a new folder")
    with scratch_beside(out) as draft:
        yield draft
        if out.exists():
            raise ConfigError(f"--output {out} has come to be there; name a new folder")
        draft.rename(out)


@contextmanager
def scratch_beside(out: Path) -> Iterator[Path]:
    """Give an empty folder beside another, which is deleted afterwards."""
    if not out.parent.is_dir():
        raise ConfigError(f"--output {out}: there is no folder {out.parent}")
    try:
        folder = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    except OSError as error:
        raise ConfigError(f"--output {out}: cannot write there: {error.strerror}") from error
    try:
        yield folder
    except OSError as error:
        if isinstance(error, GradusError):
            raise
        raise ConfigError(f"cannot write {out}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
