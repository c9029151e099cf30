"""A training that was interrupted, as files, so that it can go on as if it had not been."""

import shutil
from dataclasses import asdict
from pathlib import Path

import pandas as pd
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from components.training.loop import Evaluation, History, Step, Trainer, log_evaluation, log_step, random_state

WEIGHTS, MOMENTS, RANDOM = "weights.safetensors", "moments.safetensors", "random.safetensors"
STEPS, EVALUATIONS = "steps.parquet", "history.parquet"
BEST = "best.safetensors"


def write_checkpoint(trainer: Trainer, best: Path, folder: Path) -> None:
    """Write all that `read_checkpoint` needs into `folder`: weights, moments, generators, history, the best weights."""
    folder.mkdir()
    write_trained(trainer.model, folder / WEIGHTS)
    moments = {
        f"{index}.{name}": tensor.detach().cpu()
        for index, state in trainer.optimiser.state_dict()["state"].items()
        for name, tensor in state.items()
    }
    save_file(moments, folder / MOMENTS)
    save_file(trainer.random_state, folder / RANDOM)
    write_history(trainer.history, folder)
    shutil.copyfile(best, folder / BEST)


def read_checkpoint(folder: Path, trainer: Trainer, best: Path) -> bool:
    """Bring a trainer to where another one was when `write_checkpoint` was called; its curves are logged again.

    Returns False, and changes nothing, if a file is missing, damaged or of something else: training then starts anew.
    """
    try:
        weights, moments, random, _ = (load_file(folder / name) for name in (WEIGHTS, MOMENTS, RANDOM, BEST))
        history = read_history(folder)
        state = _nested(moments)
    except (SafetensorError, OSError, ValueError, TypeError):
        return False
    if not _fits(trainer, weights, state, random, history):
        return False
    shutil.copyfile(folder / BEST, best)
    trainer.model.load_state_dict(weights, strict=False)
    groups = trainer.optimiser.state_dict()["param_groups"]
    trainer.optimiser.load_state_dict({"state": state, "param_groups": groups})
    for device, generator in random.items():
        (torch.cuda.set_rng_state if device == "cuda" else torch.set_rng_state)(generator)
    trainer.history = history
    for step in trainer.history.steps:
        log_step(trainer.logger, step)
    for evaluation in trainer.history.evaluations:
        log_evaluation(trainer.logger, evaluation)
    return True


def _nested(moments: dict[str, Tensor]) -> dict[int, dict[str, Tensor]]:
    """Return `{"0.step": ...}` as `{0: {"step": ...}}`."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in moments.items():
        index, _, name = key.partition(".")
        state.setdefault(int(index), {})[name] = tensor
    return state


def _fits(
    trainer: Trainer,
    weights: dict[str, Tensor],
    state: dict[int, dict[str, Tensor]],
    random: dict[str, Tensor],
    history: History,
) -> bool:
    """Tell whether the parts of a checkpoint are those of this trainer."""
    named = [(name, tensor) for name, tensor in trainer.model.named_parameters() if tensor.requires_grad]
    shapes = {name: tensor.shape for name, tensor in named}
    moments = [{"step": torch.Size(), "exp_avg": tensor.shape, "exp_avg_sq": tensor.shape} for _, tensor in named]
    return (
        {name: tensor.shape for name, tensor in weights.items()} == shapes
        and {index: {name: tensor.shape for name, tensor in each.items()} for index, each in state.items()}
        == dict(enumerate(moments))
        and {name: each.shape for name, each in random.items()}
        == {name: each.shape for name, each in random_state(trainer.device).items()}
        and [step.step for step in history.steps] == list(range(1, len(history.steps) + 1))
        and bool(history.evaluations)
    )


def write_trained(model: nn.Module, path: Path) -> None:
    """Write the tensors that train, and only those, as safetensors; beside, then renamed."""
    draft = path.with_suffix(".part")
    save_file({name: tensor.detach().cpu() for name, tensor in model.named_parameters() if tensor.requires_grad}, draft)
    draft.replace(path)


def write_history(history: History, out: Path) -> None:
    """Write `steps.parquet` and `history.parquet`."""
    pd.DataFrame([asdict(step) for step in history.steps]).to_parquet(out / STEPS, index=False)
    pd.DataFrame([asdict(row) for row in history.evaluations]).to_parquet(out / EVALUATIONS, index=False)


def read_history(folder: Path) -> History:
    """Return what `write_history` wrote."""
    steps = [Step(*row) for row in pd.read_parquet(folder / STEPS).itertuples(index=False)]
    evaluations = [Evaluation(*row) for row in pd.read_parquet(folder / EVALUATIONS).itertuples(index=False)]
    best = min(evaluations, key=lambda evaluation: evaluation.validation_loss, default=None)
    return History(steps, evaluations, best)
