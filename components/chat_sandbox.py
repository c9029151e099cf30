"""The Jinja that chat templates are written in, as `transformers` has it: one can write, and not without end.

A template comes with a model that anybody may have made. What it can reach is bounded by Jinja's own sandbox, how long
it takes and how much it makes by what is put into it here, before it is compiled: every turn of a loop and every call
of a macro looks at the clock, and what is joined is measured.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, wraps
from time import thread_time
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

SECONDS = 5
"""What a rendering may take of a processor; one that ends takes thousandths."""
LONGEST = 10_000_000
"""Characters of a text, or values of a list, that may be made."""
SIZED = (str, list, tuple)
WIDTHS, NUMBER = re.compile(r"[%:][^%{}a-zA-Z]*"), re.compile(r"\d+")
"""Where a form of texts holds widths, and one of them."""
TURN, MEASURED, STARTED = "gradus_turn", "gradus_measured", "gradus_started"
"""What is put into a template: two filters, which cost less than calls, and when the rendering began."""


def render(source: str, values: Mapping[str, Any]) -> str:
    """Return what a template writes.

    Raises:
        jinja2.TemplateError: if it is none, or does what it may not, or takes too long or makes too much.
        Exception: whatever what it calls raises.
    """
    written, length = list[str](), 0
    for piece in _compiled(source).generate({**values, STARTED: thread_time()}):
        written.append(piece)
        length += len(piece)
        _bound(length)
    return "".join(written)


@jinja2.pass_context
def _turn(context: Any, _: None) -> None:
    if thread_time() - context.parent[STARTED] > SECONDS:
        raise jinja2.TemplateError(f"it does not end within {SECONDS} s")


def _bound(length: int) -> None:
    if length > LONGEST:
        raise jinja2.TemplateError(f"it writes more than {LONGEST:,} characters")


def _measured(value: Any) -> Any:
    if isinstance(value, SIZED):
        _bound(len(value))
    return value


class _Generation(Extension):
    """`{% generation %}`, with which some templates mark what an assistant says."""

    tags = {"generation"}  # noqa: RUF012 - as its base has it

    def parse(self, parser: Any) -> list[Any]:
        next(parser.stream)
        return list(parser.parse_statements(("name:endgeneration",), drop_needle=True))


class _Environment(ImmutableSandboxedEnvironment):
    """Makes nothing that is huge at once."""

    intercepted_binops = frozenset(("*", "**", "%"))

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """Multiply, or fill in, unless that makes too much."""
        if operator == "%" and isinstance(left, str):
            _bound(grown("%", left, right if isinstance(right, tuple) else (right,)))
        if operator == "**":
            _bound(abs(int(right)) * abs(int(left)).bit_length())
        for many, times in ((left, right), (right, left)) if operator == "*" else ():
            if isinstance(many, SIZED):
                _bound(len(many) * int(times))
        return super().call_binop(context, operator, left, right)

    def call(self, context: Any, called: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Call, unless that makes too much."""
        # The sandbox hands `format` on within a function of its own.
        owner = getattr(getattr(called, "__wrapped__", called), "__self__", None)
        given = (*args, *kwargs.values())
        _bound(grown(getattr(called, "__name__", ""), owner if isinstance(owner, str) else "", given))
        return _measured(super().call(context, called, *args, **kwargs))


def grown(name: str, text: str, given: Sequence[Any]) -> int:
    """Return about how many characters what is called so makes of a text at most, or the largest number given."""
    most = max((int(value) for value in given if isinstance(value, int)), default=0)
    texts = [value for value in given if isinstance(value, str)]
    if name == "replace" and len(texts) > 1:
        return len(text) + text.count(texts[0]) * len(texts[1])
    if name == "join":
        parts = next((value for value in given if isinstance(value, list | tuple)), ())
        return sum(len(str(part)) for part in parts) + len(parts) * len("".join([text, *texts]))
    if name in ("%", "format"):
        widths = NUMBER.findall(" ".join(WIDTHS.findall(text)))
        return sum(map(int, widths)) + most * (text.count("*") + text.count("{"))
    lines = text.count("\n") + text.count("\t") + 1
    return most * (lines if name in ("indent", "expandtabs") else 1)


def _bounded(name: str, filtering: Callable[..., Any]) -> Callable[..., Any]:
    """Return a filter that makes nothing that is huge."""
    before = int(hasattr(filtering, "jinja_pass_arg"))

    @wraps(filtering)
    def filtered(*args: Any, **kwargs: Any) -> Any:
        value, given = args[before], (*args[before + 1 :], *kwargs.values())
        if name == "join":
            value = list(value)
            _bound(grown(name, "", (value, *given)))
        else:
            _bound(grown(name, value if isinstance(value, str) else "", given))
        return _measured(filtering(*args[:before], value, *args[before + 1 :], **kwargs))

    return filtered


class _Watched(NodeTransformer):
    """Puts into a template what looks at the clock and measures."""

    def visit_For(self, node: nodes.For) -> nodes.Node:  # noqa: N802 - as its base calls it
        return self._timed(node)

    def visit_Macro(self, node: nodes.Macro) -> nodes.Node:  # noqa: N802
        return self._timed(node)

    def visit_Add(self, node: nodes.Add) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        for side in ("left", "right"):  # of a + b + c the whole is measured
            part = getattr(node, side)
            if isinstance(part, nodes.Filter) and part.name == MEASURED:
                setattr(node, side, part.node)
        return _filtered(node, MEASURED)

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802
        return _filtered(self.generic_visit(node), MEASURED)

    def _timed(self, node: Any) -> nodes.Node:
        self.generic_visit(node)
        node.body.insert(0, nodes.ExprStmt(_filtered(nodes.Const(None), TURN)))
        return node  # type: ignore[no-any-return]


def _filtered(value: nodes.Node, name: str) -> nodes.Filter:
    return nodes.Filter(value, name, [], [], None, None)


@lru_cache(maxsize=8)
def _compiled(source: str) -> jinja2.Template:
    environment = _Environment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols", _Generation]
    )
    del environment.globals["lipsum"]
    del environment.filters["center"]
    environment.globals["raise_exception"] = _refuse
    environment.globals["strftime_now"] = _now
    environment.filters["tojson"] = _json
    environment.filters = {name: _bounded(name, each) for name, each in environment.filters.items()}
    environment.filters |= {TURN: _turn, MEASURED: _measured}
    tree = _Watched().visit(environment.parse(source))
    tree.set_environment(environment)
    tree.set_lineno(1)
    code = environment.compile(tree)
    return environment.template_class.from_code(environment, code, environment.make_globals(None))


def _refuse(message: str = "it refuses what is said") -> None:
    raise jinja2.TemplateError(message)


def _now(form: str) -> str:
    from datetime import datetime

    return datetime.now().strftime(form)


def _json(value: Any, **options: Any) -> str:
    import json

    return json.dumps(value, **{"ensure_ascii": False, **options})
