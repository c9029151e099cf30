"""What a judge costs: counted as its server says, forecast, and never more than the limits allow."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from components.core.errors import JudgeError
from components.judging.config import JudgeConfig
from components.judging.forecast import expected_usage, refuse_before_training
from components.judging.replies import read_ollama
from components.judging.spending import LimitReached, Usage, usage_of_reply
from tests.judging.bench import ALL, ROWS, Bench
from tests.judging.serving import OllamaServer

NAMES = {"llama3:latest": "sha256:1", "llama3": "sha256:1"}


@pytest.mark.ci
@pytest.mark.parametrize("kind", ["ollama", "openai"])
def test_tokens_are_those_that_the_server_counts(ollama: OllamaServer, bench: Bench, kind: str) -> None:
    ollama.behave(counted="all", usage=True, models=NAMES)
    said: list[str] = []
    facts = bench.judge(ollama, also=[], kind=kind, price_in=2, price_out=8, say=said.append)
    counted = sum(int(1.5 * len(_prompt(body).split())) for body in ollama.chats)
    assert facts["usage"] == {"requests": ROWS, "tokens_in": counted, "tokens_out": 20 * ROWS, "estimated": 0}
    cost = (2 * counted + 8 * 20 * ROWS) / 1_000_000
    [line] = said
    assert f"{ROWS} requests, {counted:,} tokens in, {20 * ROWS} tokens out, {cost:.4f}" in line
    assert "as the server counts" in line


def test_what_no_server_counts_is_estimated_and_said_so(ollama: OllamaServer, bench: Bench) -> None:
    ollama.behave(models=NAMES)
    said: list[str] = []
    facts = bench.judge(ollama, also=[], kind="openai", say=said.append)
    size = sum(len(_prompt(body).encode()) for body in ollama.chats)
    assert facts["usage"]["estimated"] == ROWS
    assert facts["usage"]["tokens_in"] == pytest.approx(size / 4, rel=0.01)
    assert f"estimated for {ROWS} replies" in said[0]


def test_half_a_character_is_estimated_and_numbers_that_count_nothing_are_no_counts() -> None:
    said = {"message": {"content": "bad \ud83d"}, "done": True, "done_reason": "stop"}
    for counts in ({}, {"prompt_eval_count": -5, "eval_count": 2**70}, {"prompt_eval_count": "7"}):
        reply = read_ollama(json.dumps(said | counts))
        assert (reply.prompt_tokens, reply.completion_tokens) == (None, None)
        assert usage_of_reply([{"role": "user", "content": "Judge."}], reply) == Usage(0, 2, 2, estimated=1)


@pytest.mark.ci
def test_verdicts_that_are_kept_cost_nothing_and_what_they_took_stays_known(ollama: OllamaServer, bench: Bench) -> None:
    ollama.behave(counted="all")
    first = bench.judge(ollama)
    said: list[str] = []
    assert bench.judge(ollama, say=said.append, max_requests=1)["usage"] == first["usage"]
    assert said == []
    assert len(ollama.chats) == ALL


@pytest.mark.parametrize("limits", [{"max_requests": ALL - 1}, {"max_tokens_total": 500}])
def test_what_surely_exceeds_a_limit_asks_nothing(ollama: OllamaServer, bench: Bench, limits: dict[str, int]) -> None:
    key, limit = next(iter(limits.items()))
    with pytest.raises(LimitReached, match=rf"judge\.{key}={limit} .* at least; nothing was asked.*0 of {ALL}"):
        bench.judge(ollama, **limits)
    assert ollama.chats == []


@pytest.mark.ci
def test_unreadable_replies_end_at_the_limit_of_requests_and_a_higher_one_goes_on(
    ollama: OllamaServer, bench: Bench
) -> None:
    ollama.behave(fault="eighty", times=4)
    with pytest.raises(LimitReached, match=rf"judge\.max_requests={ALL}\b.*raise judge\.max_requests.*kept") as error:
        bench.judge(ollama, max_requests=ALL, max_unparsed=1)
    assert len(ollama.chats) <= ALL, "not one more"
    kept = int(re.search(r"(\d+) of \d+ verdicts are made", str(error.value))[1])  # type: ignore[index]
    assert 0 < kept < ALL
    facts = bench.judge(ollama, max_requests=ALL + 4, max_unparsed=1)
    assert sum(facts["counts"]["model"].values()) == ROWS, "one of them may have had every unreadable reply"


def test_requests_that_fail_are_counted_too(ollama: OllamaServer, bench: Bench) -> None:
    ollama.behave(fault="500", times=3)
    with pytest.raises(LimitReached, match=f"max_requests={ROWS}"):
        bench.judge(ollama, also=[], max_requests=ROWS, attempts=9)
    assert len(ollama.chats) <= ROWS


@pytest.mark.parametrize("concurrency", [1, 4])
def test_the_limit_of_tokens_is_kept_and_a_higher_one_goes_on(
    ollama: OllamaServer, bench: Bench, concurrency: int
) -> None:
    ollama.behave(counted="all")
    one = _tokens_of_one(bench, ollama)
    before, limit = len(ollama.chats), one * 20 + 1
    with pytest.raises(LimitReached, match=r"judge\.max_tokens_total=\d+ .*spent: \d+ requests") as error:
        bench.judge(ollama, max_tokens_total=limit, seed=1, concurrency=concurrency)
    kept = int(re.search(r"(\d+) of \d+ verdicts are made", str(error.value))[1])  # type: ignore[index]
    spent = [int(each.replace(",", "")) for each in re.findall(r"([\d,]+) tokens", str(error.value))]
    assert 14 <= kept < ALL
    assert sum(spent) <= limit
    assert len(ollama.chats) - before == kept, "what was under way is kept as well"
    bench.judge(ollama, max_tokens_total=100 * one, seed=1, concurrency=concurrency)
    assert len(ollama.chats) - before == ALL


@pytest.mark.ci
def test_a_limit_that_just_fits_stops_nothing(ollama: OllamaServer, bench: Bench) -> None:
    ollama.behave(counted="all")
    usage = Usage(**bench.judge(ollama)["usage"])
    again = bench.judge(ollama, seed=5, max_requests=ALL, max_tokens_total=usage.tokens + usage.tokens // ALL)
    assert again["usage"]["requests"] == ALL


@pytest.mark.ci
def test_a_judging_is_forecast_from_the_references(ollama: OllamaServer, bench: Bench) -> None:
    ollama.behave(counted="all")
    expected = expected_usage(bench.tables["model"], JudgeConfig(), None)
    found = bench.judge(ollama, kind="openai", model="llama3:latest")["usage"]
    assert expected.requests == found["requests"] == ALL
    assert expected.tokens_in == pytest.approx(found["tokens_in"], rel=0.05)


@pytest.mark.ci
def test_a_limit_is_refused_before_training_as_far_as_nothing_is_kept(ollama: OllamaServer, bench: Bench) -> None:
    table, few = bench.tables["model"], {"url": ollama.url, "max_requests": ROWS}
    with pytest.raises(LimitReached, match=rf"max_requests={ROWS}.*{2 * ROWS} at least"):
        refuse_before_training(table, JudgeConfig(**few), None, bench.cache)
    with pytest.raises(LimitReached, match=rf"max_requests={ROWS - 1}"):
        refuse_before_training(table, JudgeConfig(url=ollama.url, max_requests=ROWS - 1, also=()), None, bench.cache)
    with pytest.raises(LimitReached, match="max_tokens_total=10"):
        refuse_before_training(table, JudgeConfig(url=ollama.url, max_tokens_total=10), None, bench.cache)
    refuse_before_training(table, JudgeConfig(url=ollama.url, max_requests=ALL), None, bench.cache)
    bench.judge(ollama)
    refuse_before_training(table, JudgeConfig(**few), None, bench.cache)


def test_where_the_judge_is_away_it_is_not_known_what_is_kept(bench: Bench, ollama: OllamaServer) -> None:
    bench.judge(ollama, also=[])
    ollama.kill()
    config = JudgeConfig(url="http://127.0.0.1:9", max_requests=1, attempts=1)
    with pytest.raises(JudgeError, match="9"):
        refuse_before_training(bench.tables["model"], config, None, bench.cache)


def _tokens_of_one(bench: Bench, server: OllamaServer) -> int:
    usage = Usage(**bench.judge(server, also=[])["usage"])
    return usage.tokens // ROWS


def _prompt(body: dict[str, Any]) -> str:
    return " ".join(message["content"] for message in body["messages"])


def test_limits_and_prices_change_no_verdict(tmp_path: Path) -> None:
    from components.judging.identity import verdict_identity

    capped = JudgeConfig(max_requests=1, max_tokens_total=1, price_in=1, price_out=1)
    assert verdict_identity(capped, "sha256:1") == verdict_identity(JudgeConfig(), "sha256:1")
