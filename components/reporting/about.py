"""What a report and a card say of the run itself."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class About:
    """A run: its name and id, its whole config flat, the tags of its code, and what its model goes on from."""

    name: str
    run_id: str
    params: Mapping[str, str]
    tags: Mapping[str, str]
    lineage: str = ""
    """Which models its own goes on from, in a sentence; empty if it goes on from none."""

    @property
    def code(self) -> str:
        """The git revision that ran, if there was one."""
        revision = self.tags.get("mlflow.source.git.commit", "")
        dirty = self.tags.get("gradus.git.dirty") == "true"
        return revision[:12] + (" with local changes" if dirty else "")

    @property
    def model_uri(self) -> str:
        """Where the model is found: by its alias, or by the run if it has no name."""
        name = self.params.get("tracking.model_name", "null")
        return f"runs:/{self.run_id}/model" if name == "null" else f"models:/{name}@candidate"

    @property
    def sections(self) -> dict[str, dict[str, str]]:
        """The config by section; what stands in none is `general`."""
        found: dict[str, dict[str, str]] = {}
        for key, value in self.params.items():
            section, dot, name = key.partition(".")
            found.setdefault(section if dot else "general", {})[name if dot else key] = value
        return found

    def recipe(self, sections: Iterable[str]) -> dict[str, str]:
        """Return the values of the config's sections that made the model, and of adapters where there are any."""
        lora = ["lora"] if self.params.get("train.trainable") == "lora" else []
        begin = tuple(f"{section}." for section in [*sections, *lora])
        return {key: value for key, value in self.params.items() if key.startswith(begin)}
