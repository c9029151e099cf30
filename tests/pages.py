"""The documentation as the tests read it: what a page says, commands, and which files and words it names."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from tempfile import TemporaryDirectory

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
    lines: tuple[int, int]
    """Its first line, and the first after it, from 0."""

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

    @cached_property
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
            first, after = token.map or (0, 0)
            language = token.info.split(" ")[0]
            page.blocks.append(Block(language, token.content, heading, before, named, (first, after)))
            before, named = "", ()
        elif token.type == "heading_close":
            heading, before = before, ""
        elif token.type == "inline":
            children = token.children or []
            before, named = token.content, tuple(child.content for child in children if child.type == "code_inline")
            page.spans += named
            page.links += [str(child.attrs["href"]) for child in children if child.type == "link_open"]
    return page


@cache
def pages() -> list[Page]:
    """Return the pages whose commands people copy."""
    names = ["README.md", "CONTRIBUTING.md", "SECURITY.md", "deploy/README.md", "mlflow/README.md"]
    return [read_page(path) for path in (*(ROOT / name for name in names), *sorted((ROOT / "docs").glob("*.md")))]


def _commands(text: str) -> Iterator[str]:
    command = ""
    for line in text.splitlines():
        command += line.removeprefix("$ ") + "\n"
        if _is_whole(command):
            if command.strip() and not command.lstrip().startswith("#"):
                yield command.strip()
            command = ""
    if command.strip():
        yield command.strip()


def _is_whole(command: str) -> bool:
    """Say whether bash would begin with it: no quote, document or block is open, and no line goes on."""
    said = subprocess.run(["bash", "-n", "-c", command], stderr=subprocess.PIPE, check=False).stderr
    return not said and not command.endswith("\\\n")


RECORDED = r"""
command_not_found_handle() { builtin printf '%s\x1f' "$@" $'\x1e' >> "$WORDS"; }
for name in cd echo export printf; do eval "$name() { command_not_found_handle $name \"\$@\"; }"; done
"""
"""Makes bash write down what it would run: every word of a command, and then the next."""


@cache
def invocations(command: str) -> list[list[str]]:
    """Return the words of each program that a command runs, without folders, as bash takes them apart; sorted."""
    command = re.sub(r"(?<!\S)\S*bin/(?=\w)", "", command)
    with TemporaryDirectory() as folder:
        words = Path(folder, "words")
        words.touch()
        bash = [str(shutil.which("bash")), "-c", RECORDED + command]
        subprocess.run(bash, cwd=folder, env={"PATH": "/nowhere", "WORDS": str(words)}, stdin=-3, stdout=-3, stderr=-3)
        return sorted(line.split("\x1f")[:-1] for line in words.read_text().split("\x1e\x1f")[:-1])
