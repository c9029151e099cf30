"""A training that does not come to its end: nothing of it is lost, and it goes on as if nothing had happened."""

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file

from components.core.errors import TrackingError
from components.core.records import Facts
from components.core.store import Store
from components.models.saved.classifier import load_classifier
from tests.training.tuning import Recorder, tune, weights


class Impatient(Recorder):
    """A logger that presses Ctrl-C when a step is logged."""

    def __init__(self, step: int) -> None:
        super().__init__()
        self.step = step

    def metrics(self, values: dict[str, float], step: int) -> None:
        super().metrics(values, step)
        if step == self.step:
            signal.raise_signal(signal.SIGINT)


@pytest.mark.usefixtures("heeded")
def test_an_interrupted_training_keeps_a_model_and_its_history(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt) as caught:
        tune(tmp_path, logger=Impatient(7), epochs=3)
    assert caught.value.evidence == tmp_path / "out"  # type: ignore[attr-defined]
    assert pd.read_parquet(tmp_path / "out/steps.parquet")["step"].tolist() == list(range(1, 8))
    predicted = load_classifier(tmp_path / "out/model").predict(["see you soon"])
    assert predicted["probability"].between(0, 1).all()


@pytest.mark.usefixtures("heeded")
def test_ctrl_c_is_what_ends_it_though_nothing_can_be_written(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class InTheWay(Impatient):
        def metrics(self, values: dict[str, float], step: int) -> None:
            if step == self.step:
                for name in ("checkpoint", "model"):  # files where folders are to be
                    (tmp_path / "out" / name).touch()
            super().metrics(values, step)

    with pytest.raises(KeyboardInterrupt) as caught:
        tune(tmp_path, logger=InTheWay(7), epochs=3)
    assert caught.value.evidence == tmp_path / "out"  # type: ignore[attr-defined]
    assert "no checkpoint was written after step 7" in caplog.text
    assert "the model so far could not be saved" in caplog.text


@pytest.mark.ci
@pytest.mark.usefixtures("heeded")
@pytest.mark.parametrize(("keep", "trainable"), [("best", "all"), ("last", "lora")])
@pytest.mark.parametrize("stop", [1, 7, 10])
def test_an_interrupted_training_goes_on_as_if_it_had_not_been(
    tmp_path: Path, stop: int, keep: str, trainable: str
) -> None:
    options = {"epochs": 2, "keep": keep, "trainable": trainable, "schedule": "cosine", "warmup": 3}
    whole = Recorder()
    expected = tune(tmp_path, "whole", whole, **options)
    store, resumed = Store(tmp_path / "store"), Recorder()

    def write(logger: Recorder) -> Callable[[Path], Facts]:
        return lambda out: tune(tmp_path, "unused", logger, out=out, **options)

    with pytest.raises(KeyboardInterrupt) as caught:
        store.produce("fine_tune", "k", write(Impatient(stop)))
    assert len(pd.read_parquet(caught.value.evidence / "steps.parquet")) == stop  # type: ignore[attr-defined]
    manifest = store.produce("fine_tune", "k", write(resumed))
    assert manifest.facts == expected
    assert sorted(resumed.rows, key=str) == sorted(whole.rows, key=str)
    for file in (path for path in (tmp_path / "whole").rglob("*") if path.is_file()):
        name = file.relative_to(tmp_path / "whole")
        assert (manifest.folder / name).read_bytes() == file.read_bytes(), name
    assert not list((tmp_path / "store").rglob("checkpoint"))


@pytest.mark.usefixtures("heeded")
@pytest.mark.parametrize("harm", ["gone", "junk", "of something else"])
@pytest.mark.parametrize("name", ["state", "best"])
def test_a_checkpoint_that_is_not_whole_is_left_aside(tmp_path: Path, name: str, harm: str) -> None:
    with pytest.raises(KeyboardInterrupt):
        tune(tmp_path, "stopped", Impatient(3), max_steps=5)
    file = tmp_path / f"stopped/checkpoint/3/{name}.safetensors"
    if harm == "gone":
        file.unlink()
    elif harm == "junk":
        file.write_bytes(b"junk")
    else:
        save_file({"0.else": torch.zeros(3)}, file)
    if (name, harm) == ("best", "of something else"):
        pytest.skip("it is whole, and only ours are ever written there")
    for history in ("steps", "history") if harm == "junk" else ():
        (tmp_path / f"stopped/checkpoint/3/{history}.parquet").write_bytes(b"junk")
    (tmp_path / "again").mkdir()
    (tmp_path / "stopped/checkpoint").rename(tmp_path / "again/checkpoint")
    anew = tune(tmp_path, out=tmp_path / "again", max_steps=5)
    assert anew == tune(tmp_path, "whole", max_steps=5)
    assert weights(tmp_path, "again")["head.weight"].equal(weights(tmp_path, "whole")["head.weight"])


def test_an_error_that_has_nothing_to_do_with_training_does_not_cost_it(tmp_path: Path) -> None:
    class Broken(Recorder):
        def metrics(self, values: dict[str, float], step: int) -> None:
            super().metrics(values, step)
            if step == 6:
                raise TrackingError("the server is gone")

    store, resumed = Store(tmp_path / "store"), Recorder()
    with pytest.raises(TrackingError) as caught:
        store.produce("fine_tune", "k", lambda out: tune(tmp_path, logger=Broken(), out=out, max_steps=9))
    assert caught.value.evidence == tmp_path / "store/fine_tune/k.failed"
    manifest = store.produce("fine_tune", "k", lambda out: tune(tmp_path, logger=resumed, out=out, max_steps=9))
    assert manifest.facts == tune(tmp_path, "whole", max_steps=9)
    whole = weights(tmp_path, "whole")
    assert load_file(manifest.folder / "model/model.safetensors")["head.weight"].equal(whole["head.weight"])
    assert not caught.value.evidence.exists()


@pytest.mark.usefixtures("heeded")
def test_an_interruption_after_the_last_step_waits_until_the_result_is_in_its_place(tmp_path: Path) -> None:
    def write(out: Path) -> Facts:
        facts = tune(tmp_path, out=out, max_steps=3)
        signal.raise_signal(signal.SIGINT)
        return facts

    store = Store(tmp_path / "store")
    with pytest.raises(KeyboardInterrupt):
        store.produce("fine_tune", "k", write)
    found = store.find("fine_tune", "k")
    assert found is not None
    assert found.facts["steps"] == 3
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.usefixtures("heeded")
def test_a_second_interruption_does_not_lose_what_the_first_one_keeps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from components.training import checkpoints

    keep = checkpoints.write_checkpoint

    def impatiently(*arguments: Any) -> None:
        signal.raise_signal(signal.SIGINT)
        keep(*arguments)

    monkeypatch.setattr(checkpoints, "write_checkpoint", impatiently)
    store = Store(tmp_path / "store")
    with pytest.raises(KeyboardInterrupt):
        store.produce("fine_tune", "k", lambda out: tune(tmp_path, logger=Impatient(3), out=out))
    kept = tmp_path / "store/fine_tune/k.interrupted"
    assert (kept / "checkpoint/3/state.safetensors").exists()
    assert (kept / "model/model.safetensors").exists()
