"""A training that was interrupted, as files, so that it can go on as if it had not been."""

import os
import shutil
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from components.training.history import History, log_evaluation, log_step, read_history, write_history
from components.training.loop import Trainer, random_state, write_trained

WEIGHTS, MOMENTS, RANDOM = "weights.safetensors", "moments.safetensors", "random.safetensors"
BEST = "best.safetensors"


def write_checkpoint(trainer: Trainer, folder: Path) -> None:
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
    if trainer.best:
        _share(trainer.best, folder / BEST)


def checkpoint_bytes(trainer: Trainer) -> int:
    """Return about how many bytes a checkpoint writes: weights and two moments; the best weights are there already."""
    return 3 * sum(tensor.numel() * tensor.element_size() for tensor in trainer.weights)


def read_checkpoint(folder: Path, trainer: Trainer) -> bool:
    """Bring a trainer to where another one was when `write_checkpoint` was called; its curves are logged again.

    Returns False, and changes nothing, if a file is missing, damaged or of something else: training then starts anew.
    """
    try:
        weights, moments, random = (load_file(folder / name) for name in (WEIGHTS, MOMENTS, RANDOM))
        if trainer.best:
            load_file(folder / BEST)
        history = read_history(folder)
        state = _nested(moments)
    except (SafetensorError, OSError, ValueError, TypeError):
        return False
    if not _fits(trainer, weights, state, random, history):
        return False
    if trainer.best:
        _share(folder / BEST, trainer.best)
    trainer.model.load_state_dict(weights, strict=False)
    groups = trainer.optimiser.state_dict()["param_groups"]
    trainer.optimiser.load_state_dict({"state": state, "param_groups": groups})
    for device, generator in random.items():
        (torch.cuda.set_rng_state if device == "cuda" else torch.set_rng_state)(generator)
    trainer.history = history
    for step in trainer.history.steps:
        log_step(trainer.logger, step)
    for evaluation in trainer.history.evaluations:
        log_evaluation(trainer.logger, evaluation, trainer.objective.is_language_model)
    return True


def _share(source: Path, target: Path) -> None:
    """Let `target` be the same file as `source`: neither is written to, another is renamed into its place."""
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:  # a file system without hard links
        shutil.copyfile(source, target)


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
