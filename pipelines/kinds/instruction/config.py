"""The config of the instruction flow, composed from the components' own."""

from typing import Any, Literal

from components.data.sources import InstructionSourceConfig
from components.data.split.config import InstructionSplitConfig
from components.data.validation.rules import InstructionValidationConfig
from components.generation.config import GenerationConfig
from components.judging.config import JudgeConfig
from components.models.config import PUBLISHED, LoraConfig, ModelConfig
from components.prompts import PromptConfig
from components.tracking.config import TrackingConfig
from components.training.config import InstructionTrainConfig
from pipelines.config import PipelineConfig


class InstructionConfig(PipelineConfig):
    """A language model that follows instructions, from download to registered model."""

    pipeline: Literal["instruction"] = "instruction"
    """Which flow runs."""

    source: InstructionSourceConfig
    """Where the data comes from and how it is read."""

    validation: InstructionValidationConfig = InstructionValidationConfig()
    """What the data must be like."""

    split: InstructionSplitConfig = InstructionSplitConfig()
    """How entries are dealt to train, validation and test."""

    prompt: PromptConfig = PromptConfig()
    """How an entry is written out, in training, generation and serving alike."""

    model: ModelConfig = ModelConfig(size="355M", weights=PUBLISHED["355M"])
    """The network and where its weights come from."""

    lora: LoraConfig = LoraConfig()
    """The adapters, where `train.trainable` is `lora`."""

    train: InstructionTrainConfig = InstructionTrainConfig()
    """The recipe of fine-tuning."""

    generation: GenerationConfig = GenerationConfig()
    """How the test split is answered."""

    answer_validation: bool = False
    """Whether the validation split is answered as well, and likened to its references (`validation/chrf`): recipes can
    be chosen by it whose losses mean different things, since they have other prompts, or learn them too."""

    judge: JudgeConfig = JudgeConfig()
    """Who gives the responses a score."""

    tracking: TrackingConfig = TrackingConfig()
    """Where the run is recorded."""

    def recorded(self) -> dict[str, Any]:
        """Return the config as a run records it: without what its judge does not read."""
        tree = self.model_dump(mode="json")
        if not self.judge.is_language_model:
            tree["judge"] = {key: tree["judge"][key] for key in ("kind", "also")}
        return tree


CONFIG = InstructionConfig
