"""What is special to the check of instructions: what is learnt and masked, what answering costs, and the judge."""

from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path

import pyarrow.parquet as pq

from components.core.errors import JudgeError
from components.core.records import Facts, Manifest
from components.generation.answers import room_for_prompts, rows_at_once
from components.generation.forecast import answering_bytes, copied_bytes, most_tokens, time_decoding, weights_bytes
from components.judging.cache import verdicts_path
from components.judging.config import JudgeConfig
from components.judging.forecast import expected_usage, look_for_judge, refuse_before_training
from components.judging.spending import LimitReached, Usage
from components.models.devices import pick_precision
from components.models.language_model import LanguageModel
from components.models.tokenizer import end_of_answer
from components.tasks.instruction import SAMPLE_TOKENS, split, validate
from components.training.instruction import build_gpt, prepare, tokenise
from components.training.objectives.instruction import Instruction
from components.training.planning.preview import compare_batchings, describe_cuts, describe_entries, sample_entries
from components.training.planning.trial import Besides, Trial
from pipelines import check
from pipelines.kinds.instruction.config import InstructionConfig
from pipelines.shown import TITLE, WARNING, Shown, line, table_of

MARKS = ("⟦", "⟧")
"""What stands around learnt tokens where there are no colours."""
CUTS = {
    "split": "split",
    "entries": "entries",
    "cut_entries": "cut",
    "cut_tokens": "tokens cut off",
    "without_response": "without a response",
}
BATCHINGS = {"batching": "train.batching", "rows": "rows", "width": "tokens of a row", "padding": "padding"}


class Found(check.Found):
    """All that a check found out, also of the `judge`.

    `answering` the test split has so many `entries` and takes so much `memory`, `seconds` if the responses are as long
    as the references, and `most_seconds`; it is None where a run would not fit into memory.
    """

    judge: Facts | None = None
    answering: Facts | None = None


class Check(check.Check):
    """A check of a language model and its instructions."""

    Found, rows = Found, "instructions with their inputs"
    config: InstructionConfig

    def bring(self, source: Manifest) -> tuple[Manifest, Facts]:
        """Validate the entries, for whose length the vocabulary has to be there, split them, and count them by task."""
        config = self.config
        table = validate.without_prefect(source, config.validation, config.prompt, config.model)
        self.splits = split.without_prefect(table, config.split)
        rows, tasks = self.splits.facts["rows"], self.splits.facts["tasks"]
        names = dict.fromkeys(name for counts in tasks.values() for name in counts)
        by_task = {name: {split: counts.get(name, 0) for split, counts in tasks.items()} for name in names}
        self.counts = by_task or {split: {"entries": count} for split, count in rows.items()}
        special: Facts = {
            name: table.facts[name] for name in ("empty_inputs", "tokens", "conversations") if name in table.facts
        }
        return table, {"splits": rows, "tasks": tasks, **special}

    def prepare(self) -> Trial:
        """Tokenise the splits."""
        config, model, words = self.config, self.config.model, self.encoding.n_vocab
        train, validation, test = (self.splits.path(f"{name}.parquet") for name in ("train", "validation", "test"))
        template, self.context = config.prompt.resolved(self.encoding), model.shape.context
        self.end = end_of_answer(self.encoding, template)
        self.data = prepare(train, validation, template, self.encoding, config.train, self.context)
        room = room_for_prompts(model.shape, config.generation)
        self.test = tokenise(test, template, self.encoding, room)
        self.recipe = (model, config.lora, config.train, words, self.precision)
        read, written = model.weights != "random", config.lora.save == "merged"
        trial = Trial(partial(build_gpt, *self.recipe, outline=True), self._learn, read, written)
        trial.converted = copied_bytes(trial.objective.model, pick_precision("auto", self.device))
        self.generating = pick_precision(config.generation.precision, self.device)
        weights = weights_bytes(trial.objective.model, self.generating)
        generation = (self.test.prompts, config.generation, self.generating)
        self.bytes_later = answering_bytes(model.shape, weights, words, *generation)
        self._describe_texts(trial.objective.model)
        return trial

    def _learn(self, network: LanguageModel) -> Instruction:
        rows = (self.data.train, self.data.validation)
        return Instruction(network, *rows, self.config.train, self.device, self.precision, self.end)

    def _describe_texts(self, outline: LanguageModel) -> None:
        train, data, new_tokens = self.config.train, self.data, self.config.generation.max_new_tokens
        every = {"train": data.train, "validation": data.validation, "test": self.test.cut(data.limit)}
        self.found.texts = {
            "template": self.config.prompt.name,
            "mask_prompt": train.mask_prompt,
            "learn": train.learn,
            "cut_conversations": {name: rows.cut_conversations for name, rows in every.items()},
            "trained_share": data.train.trained_share(train.mask_prompt),
            "samples": sample_entries(
                "train", data.train, self._shown_rows(), self.encoding, self.end, train.mask_prompt
            ),
            "lengths": {name: describe_entries(name, rows, data.limit) for name, rows in every.items()},
            "cuts": [describe_cuts(name, rows, data.limit, self.context, new_tokens) for name, rows in every.items()],
            "context": self.context,
            "max_new_tokens": new_tokens,
            "batching": train.batching,
            "batchings": compare_batchings(outline, data.train, train, self.end),
        }
        self.show(*_texts(self.found.texts, self.found.data))

    def _shown_rows(self) -> list[int]:
        """Return the first entry with an input, the first without one, and the first that is cut."""
        inputs = pq.read_table(self.splits.path("train.parquet"), columns=["input"])["input"].to_pylist()
        cut = self.data.train.whole_lengths > self.data.train.lengths
        tests = ([bool(text) for text in inputs], [not text for text in inputs], cut.tolist())
        return list(dict.fromkeys(each.index(True) for each in tests if any(each)))

    def network(self, weights: Path | None) -> LanguageModel:
        """Return the language model that training starts from."""
        return build_gpt(*self.recipe, weights)

    def time_besides(self, network: LanguageModel, token: float) -> Besides:  # noqa: ARG002
        """Return the seconds of answers: a sample with every evaluation, and the test split's after training."""
        config, lengths = self.config.generation, self.test.prompts
        prompts = [self.test.tokens(row)[:length] for row, length in enumerate(lengths.tolist())]
        pace = time_decoding(network, prompts, config, self.end, self.device, self.generating)
        size = rows_at_once(self.config.model.shape, int(lengths.max()), config, self.generating)
        like = most_tokens(lengths, config, self.context, self.test.whole_lengths - lengths)
        seconds = pace.seconds(lengths, like, size)
        most_seconds = pace.seconds(lengths, most_tokens(lengths, config, self.context), size)
        found = {"entries": len(lengths), "memory": self.later, "seconds": seconds, "most_seconds": most_seconds}
        self.found.answering = found
        sampled = self.data.validation.prompts[:1]
        answers = f"{len(lengths):,} answers of the"
        # The starting model does not know when to end.
        later = {
            f"{answers} model, if as long as the references": seconds,
            f"{answers} starting model, none of which ends early": most_seconds,
        }
        return Besides(pace.seconds(sampled, sampled * 0 + SAMPLE_TOKENS, 1), later=later)

    def look_further(self) -> None:
        """Ask the judge's server whether it is there."""
        config, test = self.config, self.splits.path("test.parquet")
        judge = self.found.judge = look_for_judge(config.judge, self.found.data["splits"]["test"])
        there = f"It is there, at {judge['server']}." if judge["server"] else "It compares texts and needs no server."
        problem = f"It cannot be asked now: {judge['problem']}"
        self.show(line(f"judge: {judge['name']}, {judge['verdicts']:,} verdicts", TITLE))
        self.show(line(problem, WARNING) if judge["problem"] else line(there))
        if config.judge.is_language_model:
            usage = expected_usage(test, config.judge, config.prompt.text)
            judge["usage"] = asdict(usage) | {"cost": usage.cost(config.judge)}
            self.show(*_spending(usage, config.judge))
            try:
                refuse_before_training(test, config.judge, config.prompt.text, verdicts_path())
            except LimitReached as error:
                self.found.missing.append(str(error))
            except JudgeError:
                return  # it is not known what is kept; `problem` says why


def _spending(usage: Usage, config: JudgeConfig) -> Iterator[Shown]:
    """Yield what judging will take, and which limits may stop it."""
    yield line(
        f"about {usage.described(config)}, if responses are as long as the references and none is asked for again; "
        "verdicts that are kept from before need no request"
    )
    limits = {"max_requests": usage.requests, "max_tokens_total": usage.tokens}
    for key, expected in limits.items():
        limit = getattr(config, key)
        if limit is not None and expected > limit:
            yield line(f"judge.{key}={limit:,} may stop it: about {expected:,} are expected", WARNING)


def _texts(texts: Facts, data: Facts) -> Iterator[Shown]:
    """Yield samples, lengths, what is cut, and what batches would be."""
    yield line(
        f"\n{data['empty_inputs']:.1%} of the rows have no input; an example has {data['tokens']['mean']:.1f} tokens "
        f"on average, {data['tokens']['longest']:,} at most."
    )
    if turns := data.get("conversations"):
        cut = ", ".join(f"{count:,} of {name}" for name, count in texts["cut_conversations"].items())
        yield line(
            f"{turns['several_turns']:,} rows are conversations of several turns, {turns['most_turns']:,} at most. "
            f"First turns are cut off, so that the rest fits, from: {cut}."
        )
    template = "a template of its own" if texts["template"] == "own" else f"the template {texts['template']}"
    learnt = f"what has a colour, or stands between {MARKS[0]} and {MARKS[1]}, is learnt"
    yield line(f"entries of train as the network gets them, in {template}: {learnt}", TITLE)
    for sample in texts["samples"]:
        cut = f", {sample['lost']:,} more cut off" if sample["lost"] else ""
        about = f"{sum(sample['learnt']):,} of {len(sample['ids']):,} tokens are learnt{cut}\n"
        yield from check.show_sample(sample, MARKS, about)
    masked = "prompts are masked" if texts["mask_prompt"] else "prompts are learnt as well"
    if texts["mask_prompt"] and data.get("conversations"):
        masked += f" ({'every turn' if texts['learn'] == 'assistant' else 'the last turn'} of the assistant is learnt)"
    yield line(f"{texts['trained_share']:.1%} of the training tokens are learnt from: {masked}.")
    yield line("tokens", TITLE)
    named = (each | {"split": f"{name}, {part}"} for name, of in texts["lengths"].items() for part, each in of.items())
    yield from check.show_lengths(named, {"tokens": "all"}, "entries")
    cuts, batchings = texts["cuts"], texts["batchings"]
    limits = f"{cuts[0]['limit']:,} tokens (train.max_length) and the context of {texts['context']:,}"
    yield line(f"what does not fit {limits}", TITLE)
    yield table_of(cuts, CUTS | {"no_room": f"no room for {texts['max_new_tokens']:,} new tokens"})
    yield line(f"batches of {batchings[0]['entries']:,} entries", TITLE)
    chosen = {texts["batching"]: " (chosen)"}
    rows = (
        each | {"padding": f"{each['padding']:.1%}", "batching": each["batching"] + chosen.get(each["batching"], "")}
        for each in batchings
    )
    yield table_of(rows, BATCHINGS)
