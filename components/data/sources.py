"""Where a table of examples comes from: the section `source` of a preset."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, StringConstraints, field_validator, model_validator

from components.conversations import HISTORY
from components.core.config import Address
from components.data.addresses import is_safe_member, url_problem
from components.data.columns import Key, Label, check_names, is_template, keys_of, rename
from components.data.formats.dialect import DELIMITED, SEPARATORS, Delimiter, Encoding, Format, Quoting, is_utf8
from components.data.hub.config import HubConfig, is_hub, place_of
from components.data.split.given_splits import SPLITS, GivenSplits

Position = Annotated[int, Field(strict=True, ge=0)]
Cells = Sequence[str | None]
Sha256 = Annotated[str, StringConstraints(to_lower=True, pattern=r"^[0-9a-fA-F]{64}$")]


class FileSource(GivenSplits):
    """A file of records: where it is, what it must hash to, and how it is read; the base of what says what they are."""

    fields: ClassVar[tuple[str, ...]] = ()
    """What `columns` may map, in the order of the table's columns."""

    templated: ClassVar[tuple[str, ...]] = ()
    """Which of them may be a template over several columns."""

    normalized: ClassVar[tuple[str, ...]] = ()
    """In which of them the table may hold something else than the file says (`normalize`)."""

    url: Address
    """`https://`, `http://`, `file://`, `sample://NAME` (a file that Gradus ships) or the path of a local file, in
    a preset relative to its file; `runs:/RUN/FILE`, which an MLflow run logged; or `hf://OWNER/NAME`, a data set of the
    Hugging Face hub, and `hf://OWNER/NAME/FILE`, a file of it."""

    hub: HubConfig = HubConfig()
    """Which part of a data set of the hub is used."""

    sha256: Sha256 | None = None
    """SHA-256 in hexadecimal of the unpacked member, or of the file itself where there is no member.

    Without one, every run asks an http(s) server by HEAD whether the file has changed, and fetches it again if it has
    or the server does not say. If the server cannot be reached, what was fetched last is used."""

    member: str | None = None
    """The one file to unpack when the source is a zip, a tar or a gzip file."""

    limit: int | None = Field(None, ge=1)
    """How many rows of each file are used, spread evenly over it, for a trial: what `--limit` sets. By default all.

    Rules about numbers of rows then warn where they would stop, and run and model are named after it."""

    licence: str | None = None
    """What may be done with the data, for the model card; nothing depends on it."""

    max_bytes: int = Field(1 << 30, gt=0)
    """Upper bound of the bytes fetched, and of the bytes unpacked."""

    timeout: float = Field(30.0, gt=0, le=3600)
    """Seconds to wait for a connection, and for each piece of an answer."""

    attempts: int = Field(4, ge=1, le=20)
    """How often a fetch is tried when the connection fails, breaks, stalls, or the server answers 429 or 5xx."""

    backoff: float = Field(1.0, ge=0, le=60)
    """Seconds before the second attempt, doubled for each further one; up to as much again is added at random.

    What a server asks to wait comes on top. After a 429 that names no time the waits add up to 60 times as much."""

    allow_private: bool = False
    """Whether a public server may redirect to this machine or a private network."""

    format: Format = "csv"
    """`csv` and `tsv`: fields separated by commas or tabs; `json`: a list of objects; `jsonl`: an object a line;
    `parquet`."""

    header: bool = True
    """Whether the first record of a csv or tsv file names the columns."""

    delimiter: Delimiter | None = None
    """Of csv and tsv: the one character between fields, such as `";"` or `"|"`; by default a comma, or a tab."""

    quoting: Quoting = "default"
    """Of csv and tsv. `default`: a field may stand in double quotes, and a closing one ends it; `none`: a quote is a
    character like any other; `lenient`: as Python's `csv` and pandas read, which may take many lines for one field."""

    columns: Mapping[Any, str | Position]
    """Which column of the file is which column of the table: its name, or its position from 0 (without a header)."""

    encoding: Encoding = "utf-8"
    """How the file's characters are encoded: any of Python's encodings of text, such as `cp1252`, `utf-16`, `cp949`."""

    @field_validator("url")
    @classmethod
    def _check_url(cls, url: str) -> str:
        if problem := url_problem(url):
            raise ValueError(problem)
        return url

    @field_validator("member")
    @classmethod
    def _check_member(cls, member: str | None) -> str | None:
        if member is not None and not is_safe_member(member):
            raise ValueError(f"{member!r} is not a relative path inside the archive (no '..', no leading '/')")
        return member

    @model_validator(mode="after")
    def _check_hub(self) -> Self:
        place = place_of(self.url) if is_hub(self.url) else None
        if place is None and self.hub != HubConfig():
            raise ValueError("hub is for data sets of the hub: set url to hf://OWNER/NAME, or leave it out")
        if place and place.path and (self.hub.subset or self.hub.split):
            raise ValueError("hub.subset and hub.split mean nothing where url names one file; leave them out")
        single = [key for key in ("sha256", "member", *SPLITS[1:]) if getattr(self, key)]
        if place and not place.path and single:
            one = f"{self.url} is a whole data set; name a file of it, {self.url}/FILE"
            raise ValueError(f"{single[0]} belongs to one file, but {one}, or leave {single[0]} out")
        return self

    @model_validator(mode="after")
    def _check_format(self) -> Self:
        if self.format not in DELIMITED:
            for key, default in (("header", True), ("quoting", "default"), ("delimiter", None)):
                if getattr(self, key) != default:
                    raise ValueError(f"{key} means nothing for format={self.format}; leave it out, or set format")
        if self.format == "parquet" and not is_utf8(self.encoding):
            raise ValueError("encoding means nothing for format=parquet, whose text is always UTF-8; leave it out")
        return self

    @model_validator(mode="after")
    def _check_columns(self) -> Self:
        for field, column in self.columns.items():
            if is_template(column) and field not in self.templated:
                only = f"only {', '.join(self.templated)} can be a template"
                raise ValueError(f"columns.{field}: {column!r} has a brace, but {only}")
            for each in self.fields_of(field):
                if not self.header and isinstance(each, str):
                    only = "a name, but without a header a column is a position: 0, 1, ..."
                    raise ValueError(f"columns.{field}: {each!r} is {only}")
                if isinstance(each, int) and self.format in ("json", "jsonl"):
                    only = f"a position, but {self.format} has names only; give the name"
                    raise ValueError(f"columns.{field}: {each} is {only}")
        mapped = [field for field in self.fields if field in self.columns]
        for one, other in combinations(mapped, 2):
            if self.columns[one] == self.columns[other]:
                raise ValueError(f"columns: {one} and {other} are the same column")
        return self

    def fields_of(self, field: str) -> tuple[Key, ...]:
        """Return the file's columns that one of `fields` is made of; none if it is not mapped."""
        column = self.columns.get(field)
        return () if column is None else keys_of(column, positions=not self.header)

    def read_columns(self) -> list[Key]:
        """Return the file's columns that are read, each once."""
        return list(dict.fromkeys(key for field in self.fields for key in self.fields_of(field)))

    def fields_with(self, key: Key) -> list[str]:
        """Return those of `fields` that one of the file's columns is part of."""
        return [field for field in self.fields if key in self.fields_of(field)]

    @property
    def separator(self) -> str:
        """What stands between the fields of a csv or tsv file."""
        return self.delimiter or SEPARATORS[self.format]

    @property
    def optional(self) -> Key | None:
        """The column that a file need not have, if there is one: its cells are missing then."""
        return None

    @property
    def table_columns(self) -> tuple[str, ...]:
        """The columns that the table has."""
        return self.text_fields

    @property
    def text_fields(self) -> tuple[str, ...]:
        """Those of `fields` whose cells are texts."""
        return tuple(field for field in self.fields if field in self.columns)

    @property
    def turn_fields(self) -> tuple[str, ...]:
        """Those of `fields` whose cells are the turns of a conversation."""
        return ()

    def normalize(self, field: str, cells: Cells) -> Cells:  # noqa: ARG002
        """Return what the table holds in a column, given what the file says."""
        return cells


class SourceConfig(FileSource):
    """A file of labelled texts: where it is, what it must hash to, and how it is read."""

    fields: ClassVar[tuple[str, ...]] = ("text", "label", "split")
    templated: ClassVar[tuple[str, ...]] = ("text",)
    normalized: ClassVar[tuple[str, ...]] = ("label",)

    columns: dict[Literal["text", "label", "split"], str | Position] = Field(
        default={"text": "text", "label": "label"}, min_length=1
    )
    """Which column is the text and which the label: its name, or its position from 0 (without a header). `split`, if
    it is there, names each row's split: train, validation or test.

    The text may be a template over several: `"{title}\\n\\n{body}"`. Whatever has a brace is one; `{{` and `}}` stand
    for a brace; a missing cell is empty. In json, jsonl and parquet `a.b` is the `b` inside `a`."""

    label_map: dict[Label, Label] | None = None
    """What raw labels are called from here on; labels that are not named stay as they are."""

    @field_validator("label_map", mode="before")
    @classmethod
    def _check_label_map(cls, names: object) -> object:
        return check_names(names)

    def normalize(self, field: str, cells: Cells) -> Cells:
        """Return labels in Unicode's composed form, under the names that `label_map` gives them."""
        return rename(cells, self.label_map or {}) if field == "label" else cells


class InstructionSourceConfig(FileSource):
    """A file of instructions with responses: where it is, what it must hash to, and how it is read."""

    fields: ClassVar[tuple[str, ...]] = (
        "instruction", "input", "output", "messages", "system", "history", "task", "split"
    )  # fmt: skip
    required: ClassVar[tuple[str, ...]] = ("instruction", "output")
    answered: ClassVar[bool] = True
    """Whether a conversation ends with an answer, which is the output."""
    templated: ClassVar[tuple[str, ...]] = ("instruction", "input", "output")
    normalized: ClassVar[tuple[str, ...]] = ("input", "task")

    format: Format = "json"
    """`json`: a list of objects; `jsonl`: an object a line; `csv` and `tsv`: fields separated by commas or tabs;
    `parquet`."""

    columns: dict[
        Literal["instruction", "input", "output", "messages", "system", "history", "task", "split"], str | Position
    ] = Field(default={"instruction": "instruction", "input": "input", "output": "output"})
    """Which column is the instruction, its input, the response and, if there are such, the kind of task and the split.

    Of conversations `messages` is the column of their turns, in OpenAI's form or ShareGPT's, with `output` beside it if
    the answer stands in a column of its own; or `history` is that of the turns before an instruction. `system` is that
    of a system message. Where columns are not given, these are found by their usual names, but for csv and tsv.

    It is a name, or a position from 0 (without a header). `input` may be left out, and a file need not have a column of
    that very name: the input is empty then. Instruction, input and output may be templates over several columns:
    `"{question}\\n\\n{context}"`. Whatever has a brace is one; `{{` and `}}` stand for a brace; a missing cell is
    empty. In json, jsonl and parquet `a.b` is the `b` inside `a`."""

    @field_validator("columns")
    @classmethod
    def _check_required(cls, columns: dict[str, Key]) -> dict[str, Key]:
        whole = "messages" in columns
        if whole and (twice := [field for field in ("instruction", "input", "history") if field in columns]):
            raise ValueError(f"messages are whole conversations: leave {' and '.join(twice)} out")
        if missing := [field for field in cls.required if field not in columns and not whole]:
            raise ValueError(f"{' and '.join(missing)} must be mapped too: name the column of each")
        return columns

    @property
    def optional(self) -> Key | None:
        """The column of the input, if it goes by its own name and is part of nothing else."""
        return "input" if self.columns.get("input") == "input" and self.fields_with("input") == ["input"] else None

    @property
    def has_turns(self) -> bool:
        """Whether entries are conversations."""
        return not self.columns.keys().isdisjoint(("messages", "system", "history"))

    @property
    def turn_fields(self) -> tuple[str, ...]:
        """Of conversations, their turns, and what may be one or several of them."""
        answer = "messages" in self.columns and not is_template(self.columns.get("output", ""))
        turns = ("messages", "history", *(("output",) if answer else ()))
        return tuple(field for field in turns if field in self.columns)

    @property
    def text_fields(self) -> tuple[str, ...]:
        """Those whose cells are texts: there is always an input."""
        there = (field for field in self.fields if field in self.columns or field == "input")
        return tuple(field for field in there if field not in self.turn_fields)

    @property
    def table_columns(self) -> tuple[str, ...]:
        """The table's columns: there is always an input, and of conversations the instruction, output and history."""
        if not self.has_turns:
            return self.text_fields
        own = ("instruction", "input", *(("output",) if self.answered else ()), HISTORY)
        return (*own, *(field for field in self.text_fields if field not in (*own, "output", "system")))

    def normalize(self, field: str, cells: Cells) -> Cells:
        """Return an empty text for a missing input, and tasks in Unicode's composed form."""
        return [cell or "" for cell in cells] if field == "input" else rename(cells, {})
