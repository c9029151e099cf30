"""`gradus data read`: files as hosted services take them, as a table and a preset that `gradus run` takes."""

from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel

from components.core.errors import ConfigError
from components.data.split.given_splits import SPLIT, SPLITS, split_number
from pipelines.preparing.form import rows_of
from pipelines.preparing.prepare import TABLE, form_for, new_folder, read, scratch_beside
from pipelines.preparing.writing import write_preset, write_rows


class Restored(BaseModel):
    """What was read, and what `--json` prints."""

    form: str
    folder: str
    rows: dict[str, int]
    """Rows of each file that was written."""
    separator: str
    stop: str
    """What stood after prompts and completions, and was taken off; nothing where not all had the same."""
    found: list[str]
    """What prompts and completions did not do as guides to hosted fine-tuning advise."""
    preset: str


def restore(path: Path, form_name: str, overrides: Sequence[str], out: Path) -> Restored:
    """Write the examples of a file, or of a folder's files for splits, as they are, with a preset beside them.

    Raises:
        ConfigError: if an option is wrong, the folder `out` is there, or `path` is nothing to read.
        DataRejected, TableError: if it cannot be read.
    """
    files = _files(path)
    given = [f"source.{split}={file}" for split, file in list(files.items())[1:]]
    with new_folder(out) as draft, scratch_beside(out) as work:
        form = form_for(str(files["train"]), form_name, [*given, *overrides])
        _, found = read(form, form.config.source, work)
        names = {split: f"{split}.jsonl" if len(files) > 1 else "data.jsonl" for split in files}
        rows = {}
        for split, name in names.items():
            number = SPLITS.index(split)
            own = (row for row in rows_of(work / TABLE) if len(files) == 1 or split_number(row[SPLIT]) == number)
            write_rows((form.as_row(row) for row in own), draft / name)
            with (draft / name).open("rb") as written:
                rows[name] = sum(1 for _ in written)
        source = {"url": names.pop("train"), "format": "jsonl"} | names
        write_preset(form.preset(out.name, source, rows_of(work / TABLE)), form_name, draft / "preset.yaml")
    ends = found.ends if found else None
    return Restored(
        form=form_name,
        folder=str(out),
        rows=rows,
        separator=ends.separator if ends else "",
        stop=ends.stop if ends else "",
        found=found.problems if found else [],
        preset=str(out / "preset.yaml"),
    )


def _files(path: Path) -> dict[str, Path]:
    """Return the files of a path, by split; that of a single one is `train`."""
    if path.is_file():
        return {"train": path}
    files = {split: file for split in SPLITS if (file := path / f"{split}.jsonl").is_file()}
    if "train" not in files:
        what = f"{path} holds no train.jsonl" if path.is_dir() else f"there is no file {path}"
        raise ConfigError(f"{what}; give a file, or a folder with train.jsonl, validation.jsonl and test.jsonl")
    return files
