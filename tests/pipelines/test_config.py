"""Presets and overrides: everything wrong is refused by name, with a way out."""

from pathlib import Path

import pytest
import yaml

from components.core.errors import ConfigError
from pipelines.config import load_config, shipped_presets


def refused(*overrides: str, preset: str = "spam") -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(preset, overrides)
    return str(caught.value)


def test_every_shipped_preset_loads_and_describes_itself() -> None:
    presets = shipped_presets()
    assert {"spam", "spam-book", "spam-demo"} <= presets.keys()
    assert all(config.description and config.name == name for name, config in presets.items())


@pytest.mark.ci
@pytest.mark.parametrize("name", sorted(shipped_presets()))
def test_what_show_prints_loads_as_the_same_config(name: str, tmp_path: Path) -> None:
    config = load_config(name)
    path = tmp_path / f"{name}.yaml"
    path.write_text(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False))
    assert load_config(str(path)) == config


@pytest.mark.parametrize(
    ("overrides", "rate"),
    [
        ([], 2e-4),
        (["train.trainable=lora"], 2e-3),
        (["train.learning_rate=1e-4", "train.trainable=lora"], 1e-4),
        (["train={trainable: lora}"], 5e-4),
        (["train={}"], 5e-5),
        (["train.trainable=lora", "train.trainable=all"], 2e-4),
    ],
)
def test_adapters_learn_ten_times_as_fast_unless_a_rate_is_set(overrides: list[str], rate: float) -> None:
    assert load_config("spam", overrides).train.learning_rate == pytest.approx(rate)


def test_the_book_preset_is_the_tutorials_recipe() -> None:
    config = load_config("spam-book")
    assert (config.train.learning_rate, config.train.weight_decay, config.train.epochs) == (5e-5, 0.1, 5)
    assert (config.train.padding, config.train.pooling) == ("train", "last_position")
    assert config.train.trainable == "last_block"
    assert not config.model.tie_embeddings


def test_a_trial_is_named_after_its_limit_once(tmp_path: Path) -> None:
    trial = load_config("spam", ["source.limit=200"])
    assert (trial.name, trial.tracking.model_name) == ("spam-limit-200", "spam-classifier-limit-200")
    path = tmp_path / "recorded.yaml"
    path.write_text(yaml.safe_dump(trial.recorded()))
    assert load_config(str(path)).recorded() == trial.recorded()


@pytest.mark.ci
@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("train.epochs=3", 3),
        ("train.learning_rate=1e-4", 1e-4),
        ("train.max_length=null", None),
        ("split.group_duplicates=false", False),
        ("validation.labels=[a, b, c]", ["a", "b", "c"]),
        ("validation.labels=[0, 1]", ["0", "1"]),
        ("source.columns={label: 1, text: 0}", {"label": 1, "text": 0}),
        ("source.label_map.ham=spam", {"ham": "spam"}),
        ("model.weights=random", "random"),
        ("train.padding=64", 64),
    ],
)
def test_overrides_are_read_as_yaml(override: str, value: object) -> None:
    found: object = load_config("spam", [override])
    for name in override.partition("=")[0].split("."):
        if isinstance(found, dict):
            assert found == value
            return
        found = getattr(found, name)
    assert found == value


def test_a_size_of_ones_own() -> None:
    config = load_config("spam", ["model.weights=random", "model.size={layers: 2, heads: 2, width: 8, context: 16}"])
    assert config.model.shape.width == 8


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("train.epoch=3", "train.epoch: unknown key, did you mean 'epochs'?"),
        ("trian.epochs=3", "trian: unknown key, did you mean 'train'?"),
        ("train.epochs=many", "train.epochs: Input should be a valid integer"),
        ("train.epochs=0", "train.epochs: Input should be greater than or equal to 1 (it is 0)"),
        ("train.trainable=everything", "train.trainable: Input should be 'last_layer', 'last_block'"),
        ("train.pooling=last_position", "set train.padding=train, or train.pooling=last_token"),
        ("train.max_length=4096", "train.max_length=4096 is more than the model's context: set it to 1024 or less"),
        ("split.fractions.train=0.9", "split.fractions: train + validation + test must be 1, not 1.2"),
        ("model.size=123M", "model.size"),
        ("validation.rows.severty=warn", "validation.rows.severty: unknown key, did you mean 'severity'?"),
        ("source.url=ftp://example.org/x", "source.url"),
        ("train.epochs=true", "epochs is true, but true and false are not among its values"),
        ("train.clip=.inf", "train.clip: Input should be a finite number"),
        ("split.seed=99999999999", "split.seed: Input should be less than 4294967296"),
        ("train.epochs=99999999999999999999", "train.epochs: no number here is larger than 2,147,483,647"),
        ("train.batch_size=-99999999999999999999", "train.batch_size: Input should be greater than"),
        ("lora.rank=3000000000", "lora.rank: no number here is larger than 2,147,483,647"),
        ("model.size={layers: 1, heads: 1, width: 2, context: 3000000000}", "context: no number here is larger"),
        ("model.size={layers: 1001, heads: 1, width: 2, context: 8}", "layers: Input should be less than"),
        ("train.epochs=010", "010 is octal in YAML; write it in decimals"),
        ("train.epochs", "is not KEY=VALUE"),
        ("=3", "is not KEY=VALUE"),
        ("train.epochs=[", "is not valid YAML"),
    ],
)
def test_what_is_wrong_is_refused_by_name(override: str, expected: str) -> None:
    message = refused(override)
    assert expected in message
    assert message.count("\n") == 0


def test_all_that_is_wrong_is_named_at_once() -> None:
    assert len(refused("train.epoch=3", "train.clip=-1").splitlines()) == 2


def test_an_unknown_preset() -> None:
    assert "there is no preset 'spam-bok', did you mean 'spam-book'?; see `gradus presets`" in refused(
        preset="spam-bok"
    )
    assert "there is no file nowhere.yaml" in refused(preset="nowhere.yaml")


@pytest.mark.parametrize("text", ["- a list", "key: [", "just text", ""])
def test_a_file_that_is_no_preset(tmp_path: Path, text: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    assert str(path) in refused(preset=str(path))


def test_a_preset_without_a_source_names_what_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("validation: {labels: [a, b]}")
    assert refused(preset=str(path)) == f"{path}: source: this key is required"


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("1: x", "Keys should be strings (it is 1)"),
        ("on: x", "Keys should be strings (it is True)"),
        ("null: x", "Keys should be strings (it is None)"),
        ("train: {2: x}", "train: Keys should be strings (it is 2)"),
        ("pipeline: [instruction]", "pipeline: there is no flow ['instruction']"),
    ],
)
def test_a_key_or_flow_that_is_no_text(tmp_path: Path, line: str, says: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(f"source: {{url: a.csv}}\nvalidation: {{labels: [a, b]}}\n{line}\n")
    assert f"{path}: {says}" in refused(preset=str(path)).splitlines()[0]
