"""Weights in and out, in one layout: that of Hugging Face's `transformers`, as safetensors.

There GPT-2's linear layers are stored transposed (`Conv1D`), names may or may not start with the family's prefix
(`transformer.`, `model.`), buffers may lie among the parameters, and a tied head is left out. What Gradus saves is in
the same layout.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from components.core.errors import WeightsError
from components.core.room import require_room
from components.models.architecture import Transformer, WeightNames, make_network, transformer_of
from components.models.config import ModelConfig
from components.models.language_model import LanguageModel
from components.models.layers import INITIAL_STD, init_normal_
from components.models.pretrained.files import weight_files
from components.models.pretrained.numbers import check_numbers
from components.models.saved.adapter import merge_adapter

PREFIX = "transformer."
"""What the names of a network's parameters begin with in a language model or a classifier."""
HEAD = "lm_head.weight"
READ_AT_ONCE = 64 << 20
"""Bytes of a file after which it is opened anew: until it is closed, what was read takes memory beside the copy."""

Network = TypeVar("Network", Transformer, LanguageModel)


def make_transformer(config: ModelConfig, vocab_size: int, weights: Path | None, seed: int) -> Transformer:
    """Return the network without a head, on the CPU in fp32: its weights from a folder, or drawn from `seed`.

    An adapter that the config names is merged into them.

    Raises:
        WeightsError: as `load_weights` and `components.models.saved.adapter.load_adapter`.
    """
    network = make_network(config.shape, vocab_size, config.dropout)
    with _naming_the_source(config, weights):
        return _adapted(filled(network, weights, seed), config)


def make_gpt(config: ModelConfig, vocab_size: int, weights: Path | None, seed: int) -> LanguageModel:
    """Return the language model, as `make_transformer` returns the network.

    Raises:
        WeightsError: as there.
    """
    network = make_network(config.shape, vocab_size, config.dropout)
    with _naming_the_source(config, weights):
        return _adapted(filled(LanguageModel(network, config.tied), weights, seed), config)


def load_weights(model: nn.Module, folder: Path) -> None:
    """Copy the weights in `folder` into every parameter of a `Transformer`, `LanguageModel` or `Classifier`.

    An untied head that the file does not have starts as a copy of the token embedding. Heads that the model does
    not have are left where they are.

    Raises:
        WeightsError: if a file is missing or damaged, or a tensor is missing, left over, of another shape, or holds
            what are no weights.
    """
    names = transformer_of(model).names
    embedding = f"{names.embedding}.weight"
    targets = _targets(model)
    found: set[str] = set()
    with _readable(folder):
        for name, tensor in _stored(folder, names):
            if (target := _target(name, tensor.shape, targets, names, folder)) is not None:
                check_numbers(name, tensor, folder)
                _assign(target, _transposed(name, tensor, names))
            found.add(name)
    for name in targets.keys() - found:
        if names.optional and name.startswith(names.optional):
            init_normal_(targets[name], INITIAL_STD * (not name.endswith("bias")), 0, name)
            found.add(name)
    if HEAD in targets and HEAD not in found and embedding in found:
        _assign(targets[HEAD], targets[embedding])
        found.add(HEAD)
    if missing := sorted(targets.keys() - found):
        raise WeightsError(
            f"the weights in {folder} lack {len(missing)} of {len(targets)} tensors, the first is {missing[0]}: "
            f"they are no {transformer_of(model).name}'s or have fewer layers; check model.weights and "
            "model.size"
        )
    if isinstance(model, LanguageModel) and model.lm_head is None:
        _check_tied(targets[embedding], names, folder)


def check_shapes(model: nn.Module, folder: Path) -> None:
    """Refuse weights of other shapes than those of a model, which may have no content; they are not read.

    Raises:
        WeightsError: if a file is missing or damaged, or a tensor is left over or of another shape.
    """
    names, targets = transformer_of(model).names, _targets(model)
    for path in weight_files(folder):
        with _readable(folder), safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118 (it is no dict)
                if not name.endswith(names.buffers):
                    _target(names.short(name), file.get_slice(name).get_shape(), targets, names, folder)


def save_weights(model: nn.Module, path: Path) -> None:
    """Write every parameter as fp32 safetensors, in the layout that `load_weights` and `transformers` read."""
    write_tensors(tensors_of(model), path)


def write_tensors(tensors: dict[str, Tensor], path: Path) -> None:
    """Write tensors as safetensors.

    Raises:
        NoRoom: if the disk has no room for them.
    """
    require_room(path.parent, sum(tensor.nbytes for tensor in tensors.values()))
    save_file(tensors, path, metadata={"format": "pt"})


def tensors_of(model: nn.Module) -> dict[str, Tensor]:
    """Return every parameter in fp32 as files hold it, under its name there; a classifier's head as `head`.

    Files hold tensors row by row. What they hold transposed is laid out so in memory too, one parameter after the
    other, or there would be a second copy of nearly all of them; it keeps its shape and its values.
    """
    names = transformer_of(model).names
    tensors: dict[str, Tensor] = {}
    for name, parameter in model.named_parameters():
        as_in_file = _transposed(name, parameter.data, names).contiguous()
        parameter.data = _transposed(name, as_in_file, names)
        own = name.startswith(PREFIX)
        tensors[f"{names.prefix}{name.removeprefix(PREFIX)}" if own else name] = as_in_file.cpu().float()
    return tensors


def hash_of_weights(model: nn.Module) -> str:
    """Return the SHA-256 of a network's parameters, with their names; half a second for 500 MB."""
    digest = hashlib.sha256()
    for name, parameter in model.named_parameters():
        digest.update(f"{name} {tuple(parameter.shape)} {parameter.dtype}".encode())
        digest.update(parameter.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def filled(model: Network, weights: Path | None, seed: int) -> Network:
    """Return a network with weights from a folder, or drawn from `seed`."""
    if weights is None:
        model.initialise(seed)
    else:
        load_weights(model, weights)
    return model


@contextmanager
def _naming_the_source(config: ModelConfig, weights: Path | None) -> Iterator[None]:
    """Name the user's own folder in an error, not the copy of it that a run has taken into its store."""
    try:
        yield
    except WeightsError as error:
        if weights is None or not Path(config.weights).expanduser().is_dir():
            raise
        raise WeightsError(str(error).replace(str(weights), config.weights)) from error


def _adapted(model: Network, config: ModelConfig) -> Network:
    if config.adapter:
        merge_adapter(model, config.adapter_folder)
    return model


def _stored(folder: Path, names: WeightNames) -> Iterator[tuple[str, Tensor]]:
    """Yield the parameters in a folder by short name, each read when it is asked for."""
    for path in weight_files(folder):
        with safe_open(path, framework="pt") as file:
            left = [name for name in file.keys() if not name.endswith(names.buffers)]  # noqa: SIM118 (it is no dict)
        while left:
            with safe_open(path, framework="pt") as file:
                read = 0
                while left and read < READ_AT_ONCE:
                    name = left.pop(0)
                    tensor = file.get_tensor(name)
                    read += tensor.nbytes
                    yield names.short(name), tensor


@contextmanager
def _readable(folder: Path) -> Iterator[None]:
    try:
        yield
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"the weights in {folder} cannot be read ({error}); fetch or save them again") from error


def _targets(model: nn.Module) -> dict[str, Tensor]:
    return {name.removeprefix(PREFIX): parameter for name, parameter in model.named_parameters()}


def _target(
    name: str, shape: Sequence[int], targets: Mapping[str, Tensor], names: WeightNames, folder: Path
) -> Tensor | None:
    """Return the parameter that a stored tensor is for, if the model has it; its shape is as it has to be."""
    if name not in targets:
        if name.startswith(names.parts):
            raise WeightsError(f"the weights in {folder} have {name}, which the model has not; check model.size")
        return None
    expected = tuple(_transposed(name, targets[name], names).shape)
    if tuple(shape) != expected:
        raise WeightsError(
            f"{name} has shape {tuple(shape)} in {folder}, the model needs {expected}; "
            "check model.size, model.vocabulary and model.weights"
        )
    return targets[name]


def _transposed(name: str, tensor: Tensor, names: WeightNames) -> Tensor:
    """Turn a tensor from the file's layout into the model's, or back."""
    return tensor.t() if name.endswith(names.transposed) else tensor


def _assign(parameter: Tensor, values: Tensor) -> None:
    with torch.no_grad():
        parameter.copy_(values)


def _check_tied(embedding: Tensor, names: WeightNames, folder: Path) -> None:
    for name, tensor in _stored(folder, names):
        if name == HEAD and not torch.equal(tensor.float(), embedding):
            raise WeightsError(f"the weights in {folder} have a head of their own; set model.tie_embeddings to false")
