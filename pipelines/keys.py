"""The keys of a preset, as their classes declare them: to be explained one by one, or as a schema for editors."""

from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import Any

from pydantic import BaseModel

from components.core.errors import ConfigError, did_you_mean
from pipelines.kinds import DEFAULT, KINDS, config_class

DIALECT = "https://json-schema.org/draft/2020-12/schema"
LIMITS = {
    "minimum": "at least {}",
    "exclusiveMinimum": "above {}",
    "maximum": "at most {}",
    "exclusiveMaximum": "below {}",
    "pattern": "matches {}",
}
"""How bounds of a JSON schema are said."""
Schema = Mapping[str, Any]


class Key(BaseModel):
    """What is known of one key of a preset."""

    key: str
    """Dotted, as `--set` takes it."""
    kinds: list[str]
    """Which kinds of fine-tuning have it, all with this type, default and meaning."""
    type: str
    choices: list[str] = []
    limits: list[str] = []
    default: Any = None
    required: bool = False
    meaning: str = ""
    below: list[str] = []
    """The keys below it, if it is a section."""


def explain(key: str) -> list[Key]:
    """Return what is known of a dotted key: once, or for each kind where kinds differ in it.

    Raises:
        ConfigError: if no kind has such a key.
    """
    found: list[Key] = []
    for kind in KINDS:
        if (known := _find(key, kind)) is None:
            continue
        twin = next(
            (each for each in found if each.model_dump(exclude={"kinds"}) == known.model_dump(exclude={"kinds"})), None
        )
        if twin:
            twin.kinds.append(kind)
        else:
            found.append(known)
    if not found:
        every = dict.fromkeys(name for kind in KINDS for name in all_keys(kind))
        ending = [name for name in every if name.endswith(f".{key}")]
        hint = (
            f", did you mean {' or '.join(ending)}?"
            if ending
            else did_you_mean(key, every, "`gradus explain` lists the sections")
        )
        raise ConfigError(f"there is no key {key!r}{hint}")
    return found


def all_keys(kind: str) -> Iterator[str]:
    """Yield every dotted key of a kind's presets, sections before what is in them."""
    whole = _schema(kind)
    yield from _below(whole, whole, "")


def schema() -> dict[str, Any]:
    """Return the JSON schema of presets of all kinds, of which the key `pipeline` says which it is."""
    definitions: dict[str, Any] = {}
    rules = []
    for kind in KINDS:
        whole = config_class(kind).model_json_schema(ref_template=f"#/$defs/{kind}.{{model}}")
        parts = whole.pop("$defs", {})
        definitions |= {f"{kind}.{name}": part for name, part in parts.items()} | {kind: whole}
        named = {"properties": {"pipeline": {"const": kind}}}
        rules.append(
            {
                "if": named if kind == DEFAULT else named | {"required": ["pipeline"]},
                "then": {"$ref": f"#/$defs/{kind}"},
            }
        )
    return {
        "$schema": DIALECT,
        "title": "A preset of Gradus",
        "type": "object",
        "properties": {"pipeline": {"enum": list(KINDS), "default": DEFAULT, "description": "Which flow runs."}},
        "allOf": rules,
        "$defs": definitions,
    }


@cache
def _schema(kind: str) -> Schema:
    return config_class(kind).model_json_schema()


def _find(key: str, kind: str) -> Key | None:
    """Return what a kind knows of a key; None if it has no such."""
    whole = _schema(kind)
    at: Schema = {"properties": {"": whole}}
    required = False
    for name in ["", *key.split(".")]:
        options = [option for option in _options(at, whole) if name in option.get("properties", {})]
        if not options:
            return None
        required, at = name in options[0].get("required", ()), options[0]["properties"][name]
    options = list(_options(at, whole))
    return Key(
        key=key,
        kinds=[kind],
        type=" or ".join(dict.fromkeys(map(_type, options))),
        choices=[str(choice) for option in options for choice in _choices(option, whole)],
        limits=[text.format(option[name]) for option in options for name, text in LIMITS.items() if name in option],
        default=None if _is_section(options) else at.get("default"),
        required=required,
        meaning=at.get("description")
        or next((option["description"] for option in options if "description" in option), ""),
        below=list(dict.fromkeys(_below(at, whole, f"{key}.", deep=False))),
    )


def _options(at: Schema, whole: Schema) -> Iterator[Schema]:
    """Yield what a value may be, references followed."""
    if reference := at.get("$ref"):
        yield from _options(whole["$defs"][reference.rpartition("/")[2]], whole)
    elif choices := at.get("anyOf") or at.get("oneOf"):
        for choice in choices:
            yield from _options(choice, whole)
    else:
        yield at


def _below(at: Schema, whole: Schema, prefix: str, deep: bool = True) -> Iterator[str]:
    for option in _options(at, whole):
        for name, part in option.get("properties", {}).items():
            yield prefix + name
            if deep:
                yield from _below(part, whole, f"{prefix}{name}.")


def _choices(option: Schema, whole: Schema) -> Iterable[Any]:
    """Return the values that a key, or the items of its list, may have, if they are few."""
    inner = [
        each for part in (option.get("items"), option.get("propertyNames")) if part for each in _options(part, whole)
    ]
    return [
        value for each in (option, *inner) for value in each.get("enum", [each["const"]] if "const" in each else ())
    ]


def _type(option: Schema) -> str:
    found: str = option.get("type", "any value")
    if found == "object":
        return "section" if "properties" in option else "mapping"
    if found == "array":
        return "list"
    return {"string": "text", "null": "null", "boolean": "true or false"}.get(found, found)


def _is_section(options: list[Schema]) -> bool:
    return any("properties" in option for option in options)
