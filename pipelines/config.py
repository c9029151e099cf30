"""Presets and overrides, read here only: which config they make says their kind."""

import json
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, get_args

from pydantic import BaseModel, Field, PrivateAttr, ValidationError, model_validator

from components.core.config import Config
from components.core.errors import ConfigError, did_you_mean, shortened
from components.core.home import home
from components.core.redaction import MASK, redact
from components.core.sharing.remote import StoreConfig
from components.core.yaml_loader import InvalidYAML, load_yaml, read_yaml
from components.data.addresses import RUN_FILE, scheme_of
from components.data.split.given_splits import SPLITS
from components.models.pretrained.files import TRACKED, is_adapter_alone
from pipelines.kinds import DEFAULT, KINDS, config_class
from pipelines.promoting.config import PromotionConfig

if TYPE_CHECKING:
    from components.models.config import LoraConfig, ModelConfig
    from components.tracking.config import TrackingConfig
    from components.training.config import Recipe

HOLDS_A_SECRET = re.compile(r"^judge\.extra\b|(_env|key|token|secret|password)$")
"""Keys whose value no error shows: it is a secret, or the name of a variable, where the secret may stand by mistake."""

LIMIT = "source.limit="
"""An override that is in the preset's name by itself."""
LONGEST_NAME, LONGEST_VALUE = 120, 24
"""Characters of a run's name, and of a value in it."""


class PipelineConfig(Config):
    """What every flow's config has."""

    pipeline: str
    """Which flow runs."""

    name: str = Field(default="unnamed", pattern=r"^[\w.-]+$")
    """Name of the preset; part of the run's name."""

    description: str = ""
    """One line for `gradus presets`."""

    _overrides: tuple[str, ...] = PrivateAttr(())

    promotion: PromotionConfig = PromotionConfig()
    """How its model becomes champion."""

    store: StoreConfig = StoreConfig()
    """Where its steps keep what they have made."""

    if TYPE_CHECKING:  # declared by each kind, in the order of its keys
        model: ModelConfig
        lora: LoraConfig
        train: Recipe
        tracking: TrackingConfig

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        # What the weights have to say is asked when it is needed: a preset can be shown without them.
        if self.model.size != "auto" and (wrong := self.train.too_long(self.model.shape.context)):
            raise ValueError(wrong)
        if self.lora.save == "adapter" and (wrong := self._no_adapter_alone()):
            raise ValueError(f"lora.save=adapter {wrong}; set lora.save=merged")
        return self

    def _no_adapter_alone(self) -> str:
        """Say why an adapter cannot be kept alone, if it cannot."""
        if self.train.trainable != "lora":
            return "is for train.trainable=lora"
        weights = self.model.weights
        if weights == "random" or weights.startswith(TRACKED) or is_adapter_alone(Path(weights).expanduser()):
            return "needs weights that stay where they are: a package:, a folder, a .gguf file or a hub id"
        return "needs weights by themselves, and model.adapter is merged into them" if self.model.adapter else ""

    @property
    def overrides(self) -> tuple[str, ...]:
        """What `--set` changed in the preset, as `KEY=VALUE`, without the values of secrets."""
        return self._overrides

    @property
    def run_name(self) -> str:
        """What a run of it is called: as a sweep says, or by the preset's name and what was set, without sections."""
        if self.tracking.run_name:
            return self.tracking.run_name
        changed = (override.partition("=") for override in self._overrides if not override.startswith(LIMIT))
        short = (f"{key.rpartition('.')[2]}={value[:LONGEST_VALUE]}" for key, _, value in changed)
        return " ".join((self.name, *short))[:LONGEST_NAME]

    def recorded(self) -> dict[str, Any]:
        """Return the config as a run records it."""
        return self.model_dump(mode="json")


def load_config(preset: str, overrides: Iterable[str] = ()) -> PipelineConfig:
    """Return the config of a preset or YAML file, with `KEY=VALUE` overrides applied.

    The file may be one that a run logged: `runs:/RUN/config.yaml` is what that run was trained with. The key
    `pipeline` says which kind it is of (`pipelines.kinds`).

    Raises:
        ConfigError: naming every key that is unknown, of the wrong type or out of range.
        TrackingError: if a run has no such file, or the store cannot be read.
    """
    source = _find_preset(preset)
    tree = read_tree(source, preset, "a preset is a mapping of keys such as source, validation, train")
    tree.setdefault("name", Path(source.name).stem)
    if isinstance(source, Path) and source == Path(preset):
        _stand_beside(tree, source.parent)
    trained = _trainable(tree)
    overrides = list(overrides)
    for each in overrides:
        apply_override(tree, each)
    if _trainable(tree) == "lora" != trained:
        _learn_faster(tree["train"], overrides)
    _name_after_limit(tree)
    name = tree.get("pipeline", DEFAULT)
    if not isinstance(name, str) or name not in KINDS:
        raise ConfigError(f"{preset}: pipeline: there is no flow {name!r}{did_you_mean(str(name), KINDS)}")
    kind = config_class(name)
    try:
        config = kind.model_validate(tree)
    except ValidationError as error:
        raise ConfigError("\n".join(explain(error, preset, kind))) from error
    config._overrides = tuple(map(shown, overrides))
    return config


def override(key: str, value: Any) -> str:
    """Return `KEY=VALUE`, as `--set` takes it."""
    return f"{key}={json.dumps(value, ensure_ascii=False)}"


def _stand_beside(tree: dict[str, Any], folder: Path) -> None:
    """Let the data files that a preset names by relative paths be those beside it, wherever one works."""
    source = tree.get("source")
    if not isinstance(source, dict):
        return
    places: list[tuple[Any, str]] = [(source, "url")]
    for split in SPLITS[1:]:
        part = source.get(split)
        places.append((source, split) if isinstance(part, str) else (part, "url"))
    for owner, key in places:
        path = owner.get(key) if isinstance(owner, dict) else None
        if isinstance(path, str) and path.strip() and not scheme_of(path) and not path.startswith("~"):
            owner[key] = str(folder / path)


def _trainable(tree: dict[str, Any]) -> object:
    train = tree.get("train")
    return train.get("trainable") if isinstance(train, dict) else None


def _learn_faster(train: dict[str, Any], overrides: Iterable[str]) -> None:
    """Raise the learning rate of a preset that trains no adapters, unless an override sets one."""
    from components.training.config import LORA_RATE_FACTOR

    if not any(override.startswith(("train.learning_rate=", "train=")) for override in overrides):
        rate = train.get("learning_rate")
        if isinstance(rate, float | str):  # YAML reads 1e-4 as a string
            with suppress(ValueError):
                train["learning_rate"] = min(LORA_RATE_FACTOR * float(rate), 1.0)


def shipped_presets() -> dict[str, PipelineConfig]:
    """Return the presets that Gradus ships, by name."""
    return {name: load_config(name) for name in _shipped()}


def _shipped() -> dict[str, Traversable]:
    folders = [folder for package in KINDS.values() if (folder := files(package) / "presets").is_dir()]
    there = [entry for folder in folders for entry in folder.iterdir() if entry.name.endswith(".yaml")]
    return dict(sorted((entry.name.removesuffix(".yaml"), entry) for entry in there))


def _find_preset(preset: str) -> Traversable:
    shipped = _shipped()
    if preset in shipped:
        return shipped[preset]
    if RUN_FILE.fullmatch(preset):
        from components.tracking.run_files import run_file

        return run_file(preset, home())
    if preset.endswith((".yaml", ".yml")):
        if not Path(preset).is_file():
            raise ConfigError(f"there is no file {preset}")
        return Path(preset)
    raise ConfigError(f"there is no preset {preset!r}{did_you_mean(preset, shipped)}; see `gradus presets`")


def read_tree(source: Traversable, name: str, meaning: str) -> dict[str, Any]:
    """Return the mapping that a file in YAML holds, called `name` in errors.

    Raises:
        ConfigError: if it cannot be read, or is no mapping; `meaning` says what it should be, as in `a preset is ...`.
    """
    try:
        with source.open("rb") as file:
            tree = read_yaml(file)
    except OSError as error:
        raise ConfigError(f"{name}: cannot be read: {error.strerror or error}") from error
    except InvalidYAML as error:
        raise ConfigError(f"{name}: not valid YAML: {error}") from error
    if not isinstance(tree, dict):
        raise ConfigError(f"{name}: {meaning}")
    return tree


def apply_override(tree: dict[str, Any], override: str) -> None:
    """Set the dotted key of a `KEY=VALUE` override; the value is read as YAML, so `null`, `true`, `[a, b]` work."""
    key, equals, text = override.partition("=")
    if not equals or not all(key.split(".")):
        raise ConfigError(f"--set {quoted(override)} is not KEY=VALUE, as in --set train.epochs=3")
    try:
        value = load_yaml(text)
    except InvalidYAML as error:
        secret = HOLDS_A_SECRET.search(key)
        what, why = (MASK, "") if secret else (repr(shortened(text, 80)), f": {error}")
        raise ConfigError(f"--set {key}: {what} is not valid YAML{why}; put text in quotes") from error
    *parents, last = key.split(".")
    for parent in parents:
        below = tree.get(parent)
        if not isinstance(below, dict):
            below = tree[parent] = {}
        tree = below
    # YAML reads `1: ham` as a number, which the override's 1 means too.
    tree[next((name for name in tree if str(name) == last), last)] = value


def _name_after_limit(tree: dict[str, Any]) -> None:
    """Name a trial on some rows, and its model, after `source.limit`: neither is taken for one of all rows."""
    source, tracking = (part if isinstance(part := tree.get(name), dict) else {} for name in ("source", "tracking"))
    if not (limit := source.get("limit")):
        return
    for section, key in ((tree, "name"), (tracking, "model_name")):
        if isinstance(name := section.get(key), str):
            section[key] = f"{name.removesuffix(f'-limit-{limit}')}-limit-{limit}"


def quoted(override: str) -> str:
    """Return an override as an error shows it."""
    return repr(shown(override))


def shown(override: str) -> str:
    """Return an override without the value of a secret."""
    key, equals, _ = override.partition("=")
    return f"{key}={MASK}" if equals and HOLDS_A_SECRET.search(key) else redact(override)


def explain(error: ValidationError, preset: str, flow: type[BaseModel]) -> Iterator[str]:
    """Yield a line for every key of a config `flow` that is wrong; `preset` says where it was written."""
    problems: dict[str, list[str]] = {}
    for detail in error.errors(include_url=False):
        unknown = detail["type"] == "extra_forbidden"
        keys, owner = _walk(detail["loc"], flow, unknown)
        if unknown:
            message = f"unknown key{did_you_mean(keys[-1], owner.model_fields)}"
        elif detail["type"] == "missing":
            message = "this key is required"
        else:
            message = f"{detail['msg'].removeprefix('Value error, ')}"
            if not HOLDS_A_SECRET.search(".".join(keys)) and not isinstance(detail["input"], dict | BaseModel):
                message += f" (it is {detail['input']!r})"
        problems.setdefault(".".join(keys), []).append(message)
    for key, messages in problems.items():
        yield f"{preset}: {key + ': ' if key else ''}{' or '.join(dict.fromkeys(messages))}"


def _walk(location: tuple[int | str, ...], owner: type[BaseModel], unknown: bool) -> tuple[list[str], type[BaseModel]]:
    """Return a location's keys without the union tags that pydantic puts in between, and the model they end in.

    What is no field is a tag, but for the last part where that is an `unknown` key.
    """
    keys: list[str] = []
    inside_value = False
    for position, part in enumerate(location):
        name, last = str(part), position == len(location) - 1
        if name in owner.model_fields:
            keys.append(name)
            below = _model_of(owner.model_fields[name].annotation)
            inside_value, owner = below is None, below or owner
        elif unknown and not inside_value and last:
            keys.append(name)
    return keys, owner


def _model_of(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((model for inner in get_args(annotation) if (model := _model_of(inner))), None)
