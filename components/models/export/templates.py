"""A run's prompt as a chat template in Jinja, which `transformers` and llama.cpp render."""

import json

from components.chat import ChatTemplate
from components.core.templates import Template as Slots
from components.models.tokenizer import Tokenizer, end_of_text
from components.prompts import AnyTemplate, Template

AROUND = """{{%- if messages[0]['role'] == 'system' -%}}
    {{{{ messages[0]['content'] + '\\n\\n' }}}}
{{%- endif -%}}
{{%- for message in messages -%}}
    {{%- if message['role'] == 'user' -%}}
        {{{{ {before} + message['content'] + {after} }}}}
    {{%- elif message['role'] == 'assistant' -%}}
        {{{{ {response} + message['content'] + {end} }}}}
    {{%- endif -%}}
{{%- endfor -%}}
{{%- if add_generation_prompt -%}}
    {{{{ {turn} }}}}
{{%- endif -%}}"""
"""An entry as a message of the user and one of the assistant."""
WITH_SYSTEM = """{{%- if messages[0]['role'] != 'system' -%}}
    {{%- set messages = [{{'role': 'system', 'content': {system}}}] + messages -%}}
{{%- endif -%}}
"""


def chat_template(template: AnyTemplate, encoding: Tokenizer) -> str:
    """Return the Jinja template with which messages become the prompts that a model was trained with.

    The model's own, where it was trained with that, with the system message of the training before conversations that
    bring none. Otherwise one in which a message of the user is an instruction.
    """
    if not isinstance(template, ChatTemplate):
        return _written(template, encoding)
    if template.system is None:
        return template.jinja
    return WITH_SYSTEM.format(system=_literal(template.system)) + template.jinja


def _written(template: Template, encoding: Tokenizer) -> str:
    before, after = Slots.of(template.instruction).literals
    response, end = Slots.of(template.response).literals
    parts = {
        "before": before,
        "after": after,
        "response": response,
        "end": end + name_of(encoding, end_of_text(encoding)),
        "turn": response.rstrip(" "),
    }
    start = "".join(name_of(encoding, token) for token in getattr(encoding, "starts", ()))
    written = AROUND.format(**{name: _literal(text) for name, text in parts.items()})
    return f"{{{{- {_literal(start)} -}}}}\n{written}" if start else written


def name_of(encoding: Tokenizer, token: int) -> str:
    """Return what a special token is called."""
    return encoding.decode_single_token_bytes(token).decode()


def _literal(text: str) -> str:
    """Return a text as Jinja writes one."""
    return json.dumps(text, ensure_ascii=False)
