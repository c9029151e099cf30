"""The manifests of an instruction run, from small files: what the steps write, as their contract says."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from components.core.records import Manifest
from components.core.store import describe
from components.evaluation.instruction import evaluate_responses

URL = "https://data.example/instruction-<data>.json"
HOSTILE = "<script>alert('{}')</script> <img src=http://evil.example/x.png> | **bold**"
SPLITS = {"train": 40, "validation": 8, "test": 24}
TASKS = ("plural", "antonym", "yes/no", "arithmetic")
MODELS = ("model", "start", "reference")
LLAMA = {
    "kind": "ollama",
    "model": "llama3",
    "digest": "sha256:365c0bd3c000a25d28ddbf732fe1c6add414de7275464c4e4d1c3b5fcb5d8ad1",
    "name": "llama3 (Ollama, 365c0bd3c000)",
    "is_language_model": True,
}
LEXICAL = {
    "kind": "lexical",
    "model": None,
    "digest": None,
    "name": "chrF against the reference (lexical: no language model)",
    "is_language_model": False,
}
Steps = dict[str, Manifest]


def instruction_manifests(
    folder: Path, judge: Mapping[str, Any] = LLAMA, tasks: bool = True, start: bool = True, model: Path | None = None
) -> Steps:
    """Write the files of a whole run below `folder` and return the manifests, as the flow hands them to tracking.

    One verdict on the model's responses is unparsed where a language model judges. `model` is a saved language model
    that `fine_tune/model` becomes a copy of.
    """
    made = Run(folder, judge, tasks, start)
    made.data()
    made.training(model)
    made.responses()
    made.judgement()
    return made.steps


class Run:
    """A run that is being made up, a step at a time."""

    def __init__(self, folder: Path, judge: Mapping[str, Any], tasks: bool, start: bool) -> None:
        self.folder, self.judge, self.tasks, self.start = folder, judge, tasks, start
        self.steps: Steps = {}
        self.entries = entries(sum(SPLITS.values()), tasks)
        self.test = self.entries.tail(SPLITS["test"]).reset_index(drop=True)

    def data(self) -> None:
        out = self.out("download")
        self.entries.to_parquet(out / "table.parquet", index=False)
        rows = len(self.entries)
        self.done("download", url=URL, member=None, sha256="ab" * 32, bytes=1, rows=rows, columns={})
        report = {"verdict": "accepted", "rows_in": rows + 3, "rows_out": rows, "expectations": []}
        (self.out("validate") / "report.json").write_text(json.dumps(report))
        tokens = {"longest": 61, "mean": 48.25}
        checked = {"rows_in": rows + 3, "rows_out": rows, "rejected": {"output is blank": 3}, "warnings": ["2 twice"]}
        self.done("validate", **checked, expectations=[], empty_inputs=0.5, tasks={}, tokens=tokens)
        place, out = 0, self.out("split")
        for name, count in SPLITS.items():
            self.entries.iloc[place : place + count].to_parquet(out / f"{name}.parquet", index=False)
            place += count
        none = {"exact": 0, "folded": 0}
        overlap = {"validation": none, "test": {"exact": 0, "folded": 1}, "test_validation": none}
        self.done("split", rows=SPLITS, overlap=overlap, tasks={})

    def training(self, model: Path | None) -> None:
        out = self.out("fine_tune")
        (out / "model").mkdir()
        for file in model.iterdir() if model else ():
            (out / "model" / file.name).write_bytes(file.read_bytes())
        if not model:
            (out / "model/model.json").write_text("{}")
        history(11).to_parquet(out / "history.parquet", index=False)
        steps = pd.DataFrame({"step": range(1, 51), "loss": 1.0, "gradient_norm": 1.0, "learning_rate": 1e-3})
        steps["epoch"], steps["examples_seen"] = steps["step"] / 5, steps["step"] * 8
        steps.assign(tokens_seen=steps["step"] * 390).to_parquet(out / "steps.parquet", index=False)
        samples(11).to_parquet(out / "samples.parquet", index=False)
        first, last = (float(history(11)["validation_loss"].iloc[place]) for place in (0, -1))
        self.done(
            "fine_tune",
            steps=50,
            kept_step=50,
            best_step=50,
            stopped_early=False,
            longest_train_tokens=58,
            max_length=64,
            truncated_rows={"train": 2, "validation": 0, "test": 0},
            trained_token_share=0.31,
            tokens_seen=19_500,
            batch_size=8,
            rows_per_step=8,
            parameters=163_840,
            trained_parameters=163_840,
            device="cpu",
            precision="fp32",
            template="alpaca",
            initial_validation_loss=first,
            validation_loss=last,
            validation_perplexity=math.exp(last),
        )

    def responses(self) -> None:
        for step, of in (("respond", "model"), ("respond_before", "start")):
            if of == "start" and not self.start:
                continue
            out = self.out(step)
            said = self.test.rename(columns={}).assign(model_response=[respond(of, *each) for each in self.pairs()])
            said["new_tokens"] = [2 + 3 * place % 17 for place in range(len(said))]
            said["stopped"] = ["length" if place == 5 else "end" for place in range(len(said))]
            said.to_parquet(out / "responses.parquet", index=False)
            columns = ["instruction", "input", "output", "model_response"]
            (out / "instruction-data-with-response.json").write_text(said[columns].to_json(orient="records"))
            stopped = {"end": len(said) - 1, "length": 1}
            empty = int((said["model_response"] == "").sum())
            self.done(
                step, rows=len(said), stopped=stopped, empty=empty, new_tokens=200, device="cpu", precision="fp32"
            )

    def judgement(self) -> None:
        out = self.out("judge")
        judged = [of for of in MODELS if of != "start" or self.start]
        rows = [self.verdict(of, place) for of in judged for place in range(len(self.test))]
        pd.DataFrame(rows).to_parquet(out / "verdicts.parquet", index=False)
        rubric = None
        if self.judge["is_language_model"]:
            (out / "rubric.yaml").write_text("version: 1\n")
            rubric = 1
        frame = pd.DataFrame(rows)
        counts = {
            of: {name: int((part["status"] == name).sum()) for name in ("scored", "unparsed")}
            for of, part in frame.groupby("of")
        }
        self.done("judge", judge=dict(self.judge), rubric=rubric, repeats=1, counts=counts)
        responses = {"model": self.steps["respond"].path("responses.parquet")}
        if self.start:
            responses["start"] = self.steps["respond_before"].path("responses.parquet")
        train, verdicts = self.steps["split"].path("train.parquet"), self.steps["judge"].path("verdicts.parquet")
        facts = evaluate_responses(train, responses, verdicts, self.steps["judge"].facts, self.out("evaluate"))
        self.done("evaluate", **facts)

    def verdict(self, of: str, place: int) -> dict[str, Any]:
        reference = str(self.test["output"][place])
        said = reference if of == "reference" else respond(of, place, reference)
        right = said == reference
        score = 100.0 if right else {"model": 10.0 + 7 * (place % 9), "start": 3.0 * (place % 4)}[of]
        unread = of == "model" and place == 7 and self.judge["is_language_model"]
        reason = "The response says what the reference says." if right else HOSTILE.format(f"reason {place}")
        return {
            "of": of,
            "row": int(self.test["row"][place]),
            "repeat": 0,
            "score": None if unread else score,
            "reason": "" if unread else reason,
            "status": "unparsed" if unread else "scored",
            "reply": "eighty" if unread else "",
            "exact_match": float(right),
            "token_f1": 1.0 if right else 0.25,
            "chrf": 100.0 if right else 31.5,
        }

    def pairs(self) -> list[tuple[int, str]]:
        return list(enumerate(self.test["output"]))

    def out(self, step: str) -> Path:
        path = self.folder / step
        path.mkdir(parents=True)
        return path

    def done(self, step: str, **facts: Any) -> None:
        folder = self.folder / step
        self.steps[step] = Manifest(step=step, key="k", folder=folder, files=describe(folder), facts=facts, seconds=1.5)


def entries(count: int, tasks: bool) -> pd.DataFrame:
    """Entries of four tasks; every second has no input; they hold HTML and pipes."""
    frame = pd.DataFrame({"row": range(1, count + 1)})
    frame["instruction"] = [f"Do what {HOSTILE.format(place)} says, word {place}." for place in frame["row"]]
    frame["input"] = ["" if place % 2 else f"input {place}" for place in frame["row"]]
    frame["output"] = [f"the answer {place % 6}" for place in frame["row"]]
    if tasks:
        frame["task"] = [TASKS[place % len(TASKS)] for place in frame["row"]]
    return frame


def respond(of: str, place: int, reference: str) -> str:
    """What the model says: every second time the reference; before training nothing that makes sense."""
    if of == "start":
        return "" if place == 3 else f"zxq {place}"
    return reference if place % 2 else f"{HOSTILE.format(place)} is not it"


def history(rows: int) -> pd.DataFrame:
    """As many evaluations, five steps apart; the tokens of a step differ."""
    frame = pd.DataFrame({"step": [5 * place for place in range(rows)]})
    frame["epoch"], frame["examples_seen"] = frame["step"] / 5, frame["step"] * 8
    frame["tokens_seen"] = [step * 390 + (step % 3) * 20 for step in frame["step"]]
    for split, floor in (("train", 0.6), ("validation", 0.9)):
        frame[f"{split}_loss"] = [floor + 6.0 * math.exp(-place / 2) for place in range(rows)]
        frame[f"{split}_accuracy"] = [1 - math.exp(-(place + 1) / 4) for place in range(rows)]
    return frame


def samples(rows: int) -> pd.DataFrame:
    """What was said to one entry of the validation split at every evaluation."""
    frame = pd.DataFrame({"step": [5 * place for place in range(rows)]})
    frame["epoch"] = frame["step"] / 5
    said = {"row": 41, "instruction": HOSTILE.format("sample"), "input": "some input", "reference": "the answer 5"}
    return frame.assign(**said, response=[f"said at step {step}" for step in frame["step"]])
