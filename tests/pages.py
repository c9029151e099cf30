"""The documentation as the tests read it: what a page says, commands, and which files and words it names."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[1]
SHELL = {"bash", "sh", "shell", "console"}
OUTPUT = {"", "text", "json", "console"}
SUFFIXES = {
    "": (".csv", ".tsv", ".json", ".jsonl", ".txt", ".yaml"),
    "csv": (".csv",),
    "tsv": (".tsv",),
    "json": (".json", ".jsonl"),
    "jsonl": (".jsonl",),
    "python": (".py",),
    "text": (".txt",),
    "yaml": (".yaml", ".yml"),
}
"""How the name of a file ends that a block of a language may be the text of."""


@dataclass(frozen=True)
class Block:
    """A block of code, fenced or indented, the heading that it stands under, and the paragraph before it."""

    language: str
    text: str
    heading: str
    before: str
    named: tuple[str, ...]
    """What stands in backticks in the paragraph before."""

    @property
    def is_shell(self) -> bool:
        """Whether a reader types this: it says so, or it begins with a program that this project is used with."""
        return self.language in SHELL or (self.language == "" and bool(re.match(FIRST_WORDS, self.text)))

    @property
    def saved_as(self) -> str | None:
        """The file that this is the text of: the paragraph before ends in its name, or names it and ends in a colon."""
        suffixes = SUFFIXES.get(self.language, ())
        if self.is_shell or not (
            names := [name for name in self.named if re.fullmatch(r"[\w.-]+", name) and name.endswith(suffixes)]
        ):
            return None
        last = f"`{names[-1]}`"
        end = self.before.rstrip(" :.,")
        return names[-1] if end.endswith(last) or (self.language and self.before.endswith(":")) else None

    @property
    def commands(self) -> list[str]:
        """The commands of a shell block, each with the lines that belong to it; no comments, no prompts."""
        return list(_commands(self.text)) if self.is_shell else []


FIRST_WORDS = r"(#.*\n|\$ )*\s*([A-Z_]+=\S+ )*(\S*bin/)?(gradus|mlflow|prefect|make|pip|git|export|cd|docker|python) "


@dataclass
class Page:
    """What a Markdown file holds."""

    path: Path
    blocks: list[Block] = field(default_factory=list)
    spans: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The path from the root of the repository."""
        return self.path.relative_to(ROOT).as_posix()

    @property
    def commands(self) -> list[str]:
        """All commands, in order."""
        return [command for block in self.blocks for command in block.commands]


@cache
def read_page(path: Path) -> Page:
    """Read a Markdown file."""
    page = Page(path)
    heading, before = "", ""
    named: tuple[str, ...] = ()
    for token in MarkdownIt("commonmark").enable("table").parse(path.read_text(encoding="utf-8")):
        if token.type in {"fence", "code_block"}:
            page.blocks.append(Block(token.info.split(" ")[0], token.content, heading, before, named))
            before, named = "", ()
        elif token.type == "heading_close":
            heading, before = before, ""
        elif token.type == "inline":
            children = token.children or []
            before, named = token.content, tuple(child.content for child in children if child.type == "code_inline")
            page.spans += named
            page.links += [str(child.attrs["href"]) for child in children if child.type == "link_open"]
    return page


def pages() -> list[Page]:
    """Return the pages whose commands people copy."""
    names = ["README.md", "CONTRIBUTING.md", "deploy/README.md", "mlflow/README.md"]
    return [read_page(path) for path in (*(ROOT / name for name in names), *sorted((ROOT / "docs").glob("*.md")))]


def _commands(text: str) -> Iterator[str]:
    command = end = ""
    for line in text.splitlines():
        command += line.removeprefix("$ ") + "\n"
        if end and line.strip() != end:
            continue
        if not end and (here := re.search(r"<<-?\s*['\"]?(\w+)", line)):
            end = here[1]
        elif end or _is_whole(command):
            if end or shlex.split(command, comments=True):
                yield command.strip()
            command = end = ""
    if command.strip():
        yield command.strip()


def _is_whole(command: str) -> bool:
    """Say whether no quote is open and no line continued."""
    try:
        shlex.split(command, comments=True)
    except ValueError:
        return False
    return not command.endswith("\\\n")


def invocations(command: str) -> Iterator[list[str]]:
    """Yield the words of each program that a command runs, without assignments, redirections and folders."""
    script = re.sub(r"<<-?\s*['\"]?(\w+)['\"]?(.*)\n(.*\n)*\1$", r"\2", command).replace("\\\n", " ")
    script = re.sub(r"(?<=\s)\d(?=>)", "", script)
    lexer = shlex.shlex(script, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words: list[str] = []
    redirected = False
    for word in [*lexer, ";"]:
        if set(word) <= set("<>&|") and set(word) & set("<>"):
            redirected = True
        elif set(word) <= set("();|&"):
            if words:
                yield [words[0].rpartition("/")[2], *words[1:]]
            words = []
        elif redirected or (not words and re.match(r"\w+=", word)):
            redirected = False
        else:
            words.append(word)
