"""Verdicts of further judges on a run's responses, logged to that run under `judgements/<judge>/`."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from components.core.errors import TrackingError
from components.core.records import Facts
from components.tracking.runs import attached

JUDGEMENTS = "judgements"
VERDICTS, AGREEMENT, SCATTER = "verdicts.parquet", "agreement.json", "agreement.png"
JUDGE = "judge"
"""Key of `agreement.json` under which the facts of the judging stand."""
NOT_IN_A_NAME = re.compile(r"[^\w.-]+")


def judgement_name(judge: Mapping[str, Any]) -> str:
    """Return what a judge is called in artifacts and metrics: kind and model, as in `ollama-phi3`, or `lexical`."""
    return NOT_IN_A_NAME.sub("-", "-".join(str(judge[key]) for key in ("kind", "model") if judge[key]))


def log_beside(run_id: str, folder: Path, name: str, metrics: Mapping[str, float], home: Path) -> None:
    """Log to a run what was found out after its end: the files of a folder as artifacts in `name`, and metrics.

    Raises:
        TrackingError: if the store cannot be written.
    """
    with attached(run_id, home) as run:
        run.log_file(folder, name)
        if metrics:
            run.metrics(metrics, 0)


def logged_judgements(folder: Path) -> dict[Path, Facts]:
    """Return the facts of the judgings in a run's artifact folder `judgements`, by the verdicts' files.

    Raises:
        TrackingError: if a file cannot be read.
    """
    found = {}
    for file in sorted(folder.glob(f"*/{AGREEMENT}")):
        try:
            found[file.with_name(VERDICTS)] = dict(json.loads(file.read_text(encoding="utf-8"))[JUDGE])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise TrackingError(f"{JUDGEMENTS}/{file.parent.name}/{AGREEMENT} cannot be read: {error}") from error
    return found
