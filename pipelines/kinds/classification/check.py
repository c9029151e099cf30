"""What is special to the check of a classifier: classes, texts as the network gets them, and untrained weights."""

from functools import partial
from pathlib import Path

from components.core.records import Facts, Manifest
from components.generation.zero_shot import has_room, try_zero_shot
from components.models.classifier import Classifier
from components.models.fast.trunk import Trunk
from components.models.saved.classifier import MODEL_FILE
from components.models.weights import make_gpt
from components.tasks import fetch_weights, reads_ahead, split, validate
from components.training.classification import build_classifier, objective_of, prepare, tokenise
from components.training.frozen import blank_states, bytes_left, state_lengths, time_reading
from components.training.objectives.classification import Classification
from components.training.planning.preview import describe_lengths, sample_texts
from components.training.planning.trial import Besides, Trial
from pipelines import check
from pipelines.kinds.classification.config import ClassificationConfig
from pipelines.shown import TITLE, line, table_of, visible

ASKED = 20
"""Validation rows that a language model is asked about."""
SHOWN_GUESSES = 5
SHOWN_CHARACTERS = 70


class Found(check.Found):
    """All that a check found out; `zero_shot` says how the weights do without training, or `no_zero_shot` why not."""

    zero_shot: Facts | None = None
    no_zero_shot: str = ""


class Check(check.Check):
    """A check of a classifier."""

    Found, rows = Found, "texts"
    config: ClassificationConfig

    def bring(self, source: Manifest) -> tuple[Manifest, Facts]:
        """Validate and split the texts, and count those of each label at first, after splitting, after balancing."""
        config = self.config
        table = validate.without_prefect(source, config.validation)
        self.splits = split.without_prefect(table, config.split, config.balance)
        facts, self.labels = self.splits.facts, self.splits.facts["labels"]
        stages = {"validated": {label: int(table.facts["class_counts"][label]) for label in self.labels}}
        if config.balance.method == "undersample" and config.balance.when == "train_only":
            stages["train, before balancing"] = facts["train_classes_before_balancing"]
        self.counts = stages | facts["classes"]
        return table, {"classes": self.counts}

    def prepare(self) -> Trial:
        """Tokenise the splits; where states of frozen blocks are read, they are there without content."""
        model, train = self.config.model, self.config.train
        learnt, validation, tested = (self.splits.path(f"{name}.parquet") for name in ("train", "validation", "test"))
        self.data = prepare(learnt, validation, self.labels, self.encoding, train, model.shape.context)
        test = tokenise(tested, self.labels, self.encoding).cut(self.data.limit)
        self.examples = {"train": self.data.train, "validation": self.data.validation, "test": test}
        self.states = blank_states(self.data, model, train, self.precision) if reads_ahead(model, train) else {}
        self.recipe = (model, self.config.lora, train, len(self.labels), self.encoding.n_vocab)
        if encoder := self.config.evaluation.encoder:
            self.or_missing(lambda: fetch_weights.without_prefect(encoder))
        self._describe_texts()
        read, written = model.weights != "random", self.config.lora.save == "merged"
        trial = Trial(partial(build_classifier, *self.recipe, outline=True), self._learn, read, written)
        trial.kept = bytes_left(self.states, self.precision)
        return trial

    def _describe_texts(self) -> None:
        limit, length = self.data.limit, self.data.length
        pooling = self.config.train.pooling or self.config.model.shape.pooling
        lengths = [describe_lengths(name, rows.whole_lengths, limit) for name, rows in self.examples.items()]
        samples = sample_texts("train", self.data.train, self.labels, self.encoding, pooling, length)
        self.found.texts = {"lengths": lengths, "samples": samples}
        titles = {"tokens": "tokens", "cut_texts": f"texts over {limit}", "cut_tokens": "tokens cut off"}
        self.show(line("tokens of a text", TITLE), *check.show_lengths(lengths, titles, "texts"))
        self.show(line("texts of train as the network gets them", TITLE))
        padded = f"padded to {length}" if length else "padded to the longest of its batch"
        for sample in samples:
            cut = f", {sample['lost']} more cut off" if sample["lost"] else ""
            label = f"label {sample['label']}; {len(sample['ids'])} tokens{cut}"
            self.show(*check.show_sample(sample, ("|", "|"), f"{label}, {padded}; read at {sample['read']}"))

    def _learn(self, network: Classifier) -> Classification:
        return objective_of(network, self.data, self.config.train, self.device, self.end, self.states)

    def network(self, weights: Path | None) -> Classifier:
        """Return the classifier that training starts from."""
        return build_classifier(*self.recipe, weights)

    def time_besides(self, network: Classifier, token: float) -> Besides:
        """Return the seconds of the last evaluation, of all rows, and of the frozen blocks."""
        train, length = self.data.train, self.data.length
        tokens = sum(len(rows) * length if length else int(rows.lengths.sum()) for rows in self.examples.values())
        frozen = 0.0
        if self.states:
            trunk = Trunk(network.transformer, self.states["train"].blocks, self.device, self.precision)
            kept = state_lengths(train, self.config.train, length)
            frozen = tokens * time_reading(trunk, train, kept, self.config.train)
        return Besides(frozen=frozen, later={"evaluation of all rows at the end": tokens * token})

    def look_further(self) -> None:
        """Ask the untrained weights about some validation rows."""
        self.found.no_zero_shot = self._why_no_zero_shot()
        if self.found.no_zero_shot:
            self.show(line(f"no classification by prompt: {self.found.no_zero_shot}", TITLE))
            return
        import pandas as pd

        seed = self.config.train.seed
        model = make_gpt(self.config.model, self.encoding.n_vocab, self.weights, seed).eval().to(self.device)
        rows = pd.read_parquet(self.splits.path("validation.parquet"), columns=["text", "label"])
        asked = rows.sample(min(ASKED, len(rows)), random_state=seed)
        tried = try_zero_shot(model, self.encoding, asked["text"].tolist(), asked["label"].tolist(), self.labels)
        self.found.zero_shot = tried
        shown = (each | {"text": visible(each["text"])[:SHOWN_CHARACTERS]} for each in tried["guesses"][:SHOWN_GUESSES])
        self.show(
            line("classification by prompt, before any training", TITLE),
            line(f"asked: {tried['prompt']!r}"),
            line(f"it would write: {tried['continuation']!r}"),
            table_of(shown, {"truth": "label", "said": "it says", "text": "text"}),
            line(
                f"right on {tried['accuracy']:.0%} of {len(asked)} validation rows; always the commonest label: "
                f"{tried['always']:.0%}. A base GPT-2 does little better than chance: this shows that its weights were "
                "read."
            ),
        )

    def _why_no_zero_shot(self) -> str:
        if self.config.model.weights == "random":
            return "the weights are random"
        if self.config.model.shape.is_encoder:
            return "an encoder writes no text"
        if self.weights is None or self.found.missing:
            return "the weights are missing, or are others"
        if (self.weights / MODEL_FILE).exists():
            return "the weights are a classifier's"
        if self.found.cost.timing is None:
            return "there is not enough free memory"
        if not has_room(self.encoding, self.labels, self.config.model.shape.context):
            return "the prompt does not fit the model's context"
        return ""
