"""What a real run left is exported, with what the run was told."""

from pathlib import Path

import pytest
from transformers import AutoModelForSequenceClassification

from pipelines.run import RunSummary
from tests.pipelines.commands import gradus

pytestmark = pytest.mark.usefixtures("prefect_server")


def test_a_modelfile_says_what_the_training_said(instructed: tuple[Path, RunSummary], tmp_path: Path) -> None:
    run = instructed[1]
    done = gradus("export", str(run.run_id), "--to", "ollama", "--output", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "out/Modelfile").read_text(encoding="utf-8")
    assert 'TEMPLATE """{{ if .System }}{{ .System }}\n\n{{ end }}Q: {{ .Prompt }}\nA:{{ .Response }}' in text
    for line in ("num_predict 6", "temperature 0.0", "num_ctx 64", "seed 123", 'stop """\nQ:"""'):
        assert f"PARAMETER {line}\n" in text
    card = (tmp_path / "out/README.md").read_text(encoding="utf-8")
    assert "## Figures on the test split" in card
    assert "noted on version tiny/1" in done.stdout


def test_a_classifier_of_a_run_is_exported(finished: RunSummary, tmp_path: Path) -> None:
    done = gradus("export", f"runs:/{finished.run_id}", "--to", "hf", "--output", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    peer = AutoModelForSequenceClassification.from_pretrained(tmp_path / "out")
    assert sorted(peer.config.label2id) == ["ham", "spam"]
