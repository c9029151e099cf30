"""`gradus judge` on a real MLflow store, with judges that are processes of their own."""

import itertools
import json
import threading
import time
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path

import pandas as pd
import pytest
from mlflow import MlflowClient
from scipy.stats import kendalltau, pearsonr, spearmanr

from components.core.errors import ConfigError, JudgeError, JudgeUnreachable, TrackingError
from components.judging.config import JudgeConfig
from components.tracking.runs import open_run
from pipelines.judging import judge_config, judge_run
from tests.judging.serving import OllamaServer, serve
from tests.pipelines.answered_runs import QUIET, ROWS, answered_run, gradus

CONTROL = 20
"""Questions about other rows' references."""
Make = Callable[..., str]
QUICK = {"backoff": 0.01, "timeout": 600.0, "attempts": 2}


@pytest.fixture
def models(request: pytest.FixtureRequest) -> dict[str, str]:
    """A model of the test's own: the home, with what other tests have asked, is the module's."""
    return {"phi3:latest": "sha256:" + sha256(request.node.name.encode()).hexdigest()}


@pytest.fixture
def ollama(tmp_path: Path, models: dict[str, str]) -> Iterator[OllamaServer]:
    with serve(tmp_path / "ollama") as server:
        server.behave(models=models)
        yield server


@pytest.fixture
def make(home: Path, tmp_path: Path) -> Make:
    """A function that records a finished run whose first `wrong` test responses are not the references."""
    numbers = itertools.count()
    return lambda wrong, **more: answered_run(home, tmp_path / str(next(numbers)), wrong, **more)


def artifact(home: Path, run_id: str, name: str, folder: Path) -> Path:
    client = MlflowClient(f"sqlite:///{home}/mlflow.db")
    return Path(client.download_artifacts(run_id, name, str(folder)))


def settings(server: OllamaServer, **more: object) -> list[str]:
    return [f"judge.{key}={value}" for key, value in {"kind": "ollama", "url": server.url, **QUICK, **more}.items()]


@pytest.mark.ci
def test_another_judge_is_asked_and_all_is_logged_to_the_run(
    home: Path, make: Make, ollama: OllamaServer, models: dict[str, str], tmp_path: Path
) -> None:
    run_id = make(60)
    options = [part for each in settings(ollama, model="phi3") for part in ("--set", each)]
    done = gradus(home, "judge", run_id[:10], *options, "--json")
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["run_id"], found["rows"], found["warnings"]) == (run_id, ROWS, [])
    assert found["judge"]["judge"]["name"] == f"phi3 (Ollama, {models['phi3:latest'][7:19]})"
    assert found["judge_before"]["judge"]["kind"] == "lexical"
    # Where the model's response is the reference, there is one question about both.
    assert len(ollama.chats) == 60 + 120 + 120 + CONTROL
    assert {chat["model"] for chat in ollama.chats} == {"phi3"}

    verdicts = pd.read_parquet(artifact(home, run_id, "judgements/ollama-phi3/verdicts.parquet", tmp_path))
    assert verdicts.groupby("of").size().to_dict() == {"model": ROWS, "start": ROWS, "reference": ROWS}
    new = verdicts[verdicts["of"] == "model"].set_index("row")["score"].sort_index()
    old = pd.read_parquet(artifact(home, run_id, "responses.parquet", tmp_path)).set_index("row")["score"].sort_index()
    expected = {name: test(old, new)[0] for name, test in (
        ("pearson", pearsonr), ("spearman", spearmanr), ("kendall", kendalltau))}  # fmt: skip
    assert {name: found["agreement"]["model"][name] for name in expected} == pytest.approx(expected)
    assert found["agreement"]["model"]["difference"] == pytest.approx(new.mean() - old.mean())
    assert found["figures"]["model"]["score"] == pytest.approx(new.mean())
    assert found["figures"]["reference"]["score"] == 100
    assert found["figures_before"]["model"]["score"] == pytest.approx(old.mean())
    assert f"Pearson {expected['pearson']:.2f}, Spearman" in found["sentence"]

    run = MlflowClient(f"sqlite:///{home}/mlflow.db").get_run(run_id)
    assert run.info.status == "FINISHED"
    logged = {key.removeprefix("judgement/ollama-phi3/"): value for key, value in run.data.metrics.items()}
    assert {name: logged[name] for name in expected} == pytest.approx(expected)
    assert logged["score"] == pytest.approx(new.mean())
    assert logged["start_score"] == pytest.approx(found["figures"]["start"]["score"])
    assert logged["reference_score"] == 100
    control = found["judge"]["control"]
    assert (control["rows"], control["tells"]) == (CONTROL, True)
    assert (
        (logged["control_own"], logged["control_other"])
        == (control["own"], control["other"])
        == (100, control["other"])
    )
    assert run.data.metrics["test/score"] == pytest.approx(old.mean()), "the run's own figures stay"
    told = json.loads(artifact(home, run_id, "judgements/ollama-phi3/agreement.json", tmp_path).read_text())
    assert (told["judge"]["judge"]["model"], told["sentence"]) == ("phi3", found["sentence"])
    files = {path.name for path in artifact(home, run_id, "judgements/ollama-phi3", tmp_path).iterdir()}
    assert files == {"verdicts.parquet", "control.parquet", "agreement.json", "agreement.png", "rubric.yaml"}
    assert list((home / "judgements").iterdir()) == []

    asked = len(ollama.chats)
    again = gradus(home, "judge", run_id, *options)
    assert again.exit_code == 0, again.stderr
    assert len(ollama.chats) == asked, "judging again asks nothing"
    assert found["sentence"] in " ".join(again.stdout.split())
    assert "judgements/ollama-phi3" in again.stdout
    assert f"control on 20 rows: another row's reference {control['other']:.1f}, the row's own 100.0" in again.stdout


@pytest.mark.ci
def test_a_judge_that_cannot_tell_good_from_bad_is_named(
    home: Path, make: Make, ollama: OllamaServer, models: dict[str, str]
) -> None:
    run_id = make(30)
    ollama.behave(models=models, score="100")
    done = gradus(home, "judge", run_id, *[part for each in settings(ollama, model="phi3") for part in ("--set", each)])
    assert done.exit_code == 0, done.stderr
    [line] = done.stderr.splitlines()
    assert "phi3 (Ollama, " in line
    assert "cannot tell good from bad: on 20 rows it gives another row's reference 100.0" in line
    metrics = MlflowClient(f"sqlite:///{home}/mlflow.db").get_run(run_id).data.metrics
    assert metrics["judgement/ollama-phi3/control_other"] == 100


@pytest.mark.ci
def test_a_judge_that_dies_half_way_costs_no_verdict(
    home: Path, make: Make, ollama: OllamaServer, models: dict[str, str]
) -> None:
    run_id = make(30)
    ollama.behave(models=models, dies_after=70)
    options = [part for each in settings(ollama, model="phi3") for part in ("--set", each)]
    died = gradus(home, "judge", run_id, *options)
    assert died.exit_code == 1
    [line] = died.stderr.splitlines()
    assert "start it with `ollama serve`" in line
    assert "verdicts are made and kept, and the next run goes on from there" in line
    metrics = MlflowClient(f"sqlite:///{home}/mlflow.db").get_run(run_id).data.metrics
    assert not [name for name in metrics if name.startswith("judgement/")]
    assert list((home / "judgements").iterdir()) == []

    ollama.behave(models=models)
    ollama.start()
    found = judge_run(run_id, settings(ollama, model="phi3"), home)
    assert found.judge["counts"]["model"] == {"scored": ROWS, "unparsed": 0}
    answered = [line["question"] for line in lines(ollama, "answers")]
    assert len(answered) == 30 + 120 + 120 + CONTROL
    assert len(set(answered)) == len(answered), "no question was answered twice"


def lines(server: OllamaServer, name: str) -> list[dict[str, str]]:
    return [json.loads(line) for line in (server.folder / name).read_text().splitlines()]


@pytest.mark.ci
def test_two_judgings_at_once_do_not_get_in_each_others_way(
    home: Path, make: Make, ollama: OllamaServer, models: dict[str, str]
) -> None:
    run_id = make(20)
    ollama.behave(models=models, delay=0.002)
    threads = [
        threading.Thread(target=judge_run, args=(run_id, settings(ollama, model="phi3"), home)) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
        time.sleep(0.1)
    for thread in threads:
        thread.join()
    asked = len(ollama.chats)
    assert judge_run(run_id, settings(ollama, model="phi3"), home).figures["reference"].score == 100
    assert len(ollama.chats) == asked


@pytest.mark.ci
def test_too_many_unreadable_verdicts_are_kept_to_look_at(
    home: Path, make: Make, ollama: OllamaServer, models: dict[str, str]
) -> None:
    run_id = make(20)
    ollama.behave(models=models, fault="eighty", where=" zq ")
    with pytest.raises(JudgeError, match=r": \d+ of 120 verdicts on the .* could not be read, more than") as error:
        judge_run(run_id, settings(ollama, model="phi3"), home)
    assert error.value.evidence == home / "judgements" / f"{run_id}.failed"
    verdicts = pd.read_parquet(error.value.evidence / "verdicts.parquet")
    too_many = 1 + 6 + 6  # of the model's or of the start's: more than 5 % of 120
    assert 7 <= (verdicts["status"] == "unparsed").sum() < too_many + 4, "only those under way follow"
    assert verdicts.loc[verdicts["status"] == "unparsed", "reply"].str.contains("eighty").all()
    found = judge_run(run_id, settings(ollama, model="phi3", max_unparsed=1), home)
    assert found.agreement["model"].rows == ROWS - 20
    assert found.agreement["model"].undefined is not None
    assert "correlations are undefined, as one of the two gives every response the same score" in found.sentence
    assert found.figures["start"].score is None
    assert found.agreement["start"].rows == 0
    assert found.warnings == [
        "20 of 120 verdicts on the model's responses could not be read and are in no mean score",
        "120 of 120 verdicts on the starting model's responses could not be read and are in no mean score",
        "of the verdicts that could not be read 140: the reply is no verdict",
    ]
    shown = gradus(home, "judge", run_id, *[part for each in settings(ollama, model="phi3", max_unparsed=1)
                                             for part in ("--set", each)])  # fmt: skip
    assert "undefined" in shown.stdout
    assert "none, 100.0% not read" in shown.stdout


def test_a_run_judged_by_its_own_judge_again_agrees_with_itself(home: Path, make: Make) -> None:
    found = judge_run(make(50), [], home)
    assert found.agreement["model"].pearson == pytest.approx(1)
    assert found.agreement["model"].difference_interval == (0, 0)
    assert found.artifacts == "judgements/lexical"


def test_a_judge_that_is_down_is_one_line(home: Path, make: Make) -> None:
    run_id = make(5)
    with pytest.raises(JudgeUnreachable, match="ollama serve"):
        judge_run(run_id, ["judge.kind=ollama", "judge.url=http://127.0.0.1:9", "judge.attempts=1"], home)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("judge.model=phi3", "judge.model says nothing to the lexical judge.*add --set judge.kind=ollama"),
        ("judge.modle=phi3", "judge.modle: unknown key.*model"),
        ("judge.repeats=0", "judge.repeats: Input should be greater than or equal to 1"),
        ("train.epochs=3", r"--set 'train.epochs=3' is not judge.KEY=VALUE"),
        ("judge.kind", r"--set 'judge.kind' is not judge.KEY=VALUE"),
        ("judge.model=[", "is not valid YAML"),
    ],
)
def test_a_wrong_override_is_named(home: Path, make: Make, override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        judge_config(JudgeConfig(kind="lexical").model_dump(mode="json"), [override])


@pytest.mark.parametrize(
    "override",
    [
        "judge.extra.api_key=[sk-1234567890",
        "judge.api_key=[sk-1234567890",
        "judge.api_key_env=sk-1234567890",
        "judge.extra=sk-1234567890",
        "api_key=sk-1234567890",
        "judge..api_key=sk-1234567890",
    ],
)
def test_an_error_does_not_show_a_key(override: str) -> None:
    with pytest.raises(ConfigError) as error:
        judge_config(JudgeConfig(kind="openai").model_dump(mode="json"), [override])
    assert "sk-1234567890" not in str(error.value)
    assert override.partition("=")[0] in str(error.value)


def test_another_kind_of_judge_has_a_model_and_an_address_of_its_own() -> None:
    base = JudgeConfig(model="llama3:70b", url="http://gpu:11434", concurrency=9).model_dump(mode="json")
    assert judge_config(base, ["judge.model=phi3"]).server == "http://gpu:11434"
    other = judge_config(base, ["judge.kind=openai", "judge.model=qwen3"])
    assert (other.server, other.model, other.concurrency) == ("http://localhost:8000", "qwen3", 9)
    assert judge_config(base, ["judge.kind=lexical"]).kind == "lexical"


def test_only_a_finished_instruction_run_can_be_judged(home: Path) -> None:
    with open_run(QUIET, home, "classifier", {"pipeline": "classification"}) as classifier:
        pass
    with pytest.raises(JudgeError, match="is of the pipeline classification, which makes no responses"):
        judge_run(classifier.run_id, ["judge.kind=lexical"], home)
    running = pytest.raises(JudgeError, match="is running, not finished")
    with open_run(QUIET, home, "open", {"pipeline": "instruction"}) as run, running:
        judge_run(run.run_id, [], home)
    with pytest.raises(JudgeError, match=r"left no responses.parquet and no facts.json: there is nothing to judge"):
        judge_run(run.run_id, [], home)
    with pytest.raises(TrackingError, match="there is no run"):
        judge_run("f" * 32, [], home)
