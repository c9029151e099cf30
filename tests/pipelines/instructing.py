"""What the tests of the instruction flow share: a tiny preset, entries, and what a run has left."""

import json
from pathlib import Path

from mlflow import MlflowClient

from components.core.home import home
from pipelines.config import load_config
from pipelines.kinds.instruction.config import InstructionConfig
from pipelines.kinds.instruction.flow import instruction
from pipelines.run import RunSummary

STEPS = [
    "download", "validate", "split", "fetch_weights", "fine_tune", "respond", "respond_before", "judge", "evaluate",
]  # fmt: skip
ANIMALS = ["cat", "dog", "bird", "fish", "horse", "mouse", "lion", "tiger", "bear", "wolf", "fox", "frog", "duck"]
PRESET = """
pipeline: instruction
source:
  url: {url}
  columns: {{instruction: instruction, input: input, output: output, task: task}}
prompt:
  template: {{instruction: "Q: {{instruction}}", input: " | {{input}}", response: "\\nA: {{output}}", stop: ["\\nQ:"]}}
model:
  size: {{layers: 1, heads: 1, width: 16, context: 64}}
  weights: random
  vocabulary: sample://vocabulary.tiktoken
train: {{max_steps: 4, batch_size: 8, learning_rate: 0.1, precision: fp32, device: cpu, eval_every: 2, keep: last}}
generation: {{max_new_tokens: 6, precision: fp32}}
judge: {{kind: lexical}}
tracking: {{experiment: tiny, model_name: tiny, system_metrics: false}}
"""


def entries(count: int = 60) -> list[dict[str, str]]:
    """Two tasks; every third entry has no input."""
    found = []
    for row in range(count):
        animal = f"{ANIMALS[row % len(ANIMALS)]} {row}"
        plural = row % 2 == 0
        found.append(
            {
                "instruction": f"{'Plural' if plural else 'Loud'}{f': {animal}' if row % 3 == 0 else ''}",
                "input": "" if row % 3 == 0 else animal,
                "output": f"{animal}s" if plural else animal.upper(),
                "task": "plural" if plural else "loud",
            }
        )
    return found


def write_preset(folder: Path, content: object = None) -> Path:
    """Write entries and a preset beside them; return the preset's path."""
    folder.mkdir(exist_ok=True)
    data, preset = folder / "entries.json", folder / "tiny.yaml"
    text = content if isinstance(content, str) else json.dumps(content or entries())
    data.write_text(text, encoding="utf-8")
    preset.write_text(PRESET.format(url=data))
    return preset


def config(folder: Path, *overrides: str, content: object = None) -> InstructionConfig:
    found = load_config(str(write_preset(folder, content)), overrides)
    assert isinstance(found, InstructionConfig)
    return found


def run(folder: Path, *overrides: str, content: object = None) -> RunSummary:
    return instruction(config(folder, *overrides, content=content))


def client() -> MlflowClient:
    return MlflowClient(f"sqlite:///{home()}/mlflow.db")


def artifacts(run_id: str, folder: str = "") -> set[str]:
    return {entry.path for entry in client().list_artifacts(run_id, folder)}
