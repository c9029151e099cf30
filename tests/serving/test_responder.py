"""A language model that is served: the same answers whatever asks it, and a line for what cannot be asked."""

import sys
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import pandas as pd
import pytest
import torch
from mlflow.exceptions import MlflowException

from components.generation.config import GenerationConfig
from components.generation.responses import respond
from components.models.saved.language_model import load_gpt
from components.serving.language_model import DEFAULTS, load_responder
from components.serving.load import load_model
from components.tracking.registry.packages import language_model_package

ROWS = pd.DataFrame(
    {
        "instruction": ["Say hello", "Name a bird", "", "Grüße 🎁", "x" * 200],
        "input": ["", "in winter", "nothing", "", ""],
    },
    index=[3, 1, 4, 15, 9],
)
FP32 = {"precision": "fp32", "max_new_tokens": 20}


@pytest.fixture(scope="module")
def served(saved_language_model: Path) -> Any:
    """The model from code, as MLflow runs it: its file is not imported as a module."""
    import runpy

    path = Path(__file__).parents[2] / "components/serving/responder.py"
    return runpy.run_path(str(path))["InstructionResponder"](saved_language_model)


def expected(folder: Path, **options: Any) -> pd.DataFrame:
    config = GenerationConfig(**{**FP32, **options})
    return load_responder(folder).respond(ROWS["instruction"].tolist(), ROWS["input"].tolist(), config)


def test_rows_are_answered_with_their_index_kept(served: Any, saved_language_model: Path) -> None:
    found = served.predict(ROWS, FP32)
    assert list(found.columns) == ["response"]
    assert found.index.tolist() == [3, 1, 4, 15, 9]
    assert found["response"].tolist() == expected(saved_language_model)["response"].tolist()
    assert found["response"].tolist()[:4] != [""] * 4
    assert found["response"].nunique() > 2
    assert found.loc[9, "response"] == "", "its prompt alone fills the context"


@pytest.mark.ci
def test_the_step_and_the_served_model_give_the_same_answers(
    served: Any, saved_language_model: Path, tmp_path: Path
) -> None:
    frame = ROWS.assign(row=range(5), output="")
    frame.to_parquet(tmp_path / "entries.parquet", index=False)
    loaded = load_gpt(saved_language_model)
    for options in ({}, {"temperature": 0.8, "top_k": 20, "seed": 4, "batch_size": 2}):
        config = GenerationConfig(**{**FP32, **options})
        out = tmp_path / f"out{len(options)}"
        out.mkdir()
        respond(
            tmp_path / "entries.parquet",
            loaded.model,
            loaded.encoding,
            loaded.card.template,
            config,
            torch.device("cpu"),
            out,
        )
        step = pd.read_parquet(out / "responses.parquet")["model_response"].tolist()
        assert served.predict(ROWS, {**FP32, **options})["response"].tolist() == step
        assert load_model(saved_language_model).respond(
            ROWS["instruction"].tolist(), ROWS["input"].tolist(), config
        )["response"].tolist() == step  # fmt: skip


@pytest.mark.ci
def test_an_input_may_be_absent_or_missing(served: Any) -> None:
    without = ROWS[["instruction"]]
    empty = served.predict(without.assign(input=""), FP32)
    pd.testing.assert_frame_equal(served.predict(without, FP32), empty)
    pd.testing.assert_frame_equal(served.predict(without.assign(input=None), FP32), empty)
    pd.testing.assert_frame_equal(served.predict(without.assign(input=float("nan")), FP32), empty)
    assert not served.predict(ROWS, FP32).equals(empty)


def test_no_rows_have_no_answers(served: Any) -> None:
    assert served.predict(ROWS.iloc[:0], FP32)["response"].tolist() == []


@pytest.mark.ci
@pytest.mark.parametrize("params", [None, {}, {"top_k": None, "top_p": None, "temperature": 0.0}])
def test_what_is_not_given_is_as_by_default(
    served: Any, saved_language_model: Path, params: dict[str, Any] | None
) -> None:
    found = served.predict(ROWS, params)["response"].tolist()
    assert found == expected(saved_language_model, **DEFAULTS.model_dump())["response"].tolist()


@pytest.mark.parametrize(
    ("data", "params", "message"),
    [
        (pd.DataFrame({"text": ["a"]}), {}, "no column 'instruction' but 'text'"),
        (["a"], {}, "no column 'instruction'"),
        (pd.DataFrame({"instruction": ["a", None, 3]}), {}, "2 of 3 instructions are missing or not strings"),
        (pd.DataFrame({"instruction": ["a"], "input": [3]}), {}, "1 of 1 inputs are not strings"),
        (ROWS, {"batch_size": 0}, "batch_size: Input should be greater"),
        (ROWS, {"max_new_tokens": -1}, "max_new_tokens: Input should be greater"),
        (ROWS, {"top_k": 3}, "top_k has no effect at temperature 0"),
        (ROWS, {"tempreature": 3}, "tempreature: Extra inputs"),
    ],
)
def test_what_cannot_be_asked_is_one_line(served: Any, data: Any, params: dict[str, Any], message: str) -> None:
    with pytest.raises(MlflowException, match=message) as refused:
        served.predict(data, params)
    assert "\n" not in str(refused.value)


@pytest.mark.ci
def test_a_logged_model_answers_through_mlflow_and_through_this_installation(
    saved_language_model: Path, tmp_path: Path
) -> None:
    rows = ROWS.head(2).to_dict("records")
    language_model_package(saved_language_model, rows).write(tmp_path / "logged", run_id=None)
    path = list(sys.path)
    said = load_model(tmp_path / "logged").respond(["Say hello"], [""], GenerationConfig(**FP32))
    assert sys.path == path, "the model's copy of the code is not put before this installation's"
    assert said["response"].tolist() == expected(saved_language_model)["response"].tolist()[:1]
    logged = mlflow.pyfunc.load_model(str(tmp_path / "logged"))
    found = logged.predict(ROWS, params={"max_new_tokens": 20})
    assert len(found) == 5
    assert found["response"].map(type).eq(str).all()
