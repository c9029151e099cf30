"""What a logged language model that follows instructions does when it is asked through MLflow."""

from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.exceptions import MlflowException

INSTRUCTION, INPUT, MESSAGES = "instruction", "input", "messages"


class InstructionResponder:
    """Rows of `instruction` and, optionally, `input`, or of `messages`, in; a row each out, with the `response`."""

    def __init__(self, folder: Path) -> None:
        """Read weights, vocabulary and template from the saved model's folder; on a GPU if the machine has one."""
        from components.models.devices import pick_device
        from components.serving.language_model import load_responder

        self.responder = load_responder(folder, str(pick_device("auto")))

    def predict(self, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Answer a table with a column `instruction` and, if wanted, `input`, in which nothing may be missing too.

        Or one with a column `messages`, where each is a conversation up to the user's last turn: a list of `role` and
        `content`, or the same as JSON.

        The table returned has the index of the one that came in. `params` may hold the fields of `GenerationConfig`:
        `max_new_tokens`, `temperature`, `top_k`, `top_p`, `seed`, `batch_size`, `precision`.
        """
        config = generation(params)
        if isinstance(model_input, pd.DataFrame) and MESSAGES in model_input and model_input[MESSAGES].notna().any():
            answers = self._continue(model_input[MESSAGES].tolist(), config)
        else:
            answers = self.responder.respond(*entries(model_input), config)
        return answers[["response"]].set_index(model_input.index)

    def _continue(self, cells: list[Any], config: Any) -> pd.DataFrame:
        from components.core.errors import ConfigError

        asked = [conversation(cell, place) for place, cell in enumerate(cells)]
        histories, instructions = [turns[:-1] for turns in asked], [str(turns[-1]["content"]) for turns in asked]
        try:
            return self.responder.respond(instructions, None, config, histories=histories)
        except ConfigError as error:
            raise MlflowException.invalid_parameter_value(str(error)) from error


def conversation(cell: Any, place: int) -> list[dict[str, Any]]:
    """Return the turns in a cell, the last one the user's, or say what is wrong in row `place`."""
    import json

    from components.conversations import find_fault

    try:
        turns = json.loads(cell) if isinstance(cell, str) else list(cell)
        turns = [{"role": str(turn["role"]), "content": turn["content"]} for turn in turns]
        fault = find_fault([*turns, {"role": "assistant", "content": "-"}])
    except (ValueError, TypeError, KeyError, RecursionError):
        fault = 'it is no list of {"role": ..., "content": ...}'
    if fault:
        raise MlflowException.invalid_parameter_value(f"{MESSAGES} of row {place}: {fault}")
    return turns


def entries(data: Any) -> tuple[list[str], list[str]]:
    """Return the instructions and inputs of what a caller passed, or say what is wrong with it."""
    if not isinstance(data, pd.DataFrame) or INSTRUCTION not in data:
        names = ", ".join(map(repr, data.columns)) if isinstance(data, pd.DataFrame) else "no columns"
        raise MlflowException.invalid_parameter_value(
            f"the input has no column {INSTRUCTION!r} but {names}: pass a table with {INSTRUCTION!r}, and {INPUT!r} "
            f"where an instruction applies to something, or with {MESSAGES!r}"
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
