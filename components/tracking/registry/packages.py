"""What a logged model's folder holds, so that it runs anywhere: code, weights, vocabulary, requirements, signature."""

import importlib.metadata
import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.core.integrity import HASHED_KEY, HASHES, write_hashes
from components.core.room import require_room, size_of
from components.models.pretrained.files import PACKAGED
from components.models.pretrained.hub import is_hub_id
from components.models.saved.card import CARD_FILE
from components.tracking.names import READING_TAG
from components.tracking.registry.bundling import ENTRY_FILE, write_bundle
from components.tracking.stores import quiet

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.models import ModelSignature

REQUIREMENTS = (
    "jinja2",
    "mlflow-skinny",
    "numpy",
    "pandas",
    "pydantic",
    "pyyaml",
    "safetensors",
    "tiktoken",
    "tokenizers",
    "torch",
)
"""What the files in a model's `code/` import, and nothing else; a test holds the two together, for every kind.

The skinny MLflow loads and serves models; the whole one would bring databases, plots and scikit-learn."""


@dataclass(frozen=True)
class Kind:
    """What models of a kind have in common."""

    name: str
    """MLflow's model type."""
    module: str
    """The module that a logged model runs, and what it imports with it."""
    served: str
    """The class in it that answers MLflow."""
    description: str
    """What the page of a registered model says, whatever its versions are."""


CLASSIFIER = Kind(
    "classifier", "components.serving.classifier", "TextClassifier", "Text classifier, fine-tuned by Gradus."
)
LANGUAGE_MODEL = Kind(
    "instruction",
    "components.serving.responder",
    "InstructionResponder",
    "Language model that follows instructions, fine-tuned by Gradus.",
)


@dataclass(frozen=True)
class Package:
    """A saved model of some kind, and what MLflow is to show of it."""

    kind: Kind
    folder: Path
    """The saved model."""
    signature: "ModelSignature"
    example: "pd.DataFrame"
    """Rows that stand in the model as an example of its input."""
    reading: Mapping[str, Any] | None = None
    """How the file that it learnt from was read: keys of `source`, its columns among them; `gradus predict` uses it."""

    def write(self, target: Path, run_id: str | None) -> str:
        """Write the MLflow model into `target`, an absent folder. Needs no store.

        Returns the hash of the hashes of its files.

        Args:
            target: where to.
            run_id: the run that made it.
        """
        import mlflow.pyfunc
        from mlflow.models import Model

        require_room(target.parent, size_of(self.folder))
        quiet()
        with tempfile.TemporaryDirectory() as scratch:
            bundle = write_bundle(self.kind.module, Path(scratch))
            served = f"{bundle.name}{self.kind.module.removeprefix('components')}:{self.kind.served}"
            mlflow.pyfunc.save_model(
                path=str(target),
                mlflow_model=Model(run_id=run_id),
                python_model=str(bundle.with_name(ENTRY_FILE)),
                model_config={"served": served},
                code_paths=[str(bundle)],
                artifacts={"model": str(self.folder)},
                pip_requirements=requirements(self.folder),
                signature=self.signature,
                input_example=self.example,
                metadata={HASHED_KEY: HASHES, **({READING_TAG: dict(self.reading)} if self.reading else {})},
            )
        for cache in target.rglob("__pycache__"):
            shutil.rmtree(cache)
        return write_hashes(target)


def classifier_package(folder: Path, texts: Sequence[str], reading: Mapping[str, Any] | None = None) -> Package:
    """Return a saved classifier with texts as the example of its input; the labels are read from it.

    By its signature it takes texts, and returns the label, its probability, and every label's probability. The input
    has no name on purpose: MLflow refuses lists of strings for a named column. The model itself checks that a table's
    column is called `text`.
    """
    import pandas as pd
    from mlflow.models import infer_signature

    labels = json.loads((folder / "model.json").read_text())["labels"]
    answer = {"label": "", "probability": 0.0, **{f"p_{label}": 0.0 for label in labels}}
    signature = infer_signature(["text"], pd.DataFrame([answer]), {"batch_size": 32})
    return Package(CLASSIFIER, folder, signature, pd.DataFrame({"text": list(texts)}), reading)


def language_model_package(
    folder: Path, rows: Sequence[Mapping[str, str]], reading: Mapping[str, Any] | None = None
) -> Package:
    """Return a saved language model with entries (`instruction`, `input`) as the example of its input.

    By its signature it takes a table of `instruction` and, if wanted, `input`, or of `messages`, and returns
    `response`. How it is generated are parameters of a call, with the defaults of `components.serving.language_model`.
    Without `top_k` and `top_p` no token is left out.
    """
    import pandas as pd
    from mlflow.models import infer_signature
    from mlflow.types import DataType, ParamSchema, ParamSpec

    # An input of any type: a column in which every one is missing has none. The model itself looks at what is there.
    given = {"instruction": ["", None], "input": [None, None], "messages": [None, None]}
    signature = infer_signature(pd.DataFrame(given), pd.DataFrame({"response": [""]}))
    whole, number = DataType.long, DataType.double
    signature.params = ParamSchema(
        [
            ParamSpec("max_new_tokens", whole, 256),
            ParamSpec("temperature", number, 0.0),
            ParamSpec("top_k", whole, None),
            ParamSpec("top_p", number, None),
            ParamSpec("seed", whole, 123),
            ParamSpec("batch_size", whole, 128),
            ParamSpec("precision", DataType.string, "auto"),
        ]
    )
    example = pd.DataFrame([{"instruction": row["instruction"], "input": row.get("input", "")} for row in rows])
    return Package(LANGUAGE_MODEL, folder, signature, example, reading)


def requirements(folder: Path | None = None) -> list[str]:
    """Return what the model needs, pinned to what is installed, without a build's suffix (`2.13.0`, not `2.13.0+cpu`).

    A saved model in `folder` that is an adapter alone also needs what its base is read with, and its package.

    A suffix names a build that the index of the machine that serves may not have.
    """
    names = [*REQUIREMENTS, *(_of_base(folder) if folder else ())]
    return [f"{name}=={importlib.metadata.version(name).partition('+')[0]}" for name in names]


def _of_base(folder: Path) -> list[str]:
    base = json.loads((folder / CARD_FILE).read_text(encoding="utf-8")).get("base")
    weights = str(base["weights"]) if base else ""
    needed = ["gguf"] if weights.endswith(".gguf") else []
    if weights.startswith(PACKAGED):
        package = weights.removeprefix(PACKAGED).partition("/")[0]
        needed += importlib.metadata.packages_distributions().get(package, [])[:1]
    return [*needed, "huggingface-hub"] if is_hub_id(weights) else needed
