"""The step that evaluates responses: what it writes, how it sorts, and what it says."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from components.core.records import Facts
from components.evaluation.by_task import metric_names, most_common_responses
from components.evaluation.instruction import MOST_TASKS, evaluate_responses
from components.judging.config import JudgeConfig
from components.judging.judge import judge
from components.judging.lexical import measure

LLAMA = {
    "kind": "ollama",
    "model": "llama3",
    "digest": "sha256:1",
    "name": "llama3 (Ollama)",
    "is_language_model": True,
}
TASKS = ["yes/no", "plural (hard)", None]
TABLES = {"metrics.json", "responses.parquet", "tasks.parquet", "figures"}


class Bench:
    """Tables of a test split of 30 rows, of which 10 are of each of two tasks and 10 of none, and a training split."""

    def __init__(self, folder: Path, tasks: bool = True) -> None:
        self.folder = folder
        self.test = pd.DataFrame({"row": range(101, 131), "instruction": "Do it.", "input": ""})
        self.test["task"] = [TASKS[place % 3] for place in range(30)]
        self.test["output"] = ["yes", "cats", "Berlin"] * 10
        train = pd.DataFrame({"row": [1, 2, 3, 4, 5], "instruction": "Do it.", "input": ""})
        train["task"] = ["yes/no", "yes/no", "plural (hard)", "plural (hard)", None]
        train["output"] = ["no", "yes ", "mice", "cats", "Paris"]
        if not tasks:
            self.test, train = self.test.drop(columns="task"), train.drop(columns="task")
        train.to_parquet(folder / "train.parquet", index=False)

    def respond(self, name: str, right: int) -> Path:
        """Write responses of which the first `right` are the references."""
        said = [text if place < right else f"wrong {place}" for place, text in enumerate(self.test["output"])]
        path = self.folder / f"{name}.parquet"
        self.test.assign(model_response=said, new_tokens=3, stopped="end").to_parquet(path, index=False)
        return path

    def evaluate(self, right: int, before: int | None = 0, change: Any = None, **told: Any) -> Facts:
        """Judge lexically, let `change` alter the verdicts, and evaluate."""
        tables = {"model": self.respond("model", right)}
        if before is not None:
            tables["start"] = self.respond("start", before)
        for name in ("judge", "out"):
            (self.folder / name).mkdir()
        verdicts = self.folder / "judge/verdicts.parquet"
        config = JudgeConfig(kind="lexical")
        facts = judge(tables, config, None, self.folder / "verdicts.sqlite", self.folder / "judge")
        if change:
            frame = pd.read_parquet(verdicts)
            change(frame)
            frame.to_parquet(verdicts, index=False)
        return evaluate_responses(self.folder / "train.parquet", tables, verdicts, facts | told, self.folder / "out")

    def table(self, name: str) -> pd.DataFrame:
        return pd.read_parquet(self.folder / "out" / f"{name}.parquet")


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_everything_is_written_and_by_the_names_that_were_agreed(bench: Bench) -> None:
    facts = bench.evaluate(right=15)
    metrics = facts["metrics"]
    assert json.loads((bench.folder / "out/metrics.json").read_text()) == facts
    assert {path.name for path in (bench.folder / "out").iterdir()} == TABLES
    assert facts["rows"] == 30
    assert facts["judge"]["kind"] == "lexical"
    assert metrics["test/exact_match"] == 0.5
    assert metrics["start/test/exact_match"] == 0
    assert (metrics["reference/test/score"], metrics["reference/test/exact_match"]) == (100, 1)
    assert metrics["test/exact_match_low"] < 0.5 < metrics["test/exact_match_high"]
    names = ("score", "score_low", "score_high", "score_median", "unparsed_share", "token_f1", "chrf")
    assert {f"{whose}test/{name}" for whose in ("", "start/", "reference/") for name in names} <= metrics.keys()
    assert metrics["test/exact_match/yes_no"] == metrics["test/exact_match/plural _hard"] == 0.5
    assert metrics["start/test/score/no task"] < metrics["test/score/no task"]
    assert list(bench.table("responses").columns) == [
        "row", "task", "instruction", "input", "reference", "response", "score", "reason", "status", "exact_match",
        "token_f1", "chrf", "start_response", "start_score", "new_tokens", "stopped",
    ]  # fmt: skip
    scores = bench.table("figures/scores")
    assert list(scores.columns) == ["of", "low", "high", "rows"]
    assert scores.groupby("of")["rows"].sum().to_dict() == {"model": 30, "reference": 30, "start": 30}


@pytest.mark.ci
def test_the_worst_comes_first_and_what_has_no_score_last(bench: Bench) -> None:
    def change(verdicts: pd.DataFrame) -> None:
        mine = verdicts["of"] == "model"
        verdicts["score"] = (verdicts["score"] + 1).clip(upper=100)
        verdicts.loc[mine & (verdicts["row"] == 125), ["score", "status"]] = [None, "unparsed"]
        verdicts.loc[mine & (verdicts["row"] == 120), "score"] = 0.0

    facts = bench.evaluate(right=15, change=change)
    table = bench.table("responses")
    assert len(table) == 30
    assert (table["row"].iloc[0], table["row"].iloc[-1], table["status"].iloc[-1]) == (120, 125, "unparsed")
    assert table["score"].iloc[:-1].is_monotonic_increasing
    start = pd.read_parquet(bench.folder / "start.parquet").set_index("row")["model_response"]
    assert table.set_index("row")["start_response"].to_dict() == start.to_dict()
    assert facts["metrics"]["test/unparsed_share"] == 1 / 30
    assert facts["warnings"] == ["1 of 30 verdicts on the model's responses could not be read and are in no mean score"]
    # Row 125 is of the first task: its ten rows count, nine have a score.
    by_task = {each["task"]: each for each in facts["tasks"]}
    assert by_task["yes/no"]["rows"] == 10
    assert table[table["task"] == "yes/no"]["score"].mean() == pytest.approx(by_task["yes/no"]["score"])
    assert "on the 29 rows that both have a score of" in facts["verdict"]


@pytest.mark.ci
def test_the_baseline_says_each_tasks_most_common_response_the_first_of_equals(bench: Bench) -> None:
    facts = bench.evaluate(right=15)
    found = most_common_responses(bench.folder / "train.parquet")
    assert found.by_task == {"yes/no": "no", "plural (hard)": "mice", None: "Paris"}
    assert found.overall == "no"
    assert facts["metrics"]["baseline/test/exact_match"] == 0
    train = pd.read_parquet(bench.folder / "train.parquet")
    pd.concat([train, train[train["output"] == "yes "]]).to_parquet(bench.folder / "train.parquet", index=False)
    matches = most_common_responses(bench.folder / "train.parquet").matches(bench.test["task"], bench.test["output"])
    assert matches.tolist() == [True, False, False] * 10


def test_without_tasks_the_baseline_is_one_response_and_there_are_no_figures_by_task(tmp_path: Path) -> None:
    bench = Bench(tmp_path, tasks=False)
    facts = bench.evaluate(right=30)
    assert (facts["tasks"], len(bench.table("tasks")), "task" in bench.table("responses")) == ([], 0, False)
    assert not [name for name in facts["metrics"] if name.count("/") > 1 and not name.startswith(("start", "reference"))
                and name != "baseline/test/exact_match"]  # fmt: skip
    assert "than with the most common training response" in facts["verdict"]


def test_exact_match_means_the_same_as_in_the_verdicts(bench: Bench) -> None:
    texts = ["yes", "yes ", "\nyes", "Yes", "yes.", ""]
    found = most_common_responses(bench.folder / "train.parquet")
    for text in texts:
        [verdict] = measure([("no", text)])
        assert found.matches(pd.Series(["yes/no"]), pd.Series([text])).tolist() == [bool(verdict.exact_match)]


def test_the_verdict_compares_and_names_the_judge_honestly(bench: Bench) -> None:
    facts = bench.evaluate(right=24)
    start, rest = facts["verdict"].split(". ", 1)
    assert start.startswith("On 30 test rows the fine-tuned model scores 8")
    assert "by chrF against the reference (lexical: no language model), against " in start
    assert "for the starting model (difference +" in start
    assert start.endswith("; permutation p < 0.001)")
    assert rest == (
        "80.0% of its responses are the reference word for word (95 % 62.7% to 90.5%): significantly more than of the "
        "starting model's (0.0%, McNemar p < 0.001) and significantly more than with each task's most common training "
        "response (0.0%, McNemar p < 0.001)."
    )


def test_a_verdict_that_finds_nothing_says_so(bench: Bench) -> None:
    verdict = bench.evaluate(right=3, before=3)["verdict"]
    assert "difference +0.0, 0.0 to 0.0; not significant, permutation p = 1.000" in verdict
    assert "not significantly more or fewer than of the starting model's (10.0%, McNemar p = 1.000)" in verdict


@pytest.mark.ci
def test_a_worse_model_is_called_worse(bench: Bench) -> None:
    verdict = bench.evaluate(right=0, before=30)["verdict"]
    assert "difference -" in verdict
    assert "significantly fewer than of the starting model's (100.0%, McNemar p < 0.001)" in verdict


def test_a_lexical_measure_is_never_called_a_judge_by_a_language_model(bench: Bench) -> None:
    assert (
        "by chrF (lexical: no language model)"
        in bench.evaluate(right=1, judge={**LLAMA, "name": "chrF", "is_language_model": False})["verdict"]
    )


def test_without_a_starting_model_its_columns_are_empty(bench: Bench) -> None:
    facts = bench.evaluate(right=15, before=None, judge=LLAMA)
    table = bench.table("responses")
    assert table["start_response"].isna().all()
    assert table["start_score"].isna().all()
    assert str(table["start_response"].dtype) == "str"
    assert not [name for name in facts["metrics"] if name.startswith("start/")]
    assert {each["score_before"] for each in facts["tasks"]} == {None}
    assert "starting model" not in facts["verdict"]
    assert "by llama3 (Ollama). " in facts["verdict"]


def test_references_that_score_low_are_a_warning(bench: Bench) -> None:
    def change(verdicts: pd.DataFrame) -> None:
        verdicts.loc[verdicts["of"] == "reference", "score"] = 80.0

    assert bench.evaluate(right=15, change=change, judge=LLAMA)["warnings"] == [
        "llama3 (Ollama) gives the references themselves 80.0 on average; a sane judge puts references above 95, so "
        "its scores say little"
    ]


def test_no_verdict_at_all_still_makes_an_evaluation(bench: Bench) -> None:
    def change(verdicts: pd.DataFrame) -> None:
        verdicts["score"], verdicts["status"] = float("nan"), "unparsed"

    facts = bench.evaluate(right=15, change=change)
    assert "test/score" not in facts["metrics"]
    assert facts["metrics"]["test/exact_match"] == 0.5
    assert "has no score: no verdict could be read" in facts["verdict"]
    assert len(facts["warnings"]) == 3


def test_models_that_answered_other_rows_are_a_mistake_of_the_caller(bench: Bench) -> None:
    tables = {"model": bench.respond("model", 3), "start": bench.respond("start", 3)}
    verdicts = bench.folder / "verdicts.parquet"
    (bench.folder / "judge").mkdir()
    (bench.folder / "out").mkdir()
    facts = judge(tables, JudgeConfig(kind="lexical"), None, bench.folder / "cache", bench.folder / "judge")
    (bench.folder / "judge/verdicts.parquet").rename(verdicts)
    pd.read_parquet(tables["start"]).assign(row=lambda frame: frame["row"] + 1).to_parquet(tables["start"])
    with pytest.raises(ValueError, match="did not answer the same rows"):
        evaluate_responses(bench.folder / "train.parquet", tables, verdicts, facts, bench.folder / "out")


def test_names_of_tasks_fit_into_names_of_metrics() -> None:
    assert len(metric_names(["long " * 100])[0]) <= 200
    assert metric_names(["yes/no", "yes no?", "yes_no", "반의어", "..", "yes/no"]) == [
        "yes_no", "yes no", "yes_no 2", "반의어", "_", "yes_no 3"
    ]  # fmt: skip


def test_a_column_that_holds_no_kinds_of_task_does_not_make_thousands_of_figures(bench: Bench) -> None:
    bench.test = pd.concat([bench.test] * 4, ignore_index=True)
    bench.test["row"], bench.test["task"] = range(len(bench.test)), [f"{place}" for place in range(len(bench.test))]
    facts = bench.evaluate(right=3)
    assert len(facts["tasks"]) == MOST_TASKS
    assert len(bench.table("tasks")) == 120
    assert "there are 120 tasks, of which the 100 largest have figures; is it the right column?" in facts["warnings"]
