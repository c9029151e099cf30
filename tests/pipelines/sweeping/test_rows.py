"""What a sweep is made of: presets, files, `--grid` and `--range`, and how mistakes in them are refused."""

from pathlib import Path

import pytest

from components.core.errors import ConfigError
from components.core.redaction import redact_prose
from pipelines.config import load_config
from pipelines.sweeping.config import load_sweep, parse_grid, shipped_sweeps
from pipelines.sweeping.rows import children_of, identity_of, recorded_params, rows_of, with_reasons

PARENT = "0" * 32


def test_a_grid_of_a_preset_has_a_row_a_combination_named_after_what_it_sets() -> None:
    sweep = load_sweep("spam-demo", {"grid": {"train.trainable": ["last_layer", "all"], "train.learning_rate": [1e-3]}})
    assert [row.name for row in rows_of(sweep)] == [
        "trainable=last_layer, learning_rate=0.001",
        "trainable=all, learning_rate=0.001",
    ]


def test_numbers_that_differ_late_are_called_differently() -> None:
    sweep = load_sweep("spam-demo", {"grid": {"train.learning_rate": [1e-5, 0.001, 0.0010000001]}})
    assert [row.name for row in rows_of(sweep)] == [
        "learning_rate=1e-05",
        "learning_rate=0.001",
        "learning_rate=0.0010000001",
    ]


def test_keys_that_end_in_the_same_word_are_named_in_full() -> None:
    (row,) = rows_of(load_sweep("spam-demo", {"grid": {"train.seed": [1], "split.seed": [2]}}))
    assert row.name == "train.seed=1, split.seed=2"


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("train.trainable=last_layer,last_block,all", ["last_layer", "last_block", "all"]),
        ("train.epochs=1, 2", [1, 2]),
        ("train.clip=null,1.0", [None, 1.0]),
        ("lora.targets=attention,[attn.c_attn, attn.c_proj]", ["attention", ["attn.c_attn", "attn.c_proj"]]),
    ],
)
def test_values_of_a_grid_are_read_as_yaml(text: str, values: list[object]) -> None:
    assert parse_grid(text) == (text.partition("=")[0], values)


def test_a_file_has_rows_with_names_and_a_row_may_be_of_another_preset(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "preset: spam-demo\nset: {train.max_steps: 3}\nseeds: 2\nrows:\n"
        "  - {name: as it is}\n  - {name: slow, set: {train.learning_rate: 1.0e-5}}\n"
    )
    sweep = load_sweep(str(path))
    assert (sweep.name, sweep.seeds) == ("mine", 2)
    rows = rows_of(sweep)
    assert [row.name for row in rows] == ["as it is", "slow"]
    assert [row.config().train.learning_rate for row in rows] == [1e-3, 1e-5]
    assert {row.config().train.max_steps for row in rows} == {3}


def test_presets_that_a_file_names_lie_beside_it(tmp_path: Path) -> None:
    (tmp_path / "sweep.yaml").write_text("preset: base.yaml\nrows: [{name: a}, {name: b, preset: other.yaml}]\n")
    sweep = load_sweep(str(tmp_path / "sweep.yaml"))
    assert [row.preset for row in rows_of(sweep)] == [str(tmp_path / "base.yaml"), str(tmp_path / "other.yaml")]


def test_each_seed_is_a_run_that_stands_under_the_parent_keeps_no_model_and_is_named_after_what_was_set() -> None:
    (row,) = rows_of(load_sweep("spam-demo", {"grid": {"train.epochs": [1]}}))
    children = children_of(row, 2, PARENT, "mine")
    assert [child.config.train.seed for child in children] == [123, 124]
    assert [child.config.run_name for child in children] == [
        "spam-demo epochs=1 seed=123",
        "spam-demo epochs=1 seed=124",
    ]
    for child in children:
        tracking = child.config.tracking
        assert (tracking.parent, tracking.experiment, tracking.keep_model) == (PARENT, "mine", False)


def test_a_run_is_known_again_by_what_it_trains_and_not_by_where_it_is_recorded() -> None:
    (row,) = rows_of(load_sweep("spam-demo", {"grid": {"train.epochs": [1]}}))
    (here,), (there,) = (children_of(row, 1, parent * 32, "mine") for parent in "01")
    assert here.identity == there.identity == identity_of(recorded_params(row.config("train.seed=123")))
    assert identity_of(recorded_params(row.config("train.seed=124"))) != here.identity


def test_what_has_no_weights_or_no_room_is_skipped_with_the_reason(tmp_path: Path) -> None:
    sweep = load_sweep(
        "spam-demo",
        {
            "rows": [
                {"name": "tiny"},
                {"name": "lacks weights", "set": {"model.weights": str(tmp_path)}},
                {
                    "name": "lacks room",
                    "set": {"model.size": {"layers": 900, "heads": 64, "width": 65536, "context": 128}},
                },
            ]
        },
    )
    tiny, lacking, huge = with_reasons(rows_of(sweep), here=True)
    assert tiny.skipped == ""
    assert str(tmp_path) in lacking.skipped
    assert "choose a smaller model" in huge.skipped


@pytest.mark.ci
@pytest.mark.parametrize("name", shipped_sweeps())
def test_every_row_of_a_shipped_sweep_is_a_config(name: str) -> None:
    sweep = load_sweep(name)
    assert sweep.description
    for base in (None, *sweep.bases):
        for row in rows_of(sweep, base):
            assert row.skipped or row.config()


def test_the_seven_questions_are_seven_with_three_seeds() -> None:
    sweep = load_sweep("seven-questions")
    assert len(sweep.questions) == 7
    assert sweep.seeds == 3
    assert {name for question in sweep.questions for name in question.rows} == {row.name for row in sweep.rows}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, "there is nothing to vary"),
        ({"grid": {"train.epochs": []}}, "train.epochs has no values"),
        ({"trials": 3}, "give ranges"),
        ({"ranges": {"train.dropout": "0..1"}}, "--optuna"),
        ({"trials": 3, "ranges": {"train.clip": "one..two"}}, "1e-5..1e-3:log"),
        ({"trials": 3, "ranges": {"train.clip": "2..1"}}, "2..1 is no range"),
        ({"trials": 3, "ranges": {"train.clip": "0..1:log"}}, "begin above 0"),
        ({"rows": [{"name": "a"}, {"name": "a"}]}, "two are called 'a'"),
        ({"rows": [{"name": "a"}], "questions": [{"ask": "?", "rows": ["a", "b"]}]}, "there is no row 'b'"),
        ({"grid": {"train.epochs": [1]}, "metric": "test/accuracy"}, "metric"),
        ({"grid": {"train.epochs": [1]}, "seed": 3}, "did you mean 'seeds'"),
    ],
)
def test_a_sweep_that_cannot_be_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load_sweep("spam-demo", changes)
    assert message in str(refused.value)


@pytest.mark.parametrize("text", ["train.epochs", "=1", "train.epochs=", "train.epochs=[1", "a..b=1"])
def test_a_grid_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="--grid"):
        parse_grid(text)


def test_a_row_with_a_wrong_key_is_refused_before_anything_runs() -> None:
    with pytest.raises(ConfigError, match=r"row epoch=1: spam-demo: train\.epoch: unknown key"):
        with_reasons(rows_of(load_sweep("spam-demo", {"grid": {"train.epoch": [1]}})), here=True)


def test_an_unknown_preset_base_or_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot be read"):
        load_sweep(str(tmp_path / "nothing.yaml"))
    (tmp_path / "list.yaml").write_text("- a\n")
    with pytest.raises(ConfigError, match="a mapping"):
        load_sweep(str(tmp_path / "list.yaml"))
    with pytest.raises(ConfigError, match="no sweep or preset 'seven-question', did you mean 'seven-questions'"):
        load_sweep("seven-question")
    with pytest.raises(ConfigError, match="no such base, did you mean 'random'"):
        rows_of(load_sweep("spam-experiments"), "randon")


def test_a_run_is_known_again_whatever_the_preset_says_of_itself_and_wherever_results_are_shared() -> None:
    plain = load_config("spam-demo", ["description=''"])
    other = load_config("spam-demo", ["description=from https://a.org/get?id=228", "store.remote=/shared"])
    one, two = recorded_params(plain), recorded_params(other)
    assert one["store.remote"] != two["store.remote"]
    assert two == redact_prose(two), "as MLflow has them"
    assert identity_of(one) == identity_of(two)
