"""What further judges said of a run's responses, logged to that run under `judgements/<judge>/`."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.core.errors import TrackingError
from components.core.records import Facts
from components.tracking.runs import attached

if TYPE_CHECKING:
    from matplotlib.figure import Figure

JUDGEMENTS = "judgements"
VERDICTS, AGREEMENT, SCATTER = "verdicts.parquet", "agreement.json", "agreement.png"
JUDGE = "judge"
"""Key of `agreement.json` under which the facts of the judging stand."""
NOT_IN_A_NAME = re.compile(r"[^\w.-]+")
LARGEST = 900.0
"""Area of the largest dot, in square points."""


def judgement_name(judge: Mapping[str, Any]) -> str:
    """Return what a judge is called in artifacts and metrics: kind and model, as in `ollama-phi3`, or `lexical`."""
    return NOT_IN_A_NAME.sub("-", "-".join(str(judge[key]) for key in ("kind", "model") if judge[key]))


def log_judgement(
    run_id: str, name: str, folder: Path, figure: "Figure", metrics: Mapping[str, float], home: Path
) -> None:
    """Log a judging to the run whose responses were judged.

    What a judge of this name said before is written over.

    Args:
        run_id: the run.
        name: what the judge is called: `judgement_name`.
        folder: holds `verdicts.parquet` and `agreement.json`; the figure is written beside them.
        figure: both judges' scores: `agreement_figure`.
        metrics: logged as `judgement/<name>/...`.
        home: the folder of the local store.

    Raises:
        TrackingError: if the store cannot be written.
    """
    figure.savefig(folder / SCATTER, dpi=144)
    with attached(run_id, home) as run:
        run.log_file(folder, f"{JUDGEMENTS}/{name}")
        run.metrics({f"judgement/{name}/{metric}": value for metric, value in metrics.items()}, 0)


def logged_judgements(folder: Path) -> dict[Path, Facts]:
    """Return the facts of the judgings in a run's artifact folder `judgements`, by the verdicts' files.

    Raises:
        TrackingError: if a file cannot be read.
    """
    return {file.with_name(VERDICTS): _facts(file) for file in sorted(folder.glob(f"*/{AGREEMENT}"))}


def agreement_figure(first: Sequence[float], second: Sequence[float], names: tuple[str, str]) -> "Figure":
    """Return two judges' scores of the same responses against each other, a dot a pair of scores.

    The area of a dot is the number of responses that have these two scores: whole numbers often coincide.

    Args:
        first: the scores (N) of one judge; nan for none, which is not drawn.
        second: those of the other.
        names: of the two judges.
    """
    import pandas as pd
    from matplotlib.figure import Figure

    from components.tracking.plots import BLUE, FONT

    scores = pd.DataFrame({"first": first, "second": second}).dropna().round(1)
    counted = scores.value_counts().reset_index(name="rows")
    figure = Figure(figsize=(6.4, 6.2), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 100], [0, 100], color="#777777", linestyle=":", linewidth=1.2, label="the same score")
    most = max(int(counted["rows"].max()), 1) if len(counted) else 1
    area = (LARGEST * counted["rows"] / most).clip(lower=16) if most > 1 else 28
    axes.scatter(counted["first"], counted["second"], area, color=BLUE, alpha=0.45, linewidths=0)
    axes.set(xlim=(-4, 104), ylim=(-4, 104), aspect="equal")
    axes.set_xlabel(f"score by {names[0]}", parse_math=False)
    axes.set_ylabel(f"score by {names[1]}", parse_math=False)
    axes.set_title(f"{len(scores):,} responses with a score of both", fontsize=FONT + 1)
    axes.grid(visible=True, color="#dddddd", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.legend(frameon=False, fontsize=FONT - 1, loc="upper left")
    return figure


def _facts(file: Path) -> Facts:
    try:
        told: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return dict(told[JUDGE])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TrackingError(f"{JUDGEMENTS}/{file.parent.name}/{AGREEMENT} cannot be read: {error}") from error
