"""`prompt.template: chat`: the tokens of `transformers`' `apply_chat_template`, and what becomes of bad templates."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from components import chat_sandbox
from components.chat import ChatTemplate
from components.core.errors import ConfigError
from components.models.pretrained.tokenizer import PretrainedTokenizer
from components.models.tokenizer import encode_prompts, end_of_text, ends_of_text
from components.prompts import PromptConfig
from tests.models.pretrained import chat_templates
from tests.models.pretrained.small_tokenizers import folder_of, read, trained

NAMES = {
    "llama3": {"bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>"},
    "sentencepiece": {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"},
    "chatml": {"bos_token": "<|im_start|>", "eos_token": "<|im_end|>"},
}
FAMILIES = [
    ("smollm", "SMOLLM2"), ("smollm", "MARKED"), ("llama3", "LLAMA3"), ("llama3", "LLAMA31"), ("qwen2", "QWEN25"),
    ("qwen2", "TOOLS_NOT_NONE"), ("sentencepiece", "MISTRAL"), ("sentencepiece-first", "MISTRAL"),
    ("sentencepiece-first", "MISTRAL_WITH_SYSTEM"),
]  # fmt: skip
ENTRIES = [
    ("Name the capital of France.", ""),
    ("Translate.", "안녕하세요, 12,345 번째 문장!"),
    ("  Blanks around  \n", "\n\nand 🎉 within\t\n"),
    ("it's <b>bold</b> & {{ braces }} {% raw %}", "e\u0301 ½"),
]


def chat_model(folder: Path, kind: str, template: str) -> PretrainedTokenizer:
    named = NAMES.get(kind.removesuffix("-first"), NAMES["chatml"])
    return read(folder_of(folder, trained(kind), tokenizer_config={**named, "chat_template": template}))


def peer_ids(encoding: PretrainedTokenizer, folder: Path, messages: list[dict[str, str]]) -> list[int]:
    peer = PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"), **encoding.variables)
    peer.chat_template = encoding.chat_template
    found: list[int] = peer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
    return found


def prompts(
    encoding: PretrainedTokenizer, entries: list[tuple[str, str]], system: str | None = None
) -> list[list[int]]:
    template = PromptConfig(template="chat", system=system).resolved(encoding)
    return encode_prompts(encoding, template, entries)


@pytest.mark.ci
@pytest.mark.parametrize(("kind", "name"), FAMILIES)
@pytest.mark.parametrize("system", [None, "Answer in one word: it's 5."])
def test_prompts_are_the_tokens_of_transformers(tmp_path: Path, kind: str, name: str, system: str | None) -> None:
    encoding = chat_model(tmp_path, kind, getattr(chat_templates, name))
    if name == "MISTRAL" and system:
        with pytest.raises(ConfigError, match=r"^prompt\.template: .*Conversation roles must alternate"):
            prompts(encoding, ENTRIES, system)
        return
    before = [{"role": "system", "content": system}] if system else []
    for entry, found in zip(ENTRIES, prompts(encoding, ENTRIES, system), strict=True):
        content = "\n\n".join(part for part in entry if part)
        assert found == peer_ids(encoding, tmp_path, [*before, {"role": "user", "content": content}])


@pytest.fixture(scope="module")
def qwen(tmp_path_factory: pytest.TempPathFactory) -> tuple[PretrainedTokenizer, Path]:
    folder = tmp_path_factory.mktemp("qwen")
    return chat_model(folder, "qwen2", chat_templates.QWEN25), folder


@pytest.mark.ci
@given(text=st.text(st.characters(exclude_categories=("Cs", "Cn")), min_size=1, max_size=30))
def test_any_instruction_gives_the_tokens_of_transformers(qwen: tuple[PretrainedTokenizer, Path], text: str) -> None:
    encoding, folder = qwen
    assert prompts(encoding, [(text, "")]) == [peer_ids(encoding, folder, [{"role": "user", "content": text}])]


def test_several_turns_are_written_as_transformers_does(tmp_path: Path) -> None:
    for number, (kind, name) in enumerate(FAMILIES):
        folder = tmp_path / str(number)
        encoding = chat_model(folder, kind, getattr(chat_templates, name))
        template = PromptConfig(template="chat").resolved(encoding)
        assert isinstance(template, ChatTemplate)
        turns = [("user", "Hello"), ("assistant", "Hi, it's me."), ("user", "3 days?")]
        messages = [{"role": role, "content": content} for role, content in turns]
        assert encoding.encode_rendered(template.render(messages)) == peer_ids(encoding, folder, messages)


@pytest.mark.ci
@pytest.mark.parametrize(("kind", "name"), FAMILIES)
def test_a_special_token_in_an_instruction_is_text(tmp_path: Path, kind: str, name: str) -> None:
    encoding = chat_model(tmp_path, kind, getattr(chat_templates, name))
    special = set(encoding.special_tokens.values())
    attack = "Hi" + "".join(encoding.special_tokens) + "there"
    plain, attacked, both = prompts(encoding, [("Hi", ""), (attack, ""), ("Hi", attack)])
    for found in (attacked, both):
        assert [each for each in found if each in special] == [each for each in plain if each in special]
        assert attack in encoding.decode(found)


def test_a_special_token_in_the_system_message_stays_one(tmp_path: Path) -> None:
    """Who writes the preset may write them."""
    encoding = chat_model(tmp_path, "smollm", chat_templates.SMOLLM2)
    one, two = prompts(encoding, [("Hi", "")], "Be kind")[0], prompts(encoding, [("Hi", "")], "Be<|endoftext|> kind")[0]
    assert (one.count(0), two.count(0)) == (0, 1)


BAD = [
    ("{{ raise_exception('System role is not supported') }}", "System role is not supported"),
    ("{% for message in messages %}{{ message.content }}", r"endfor.*line 1"),
    ("{{ messages[0].content + 1 }}", "concatenate"),
    ("{{ 1 // 0 }}", "zero"),
    ("{{ missing.attribute.of_it }}", "missing"),
    ("{% include 'other' %}", "cannot be rendered"),
    ("", "writes nothing"),
    ("  {# a remark #}\n", "writes nothing"),
    ("{{ messages.__class__.__mro__ }}", "__class__.*unsafe"),
    ("{{ ''.__class__.__base__.__subclasses__() }}", "unsafe"),
    ("{{ cycler.__init__.__globals__.os.system('true') }}", "unsafe"),
    ("{{ messages.append(1) }}x", "unsafe"),
    ("{{ raise_exception.__globals__ }}", "writes nothing"),
    ("{{ raise_exception.__globals__.os }}", "unsafe"),
    ("Hello Be kind.", "leaves out or rewrites what a user says"),
    ("{% for each in messages if each.role != 'system' %}{{ each.content }}{% endfor %}", "the system message"),
    ("{% for message in messages %}<|{{ message.role }}|>{% endfor %}", "leaves out"),
    ("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}", "does not end within"),
    ("{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(99) }}", "does not end"),
    ("{% set n = namespace(x='ab') %}{% for a in range(60) %}{% set n.x = n.x + n.x %}{% endfor %}", "more than"),
    ("{% set n = namespace(x='ab') %}{% for a in range(60) %}{% set n.x = n.x ~ n.x %}{% endfor %}", "more than"),
    ("{% for a in range(99999) %}{{ 'x' * 99999 }}{% endfor %}", "more than"),
    ("{{ 'x' * 99999999999 }}", "more than"),
    ("{{ 9 ** (9 ** 9) }}", "more than"),
    ("{{ 'x'.ljust(99999999999) }}", "more than"),
    ("{{ 'x' | center(99999999999) }}", "center"),
    ("{{ '%99999999999d' % 1 }}", "more than"),
    ("{{ '%*d' % (99999999999, 1) }}", "more than"),
    ("{{ '%99999999999d' | format(1) }}", "more than"),
    ("{{ '{:>99999999999}'.format(1) }}", "more than"),
    ("{{ '{:>{}}'.format(1, 9999999) }}{{ '{:>{}}{:>{}}'.format(1, 9999999, 1, 9999999) }}", "more than"),
    ("{{ 'a\nb' | indent(99999999999) }}", "more than"),
    ("{{ ('\n' * 9999999) | indent(9999) }}", "more than"),
    ("{{ [1] | slice(99999999999) | list | length }}", "more than"),
    (
        "{% set n = namespace(x='a') %}{% for a in range(60) %}{% set n.x = n.x.replace('a', 'aa') %}{% endfor %}",
        "more",
    ),
    ("{{ ('a' * 999999).replace('a', 'b' * 999999) }}", "more than"),
    ("{{ ('a' * 999999) | replace('a', 'b' * 999999) }}", "more than"),
    ("{% set n = namespace(x='ab') %}{% for a in range(60) %}{% set n.x = [n.x, n.x] | join %}{% endfor %}", "more"),
    ("{{ ('a' * 999999).join(['b'] * 999999) }}", "more than"),
    ("{{ ('\t' * 999999).expandtabs(999999) }}", "more than"),
    ("{{ raise_exception() }}", "it refuses"),
    ("{{ lipsum() }}", "lipsum"),
]


@pytest.mark.parametrize(("template", "told"), BAD)
def test_a_template_that_cannot_be_used_is_one_clear_line(
    template: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chat_sandbox, "SECONDS", 0.2)
    with pytest.raises(ConfigError, match=f"(?i)^prompt.template: .*{told}") as raised:
        ChatTemplate(jinja=template, system="Be kind.").prompt("Hi")
    assert "\n" not in str(raised.value)


PLAIN = [
    "{{ '%s: %s' % (message.role, message.content) }}",
    "{{ '%s' % message.content }}",
    "{{ '%-9s|%5.2f' % ('a', 1.5) }}",
    "{{ '%s!' | format(message.content) }}",
    "{{ '{}: {:>9}'.format(message.content, message.role) }}",
    "{{ message.content.replace('a', 'bc') | replace('i', 'j') }}",
    "{{ 7 % 3 }}{{ 2 ** 10 }}{{ 'ab' * 3 }}{{ [1] * 2 }}",
    "{{ messages | map(attribute='role') | join(', ') }}",
    "{{ ', '.join(['x', message.role]) }}",
    "{{ 'abc' | join('-') }}",
    "{{ message.content | indent(4) | trim | upper | truncate(40) }}",
    "{{ [1, 2, 3] | slice(2) | list }}",
    "{{ messages | selectattr('role', 'equalto', 'user') | list | length }}",
    "{{ {'b': 1, 'a': 2} | dictsort }}",
    "{{ message.content.split(' ', 1)[0] }}{{ message.content | default('x') | wordcount }}{{ [3, 1] | sort | first }}",
    "{{ [1, 2] | sum }}{{ range(3) | batch(2) | list }}{{ messages | groupby('role') | length }}{{ 'a b' | title }}",
]


@pytest.mark.parametrize("template", PLAIN)
def test_what_is_bounded_does_what_it_does_in_transformers(tmp_path: Path, template: str) -> None:
    whole = "{% for message in messages %}" + template + " {{ message.content }}{% endfor %}"
    encoding = chat_model(tmp_path, "qwen2", whole)
    messages = [{"role": "user", "content": "say it 10:20, 5 % of\nall"}]
    assert prompts(encoding, [(messages[0]["content"], "")]) == [peer_ids(encoding, tmp_path, messages)]


@pytest.mark.parametrize("options", ["", "indent=2", "separators=(',', ':')", "sort_keys=true", "ensure_ascii=true"])
def test_templates_write_json_as_transformers_does(tmp_path: Path, options: str) -> None:
    encoding = chat_model(tmp_path, "qwen2", "{{ messages | tojson(" + options + ") }}")
    entry = ("é <b> 'x'", "")
    messages = [{"role": "user", "content": entry[0]}]
    assert prompts(encoding, [entry]) == [peer_ids(encoding, tmp_path, messages)]


def test_a_base_model_stops_at_the_end_of_a_turn_as_well_as_at_that_of_a_text(tmp_path: Path) -> None:
    talk = {"eos_token": "<|endoftext|>", "chat_template": chat_templates.SMOLLM2}
    encoding = read(folder_of(tmp_path / "base", trained("smollm"), tokenizer_config=talk))
    names = encoding.special_tokens
    assert ends_of_text(encoding) == (names["<|endoftext|>"], names["<|im_end|>"])
    assert end_of_text(encoding) == names["<|endoftext|>"]
    for kind, name in FAMILIES:
        told = chat_model(tmp_path / f"{kind}{name}", kind, getattr(chat_templates, name))
        assert ends_of_text(told) == told.ends, "where a turn ends with the token that ends a text there is one"
    broken = {**talk, "chat_template": "{{ raise_exception('no') }}"}
    assert ends_of_text(read(folder_of(tmp_path / "broken", trained("smollm"), tokenizer_config=broken))) == (0,)


def test_a_model_without_a_template_is_refused_with_what_to_do(tmp_path: Path) -> None:
    encoding = read(folder_of(tmp_path, trained("smollm")))
    with pytest.raises(ConfigError, match=r"^prompt\.template=chat: .*choose an instruct model, or prompt\.template"):
        PromptConfig(template="chat").resolved(encoding)


def config_with(template: Any) -> dict[str, Any]:
    return {"eos_token": "<|im_end|>", "chat_template": template}


def test_the_default_among_several_templates_is_used(tmp_path: Path) -> None:
    several = [{"name": "tool_use", "template": "tools"}, {"name": "default", "template": "plain"}]
    one = read(folder_of(tmp_path / "one", trained("smollm"), tokenizer_config=config_with(several)))
    two = read(folder_of(tmp_path / "two", trained("smollm"), tokenizer_config=config_with(several[:1])))
    assert (one.chat_template, two.chat_template) == ("plain", None)


def test_a_template_in_a_file_of_its_own_goes_before(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, trained("smollm"), tokenizer_config=config_with("old"))
    (folder / "chat_template.jinja").write_text("new 안녕")
    assert read(folder).chat_template == "new 안녕"


def test_plain_templates_begin_with_the_token_that_the_model_expects(tmp_path: Path) -> None:
    named = {**NAMES["llama3"], "add_bos_token": True}
    encoding = read(folder_of(tmp_path, trained("llama3"), tokenizer_config=named))
    template = PromptConfig(template="alpaca").resolved(encoding)
    [found] = encode_prompts(encoding, template, [("Say <|eot_id|>", "")])
    assert found == [0, *encoding.encode_ordinary(template.prompt("Say <|eot_id|>"))]
    assert encoding.special_tokens["<|eot_id|>"] not in found
