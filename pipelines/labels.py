"""`gradus data labels` and `gradus data mend`: labels of a run's data that are probably wrong, and the data mended."""

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from components.core.errors import ConfigError, GradusError
from components.tracking.reading import CONFIG, FACTS, PREDICTIONS, artifacts_of, find_run
from pipelines.comparing.answered import recorded_config
from pipelines.kinds import KINDS, config_class, kind_named, part_of
from pipelines.preparing.prepare import new_folder


class FoundLabels(BaseModel):
    """What was found of labels, and what `--json` prints."""

    run_id: str
    rows: int
    """Rows that were looked into."""
    found: int
    """Those whose label is probably wrong."""
    file: str
    """Where they stand."""
    note: str = ""
    """Why not all rows of the source were looked into, if so."""


class MendedData(BaseModel):
    """What was mended, and what `--json` prints."""

    run_id: str
    rows: int
    changed: int
    """Rows with another label."""
    left_out: int
    """Rows whose label was emptied."""
    preset: str
    note: str = ""


@dataclass(frozen=True)
class Left:
    """What a run has left."""

    run_id: str
    labels: Any
    """The part `labels` of its kind."""
    kind: str
    tree: dict[str, Any]
    """Its config as it is recorded."""
    data: Any
    predictions: Path


def find_labels(address: str, out: Path, home: Path) -> FoundLabels:
    """Write the rows of a run's data whose label is probably wrong to a CSV file, the most suspicious first.

    Args:
        address: a run or a model, as in `components.tracking.reading`.
        out: the file, which must not be there.
        home: the folder of the local store.

    Raises:
        ConfigError: if the file is there, or cannot be written.
        GradusError: if the run has no labels, or left no data.
        TrackingError: if there is no such run, or the store cannot be read.
    """
    check_new_file(out)
    with _left_by(address, home) as left:
        rows, found = left.labels.find(left.data)
        draft = out.with_name(f".{out.name}.{os.getpid()}")
        try:
            count = left.labels.write_found(left.data, rows, found, left.predictions, draft)
            draft.rename(out)
        except OSError as error:
            raise ConfigError(f"cannot write {out}: {error.strerror or error}") from error
        finally:
            draft.unlink(missing_ok=True)
        return FoundLabels(run_id=left.run_id, rows=len(rows), found=count, file=str(out), note=left.data.why_not)


def mend(address: str, mended: Path, suggested: bool, out: Path, home: Path) -> MendedData:
    """Write a run's data with mended labels, and a preset that runs on it, into a new folder.

    Args:
        address: a run or a model.
        mended: the file that `find_labels` wrote, with some labels changed, or emptied for a row that is to go.
        suggested: whether the suggested labels are taken instead.
        out: the folder.
        home: the folder of the local store.

    Raises:
        ConfigError: if the folder is there, or the file cannot be read or does not fit the data.
        GradusError, TrackingError: as `find_labels`.
    """
    with new_folder(out) as draft, _left_by(address, home) as left:
        mending = part_of(left.kind, "mending")
        labels = mending.read_mended(mended, left.data.labels, suggested)
        counts = mending.write_mended(left.data, labels, left.tree, draft)
    return MendedData(run_id=left.run_id, **counts, preset=str(out / "preset.yaml"), note=left.data.why_not)


def check_new_file(out: Path) -> None:
    """Raise ConfigError if a file is there, or its folder is not."""
    if out.exists():
        raise ConfigError(f"--output {out} is there already; name a new file")
    if not out.parent.is_dir():
        raise ConfigError(f"--output {out}: there is no folder {out.parent}")


@contextmanager
def _left_by(address: str, home: Path) -> Iterator[Left]:
    """Give what a run has left: its config, and the labelled rows of its data, which are deleted afterwards."""
    run = find_run(address, home)
    kind = kind_named(run.pipeline)
    if kind not in KINDS or not find_spec(f"{KINDS[kind]}.labels"):
        raise GradusError(f"run {run.run_id[:8]} is of the pipeline {kind}, whose data has no labels")
    labels = part_of(kind, "labels")
    with artifacts_of(run, [CONFIG, FACTS, PREDICTIONS], home) as paths, tempfile.TemporaryDirectory() as folder:
        if lacking := [name for name in (CONFIG, FACTS, PREDICTIONS) if name not in paths]:
            raise GradusError(
                f"run {run.run_id[:8]} ({run.status.lower()}) left no {' and no '.join(lacking)}; give a run that "
                "came to its end"
            )
        tree, facts = recorded_config(paths[CONFIG]), json.loads(paths[FACTS].read_text(encoding="utf-8"))
        try:
            config = config_class(kind).model_validate(tree)
        except ValidationError as error:
            raise GradusError(f"the config of run {run.run_id[:8]} is not one of this version; run it again") from error
        data = labels.read_data(config, facts, paths[PREDICTIONS], Path(folder))
        yield Left(run.run_id, labels, kind, tree, data, paths[PREDICTIONS])
