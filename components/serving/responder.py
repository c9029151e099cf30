"""What a logged language model that follows instructions does when it is asked through MLflow."""

from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.exceptions import MlflowException

INSTRUCTION, INPUT = "instruction", "input"


class InstructionResponder:
    """Rows of `instruction` and, optionally, `input` in; a row each out, with the `response`."""

    def __init__(self, folder: Path) -> None:
        """Read weights, vocabulary and template from the saved model's folder; on a GPU if the machine has one."""
        from components.models.devices import pick_device
        from components.serving.language_model import load_responder

        self.responder = load_responder(folder, str(pick_device("auto")))

    def predict(self, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Answer a table with a column `instruction` and, if wanted, `input`, in which nothing may be missing too.

        The table returned has the index of the one that came in. `params` may hold the fields of `GenerationConfig`:
        `max_new_tokens`, `temperature`, `top_k`, `top_p`, `seed`, `batch_size`, `precision`.
        """
        instructions, inputs = entries(model_input)
        config = generation(params)
        answers = self.responder.respond(instructions, inputs, config)
        return answers[["response"]].set_index(model_input.index)


def entries(data: Any) -> tuple[list[str], list[str]]:
    """Return the instructions and inputs of what a caller passed, or say what is wrong with it."""
    if not isinstance(data, pd.DataFrame) or INSTRUCTION not in data:
        names = ", ".join(map(repr, data.columns)) if isinstance(data, pd.DataFrame) else "no columns"
        raise MlflowException.invalid_parameter_value(
            f"the input has no column {INSTRUCTION!r} but {names}: pass a table with {INSTRUCTION!r}, and {INPUT!r} "
            "where an instruction applies to something"
        )
    instructions = data[INSTRUCTION].tolist()
    wrong = sum(not isinstance(value, str) for value in instructions)
    if wrong:
        raise MlflowException.invalid_parameter_value(
            f"{wrong} of {len(instructions)} instructions are missing or not strings"
        )
    given = data[INPUT].astype(object) if INPUT in data else pd.Series("", data.index, dtype=object)
    inputs = given.where(given.notna(), "").tolist()
    if wrong := sum(not isinstance(value, str) for value in inputs):
        raise MlflowException.invalid_parameter_value(f"{wrong} of {len(inputs)} inputs are not strings")
    return instructions, inputs


def generation(params: dict[str, Any] | None) -> Any:
    """Return the config of what a caller asked for; what is not given, or None, is as in `DEFAULTS`."""
    from pydantic import ValidationError

    from components.serving.language_model import DEFAULTS

    given = {name: value for name, value in (params or {}).items() if value is not None}
    try:
        return type(DEFAULTS)(**{**DEFAULTS.model_dump(), **given})
    except ValidationError as error:
        detail = error.errors()[0]
        name = ".".join(map(str, detail["loc"]))
        problem = detail["msg"].removeprefix("Value error, ")
        raise MlflowException.invalid_parameter_value(f"{name}: {problem}" if name else problem) from error
