"""A finished run and what it answered: what is judged, compared in pairs and rated."""

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from components.core.errors import JudgeError
from components.core.records import Facts
from components.core.store import replace_folder
from components.core.yaml_loader import InvalidYAML, read_yaml
from components.tracking.reading import CONFIG, FACTS, RESPONSES, RecordedRun, artifacts_of, find_run
from pipelines.kind import kind_of
from pipelines.kinds import kind_named


@dataclass(frozen=True)
class AnsweredRun:
    """A finished run that has answered its test rows."""

    run: RecordedRun
    responses: pd.DataFrame
    """As `responses.parquet` has them."""
    facts: dict[str, Facts]
    """Of its steps."""
    config: dict[str, Any]


def answered_run(address: str, home: Path) -> AnsweredRun:
    """Return a finished run with its responses.

    Raises:
        JudgeError: if it has none, did not come to its end, or its config cannot be read.
        TrackingError: if there is no such run, or the store cannot be read.
    """
    run = find_run(address, home)
    if RESPONSES not in kind_of(run).needs:
        raise JudgeError(
            f"run {run.run_id[:8]} is of the pipeline {kind_named(run.pipeline)}, which makes no responses; "
            "give an instruction run"
        )
    if not run.finished:
        raise JudgeError(f"run {run.run_id[:8]} is {run.status.lower()}, not finished; judge one that came to its end")
    with artifacts_of(run, [RESPONSES, FACTS, CONFIG], home) as paths:
        if lacking := [name for name in (RESPONSES, FACTS, CONFIG) if name not in paths]:
            raise JudgeError(f"run {run.run_id[:8]} left no {' and no '.join(lacking)}: there is nothing to judge")
        facts: dict[str, Facts] = json.loads(paths[FACTS].read_text(encoding="utf-8"))
        return AnsweredRun(run, pd.read_parquet(paths[RESPONSES]), facts, recorded_config(paths[CONFIG]))


def recorded_config(path: Path) -> dict[str, Any]:
    """Return a run's own config; raises JudgeError if somebody changed it so that it cannot be read."""
    try:
        with path.open("rb") as file:
            tree: dict[str, Any] = read_yaml(file)
    except InvalidYAML as error:
        raise JudgeError(f"the run's {CONFIG} cannot be read: {error}; somebody changed it") from error
    return tree


@contextmanager
def judging_folder(home: Path, run: RecordedRun) -> Iterator[Path]:
    """Give a folder to write into, which is deleted afterwards, or kept if an error calls it its evidence."""
    root = home / "judgements"
    root.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{run.run_id[:8]}-", dir=root))
    try:
        yield draft
    except JudgeError as error:
        if error.evidence == draft:
            error.evidence = root / f"{run.run_id}.failed"
            replace_folder(draft, error.evidence)
        raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)
