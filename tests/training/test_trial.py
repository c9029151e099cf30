"""What is known of a run's batches before it: the same as training makes of them."""

from typing import Any

import pytest
import torch

from components.core.records import NoLogger
from components.models.config import LoraConfig, ModelConfig
from components.training.config import InstructionTrainConfig
from components.training.instruction import build_gpt
from components.training.loop import Trainer
from components.training.objectives.instruction import Entries, Instruction
from components.training.planning.trial import Trial

CPU = torch.device("cpu")
MODEL = ModelConfig(size={"layers": 1, "heads": 1, "width": 8, "context": 64}, weights="random")


def of(vocab_size: int = 5, **options: Any) -> Trial:
    config = InstructionTrainConfig(**({"batch_size": 4, "epochs": 2, "eval_batches": 3} | options))
    train = Entries.of([([3] * (3 + 7 * row % 20), [4] * (1 + row % 6)) for row in range(37)])
    validation = Entries.of([([3] * 9, [4] * 30), ([3], [4])])
    network = build_gpt(MODEL, LoraConfig(), config, vocab_size)

    def learn(network: Any) -> Instruction:
        return Instruction(network, train, validation, config, CPU, "fp32", 0)

    return Trial(lambda: network, learn)


@pytest.mark.ci
@pytest.mark.parametrize(
    "options", [{}, {"batching": "padded"}, {"batching": "packed", "accumulate": 2}, {"max_steps": 3}]
)
def test_steps_and_batches_are_those_that_training_takes(options: dict[str, Any]) -> None:
    trial = of(**options)
    objective: Any = trial.objective
    taken: list[list[int]] = []
    batch = objective.batch

    def noted(split: str, rows: list[int]) -> Any:
        made = batch(split, rows)
        if torch.is_grad_enabled():
            taken.append(rows)
            assert made.tokens.numel() == objective.padded("train", rows) or options.get("batching") == "packed"
        return made

    objective.batch = noted
    Trainer(objective, NoLogger(), lambda *_: None, best=None).fit()
    assert list(trial.batches()) == taken


def test_the_heaviest_batch_is_found_by_what_it_weighs() -> None:
    trial = of(batching="padded")
    objective = trial.objective
    most = max(objective.padded("train", rows) for rows in trial.batches())
    assert objective.padded(*trial.heaviest()) == most
    learnt = of(vocab_size=40_000, batching="padded", eval_batches=1)
    assert learnt.heaviest() == ("validation", [0, 1]), "which has the longest response"


def test_evaluations_look_at_the_first_batches_of_both_splits() -> None:
    trial = of()
    train = [("train", rows) for rows in ([0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11])]
    assert trial.evaluated() == [*train, ("validation", [0, 1])]
