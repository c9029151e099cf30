"""Finished instruction runs as their flow leaves them in MLflow, made by the real steps from a few rows of text."""

from hashlib import sha256
from pathlib import Path
from typing import Any

import pandas as pd
from click.testing import Result
from typer.testing import CliRunner

from components.core.records import Facts
from components.evaluation.instruction import evaluate_responses
from components.judging.config import JudgeConfig
from components.judging.judge import judge
from components.prompts import PromptConfig
from components.tracking.config import TrackingConfig
from components.tracking.runs import open_run
from pipelines.cli.main import app

QUIET = TrackingConfig(experiment="answered", system_metrics=False)
PROMPT = PromptConfig()
ROWS = 120
TASKS = ("plural", "antonym")


def entries(rows: int, first: int = 1) -> pd.DataFrame:
    """Return rows of an instruction table; every other one has an input."""
    numbers = range(first, first + rows)
    return pd.DataFrame(
        {
            "row": numbers,
            "instruction": [f"Say the number {number}." for number in numbers],
            "input": ["" if number % 2 else "in words" for number in numbers],
            "output": [sha256(str(number).encode()).hexdigest()[:12] + f" is {number}." for number in numbers],
            "task": [TASKS[number % 2] for number in numbers],
        }
    )


def respond(test: pd.DataFrame, wrong: int, path: Path, instead: str = "No idea") -> Path:
    """Write responses of which the first `wrong` are other texts than the references."""
    said = [text if place >= wrong else f"{instead} zq {len(text)}." for place, text in enumerate(test["output"])]
    test.assign(model_response=said, new_tokens=5, stopped="end").to_parquet(path, index=False)
    return path


def steps(folder: Path, wrong: int, settings: dict[str, Any], first: int = 1) -> tuple[Path, dict[str, Facts]]:
    """Judge and evaluate responses; return the folder of the step `evaluate` and the facts of the steps."""
    folder.mkdir(parents=True)
    test = entries(ROWS, first)
    entries(40, 10_000).to_parquet(folder / "train.parquet", index=False)
    tables = {"model": respond(test, wrong, folder / "model.parquet")}
    tables["start"] = respond(test, ROWS, folder / "start.parquet", "Number")
    for name in ("judge", "evaluate"):
        (folder / name).mkdir()
    cache = folder / "verdicts.sqlite"
    judged = judge(tables, JudgeConfig.model_validate(settings), PROMPT.text, cache, folder / "judge")
    verdicts = folder / "judge/verdicts.parquet"
    scores = evaluate_responses(folder / "train.parquet", tables, verdicts, judged, folder / "evaluate")
    overlap = {"test": {"exact": 0, "folded": 0}}
    facts = {"split": {"overlap": overlap}, "respond": {"rows": ROWS}, "judge": judged, "evaluate": scores}
    return folder / "evaluate", facts


def answered_run(
    home: Path, folder: Path, wrong: int, judge: dict[str, Any] | None = None, first: int = 1, **params: Any
) -> str:
    """Record a finished instruction run whose first `wrong` test responses are not the references; return its id."""
    settings = {"kind": "lexical", **(judge or {})}
    out, facts = steps(folder, wrong, settings, first)
    judging = JudgeConfig.model_validate(settings).model_dump(mode="json")
    config = {"pipeline": "instruction", "prompt": PROMPT.model_dump(mode="json"), "judge": judging}
    with open_run(QUIET, home, "answered", {**config, **params}) as run:
        run.metrics({key: value for key, value in facts["evaluate"]["metrics"].items() if "task" not in key}, 1)
        run.log_file(out / "responses.parquet")
        run.log_dict(facts, "facts.json")
    return run.run_id


def gradus(home: Path, *arguments: str) -> Result:
    """Run a command in this process, as if it had been typed."""
    return CliRunner().invoke(app, list(arguments), env={"GRADUS_HOME": str(home), "COLUMNS": "150"})
