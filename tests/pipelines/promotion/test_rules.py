"""Rules as data: what each asks, at which level, from which file; and what a mistake in that file says."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from mlflow import MlflowClient

from components.core.errors import ConfigError, PromotionRefused
from pipelines.config import load_config
from pipelines.promoting.config import Rules, load_rules
from pipelines.promoting.promote import promote
from pipelines.promoting.rules import CHECKS, RuleOutcome
from tests.pages import ROOT
from tests.pipelines.commands import gradus
from tests.pipelines.labelled_runs import aliases

Make = Callable[..., str]


def rules_file(folder: Path, text: str | dict[str, Any]) -> str:
    """Write a file of rules; return its path."""
    (folder / "rules.yaml").write_text(text if isinstance(text, str) else yaml.safe_dump(text))
    return str(folder / "rules.yaml")


def outcome(rules: list[RuleOutcome], rule: str) -> RuleOutcome:
    return next(each for each in rules if each.rule == rule)


def client_of(home: Path) -> MlflowClient:
    return MlflowClient(f"sqlite:///{home}/mlflow.db")


# The file.


def test_the_example_changes_what_it_says_and_nothing_else() -> None:
    shipped, example = load_rules(), load_rules(str(ROOT / "mlflow/promotion.yaml"))
    assert (example.non_inferiority.margin, shipped.non_inferiority.margin) == (0.02, None)
    assert (example.better_than_best_baseline.level, shipped.better_than_best_baseline.level) == ("error", "warn")
    assert example.unparsed_verdicts == shipped.unparsed_verdicts
    assert load_rules(None) == shipped


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "better_than_majorty: {level: warn}",
            "better_than_majorty: unknown key, did you mean 'better_than_majority'?",
        ),
        ("export_parity: {level: eror}", "export_parity.level: Input should be 'error' or 'warn' (it is 'eror')"),
        ("unparsed_verdicts: {max_shar: 0.1}", "unparsed_verdicts.max_shar: unknown key, did you mean 'max_share'?"),
        ("unparsed_verdicts: {max_share: 5}", "unparsed_verdicts.max_share: Input should be less than or equal to 1"),
        ("minimum_metrics: {metrics: {acuracy: 0.9}}", "there is no metric 'acuracy'"),
        ("minimum_metrics: {metrics: {accuracy: 90}}", "accuracy is between 0 and 1, and never 90"),
        ("non_inferiority: {margin: -1}", "non_inferiority.margin: Input should be greater than or equal to 0"),
        ("judge_tells: error", "judge_tells: Input should be a valid dictionary"),
        ("- judge_tells", "are no mapping; rules are non_inferiority, "),
        ("a: [", "are not valid YAML: "),
    ],
)
def test_a_mistake_in_the_file_is_one_clear_line(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_rules(rules_file(tmp_path, text))
    assert "rules.yaml" in str(caught.value)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"the rules .*nothing\.yaml cannot be read: No such file"):
        load_rules(str(tmp_path / "nothing.yaml"))


@pytest.mark.ci
def test_what_the_runs_config_names_is_read_and_what_is_typed_comes_first(
    home: Path, make: Make, tmp_path: Path
) -> None:
    strict = rules_file(tmp_path, {"minimum_metrics": {"metrics": {"accuracy": 0.99}}})
    run_id = make(10, **{"promotion.rules": strict})
    with pytest.raises(PromotionRefused, match=r"accuracy: it is 0.95, and 0.99 at least is asked for"):
        promote(run_id, home)
    (tmp_path / "own").mkdir()
    assert promote(run_id, home, rules=rules_file(tmp_path / "own", "")).changed


def test_promotion_rules_is_a_key_of_every_kind() -> None:
    for preset in ("spam-demo", "instruct-demo"):
        config = load_config(preset, ["promotion.rules=mlflow/promotion.yaml"])
        assert config.promotion.rules == "mlflow/promotion.yaml"
    with pytest.raises(ConfigError, match=r"promotion.rule: unknown key, did you mean 'rules'\?"):
        load_config("spam-demo", ["promotion.rule=x"])


# The table.


def test_a_dry_run_shows_and_logs_every_rule_and_changes_nothing(home: Path, make: Make, name: str) -> None:
    run_id = make(10, svm_wrong=5)
    done = gradus("promote", run_id, "--dry-run", "--json", GRADUS_HOME=str(home))
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["changed"], found["dry_run"]) == (False, True)
    assert f"version 1 of {name} would become the champion: " in found["sentence"]
    verdicts = {each["rule"]: (each["level"], each["verdict"]) for each in found["rules"]}
    assert verdicts == {
        "non_inferiority": ("error", "passed"),
        "better_than_majority": ("error", "passed"),
        "better_than_best_baseline": ("warn", "failed"),
        "unlearned_rows": ("warn", "passed"),
        "unparsed_verdicts": ("error", "not measured"),
        "judge_tells": ("error", "not measured"),
        "minimum_metrics": ("error", "not measured"),
        "export_parity": ("error", "not measured"),
    }
    logged = Path(client_of(home).download_artifacts(run_id, "promotion/rules.json"))
    assert json.loads(logged.read_text())["rules"] == found["rules"]
    assert aliases(home, name) == {}
    assert not [tag for tag in client_of(home).get_registered_model(name).tags if "history" in tag]


def test_a_refused_one_shows_the_table_too(home: Path, make: Make, name: str, tmp_path: Path) -> None:
    strict = rules_file(tmp_path, {"minimum_metrics": {"metrics": {"accuracy": 0.96, "loss": 0.1}}})
    run_id = make(10)
    done = gradus("promote", run_id, "--rules", strict, "--json", GRADUS_HOME=str(home))
    assert done.returncode == 1
    found = {each["rule"]: each for each in json.loads(done.stdout)["rules"]}
    least = found["minimum_metrics: accuracy"]
    assert (least["value"], least["limit"], least["verdict"]) == (0.95, 0.96, "failed")
    assert found["minimum_metrics: loss"]["sentence"] == "log loss: the run has none, and 0.1 at most is asked for"
    assert len(done.stderr.splitlines()) == 1
    assert "accuracy: it is 0.95, and 0.96 at least is asked for; log loss: the run has none" in done.stderr
    logged = Path(client_of(home).download_artifacts(run_id, "promotion/rules.json"))
    assert json.loads(logged.read_text())["sentence"].startswith("not promoted: ")
    assert aliases(home, name) == {}
    assert promote(run_id, home, rules=strict, force=True, reason="I know").forced


# Each rule.


@pytest.mark.ci
def test_the_best_baseline_warns_and_may_decide(home: Path, make: Make, tmp_path: Path) -> None:
    run_id = make(10, svm_wrong=10)
    decides = rules_file(tmp_path, {"better_than_best_baseline": {"level": "error"}})
    with pytest.raises(PromotionRefused, match=r"words and characters \+ linear SVM on 95.0% .*: it is not better"):
        promote(run_id, home, rules=decides)
    assert outcome(promote(run_id, home).rules, "better_than_best_baseline").verdict == "failed"
    beaten = promote(make(5, svm_wrong=60), home, rules=decides)
    assert outcome(beaten.rules, "better_than_best_baseline").verdict == "passed"


@pytest.mark.slow
def test_test_rows_that_it_has_learned_from_warn_and_may_decide(home: Path, make: Make, tmp_path: Path) -> None:
    run_id = make(10, train=("learned", "text aa", "text ba"))
    decides = rules_file(tmp_path, {"unlearned_rows": {"level": "error"}})
    with pytest.raises(PromotionRefused, match="has learned from 2 of 200 test rows; no comparison counts them"):
        promote(run_id, home, rules=decides)
    found = promote(run_id, home)
    assert (outcome(found.rules, "unlearned_rows").value, outcome(found.rules, "unlearned_rows").verdict) == (
        2,
        "failed",
    )
    assert found.measured[0].rows == 198


@pytest.mark.ci
def test_an_export_that_said_something_else_than_the_model_refuses_it(home: Path, make: Make, name: str) -> None:
    run_id = make(10)
    client_of(home).set_model_version_tag(
        name, "1", "gradus.export.parity", "failed: logits differ by 0.2 (gguf, Q4_0)"
    )
    with pytest.raises(PromotionRefused, match=r"its export: failed: logits differ by 0.2 \(gguf, Q4_0\); --force"):
        promote(run_id, home)
    client_of(home).set_model_version_tag(name, "1", "gradus.export.parity", "passed: hf")
    assert outcome(promote(run_id, home).rules, "export_parity").verdict == "passed"


@pytest.mark.slow
def test_metrics_of_another_kind_are_not_asked_for(home: Path, make: Make, tmp_path: Path) -> None:
    both = rules_file(tmp_path, {"minimum_metrics": {"metrics": {"score": 80, "accuracy": 0.9}}})
    asked = [each.rule for each in promote(make(10), home, rules=both).rules if "minimum" in each.rule]
    assert asked == ["minimum_metrics: accuracy"]


def test_every_rule_is_asked_and_has_its_default() -> None:
    assert list(CHECKS) == list(Rules.model_fields)
