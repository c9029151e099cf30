"""YAML that people write, read with bounds: what is nested, repeated or large without end is refused, and soon.

And JSON that strangers write, in which Python bounds all but the depth.
"""

import json
import re
from typing import IO, Any

import yaml

MOST_BYTES = 1 << 20
MOST_NODES = 20_000
"""Values and keys of a document, what an alias stands for counted each time: `a: [*b, *b]`, `b: [*c, *c]`, ..."""

DEEPEST = 50
LONGEST_NUMBER = 100  # characters; numbers of base 60 (`1:30:00`) take quadratic time

OTHER_BASES = re.compile(r"[-+]?(?:0[0-7_]+$|[0-9_]+(:))")
"""`010` is 8 in YAML, and `1:30` is 90."""
NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float", "tag:yaml.org,2002:timestamp")
MERGE = "tag:yaml.org,2002:merge"


class InvalidYAML(ValueError):
    """A text is no YAML, or none that is read. The message is one line."""


def load_yaml(text: str | bytes) -> Any:
    """Return what a text in YAML says, of the types that JSON has and dates.

    Raises:
        InvalidYAML: if it is not YAML; has a key twice, more than `MOST_NODES` values, `DEEPEST` levels or
            `MOST_BYTES` bytes, or an alias inside of what it stands for.
    """
    if len(text) > MOST_BYTES:
        raise InvalidYAML(f"it is larger than {MOST_BYTES >> 20} MiB; a file of settings is small")
    try:
        return yaml.load(text, _Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
        parts = [" ".join(part.split()) for part in (error.context, error.problem) if part]
        raise InvalidYAML(": ".join(parts) + where) from error
    except (yaml.YAMLError, ValueError, OverflowError) as error:  # also a date such as 2026-13-01
        raise InvalidYAML(" ".join(str(error).split())) from error


def read_yaml(file: IO[bytes]) -> Any:
    """Return what a file in YAML and UTF-8 says; raises as `load_yaml` does, and OSError."""
    content = file.read(MOST_BYTES + 1)
    try:
        return load_yaml(content if len(content) > MOST_BYTES else content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise InvalidYAML(f"it is not UTF-8: {error.reason} at byte {error.start}") from error


def load_json(text: str | bytes) -> Any:
    """Return what a text in JSON says.

    Raises:
        ValueError: if it is not JSON, or nested deeper than Python can read.
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def load_json_object(text: str | bytes) -> dict[str, Any]:
    """Return what a text in JSON says by name.

    Raises:
        ValueError: as `load_json`, or if it says it of no names.
    """
    found = load_json(text)
    if not isinstance(found, dict):
        raise ValueError(f"it holds a {type(found).__name__} where names and values belong")
    return found


class _Loader(yaml.SafeLoader):
    """Counts what it composes before anything is made of it."""

    def __init__(self, stream: str | bytes) -> None:
        super().__init__(stream)
        self._count, self._depth = 0, 0
        self._sizes: dict[yaml.Node, int] = {}  # values inside of each node that is complete

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Compose a node, counting it with what is inside of it."""
        event, before = self.peek_event(), self._count  # type: ignore[no-untyped-call]
        self._depth += 1
        if self._depth > DEEPEST:
            raise _refusal(f"it is nested deeper than {DEEPEST} levels", event)
        node = super().compose_node(parent, index)
        self._depth -= 1
        assert node is not None
        if isinstance(event, yaml.AliasEvent):
            if node not in self._sizes:
                raise _refusal(f"*{event.anchor} stands inside of what it stands for", event)
            self._count += self._sizes[node]
        else:
            self._count += 1
            self._sizes[node] = self._count - before
        if self._count > MOST_NODES:
            raise _refusal(f"it has more than {MOST_NODES:,} values, counting what each alias stands for", event)
        return node

    def compose_scalar_node(self, anchor: Any) -> yaml.ScalarNode:
        """Compose a scalar; a number has a length, and is what it looks like."""
        node = super().compose_scalar_node(anchor)
        if node.tag in NUMBERS and len(node.value) > LONGEST_NUMBER:
            raise _refusal(f"a number has more than {LONGEST_NUMBER} characters", node)
        if node.tag == NUMBERS[0] and (base := OTHER_BASES.match(node.value)):
            what = "of base 60" if base[1] else "octal"
            raise _refusal(f"{node.value} is {what} in YAML; write it in decimals, or in quotes if it is a text", node)
        return node

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """Compose a mapping, each key of which stands in it once."""
        node = super().compose_mapping_node(anchor)
        lines: dict[Any, int] = {}
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != MERGE:
                line, name = key.start_mark.line + 1, self.construct_object(key)
                if name in lines:
                    raise _refusal(f"the key {name!r} is there twice, first in line {lines[name]}", key)
                lines[name] = line
        return node


def _refusal(problem: str, place: Any) -> yaml.composer.ComposerError:
    return yaml.composer.ComposerError(None, None, problem, place.start_mark)
