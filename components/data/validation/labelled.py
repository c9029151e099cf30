"""Validation of texts and labels with Great Expectations: what fails is named, counted and kept beside."""

from collections import Counter
from functools import cached_property
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from components.core.records import Facts
from components.data.batches import mixed
from components.data.split.given_splits import SPLIT
from components.data.validation.checks import NOT_BLANK, NOT_NULL, Checks
from components.data.validation.report import Cell, Content, Rule, counted, quoted
from components.data.validation.rules import COLUMNS, ValidationConfig

LABELS_SHOWN = 5
TEXTS_SHOWN = 3


def validate(table: Path, rules: ValidationConfig, out: Path) -> Facts:
    """Check a Parquet table (`row`, `text`, `label`) and write what may be used to `out/table.parquet`.

    Beside it stand `rejected.parquet` (the same columns and `reason`), `report.json` and `report.html`. Accepted rows
    keep their order, values and further columns.

    Raises:
        DataRejected: if an expectation of severity `error` is not met, or no row is left. All files but
            `table.parquet` are written.
        TableError: if `table` is not a Parquet file, or a column has another type than text (`row`: integer).
        ConfigError: if `rules.expectations` do not fit the table.
    """
    return {**Texts(table, rules).run(out), "ordered": rules.ordered}


class Texts(Checks):
    """The checks of a table of labelled texts."""

    config: ValidationConfig
    required = COLUMNS
    content = ("text",)
    shown = (Cell(SPLIT, None, 30, 40), Cell("label", None, 30, 40), Cell("text", None, 60, 160, named=False))

    def row_rules(self) -> list[Rule]:
        """Return the rules about labels and texts."""
        labels, length = list(self.config.labels), self.config.text_length
        # Nulls pass a set, so a missing label needs an expectation of its own.
        declared = {"values_to_be_in_set": {"value_set": labels}, **NOT_NULL}
        remedy = "Correct the data, declare the label in validation.labels, or {relax} leave such rows out"
        fits = {"value_lengths_to_be_between": {"min_value": length.min, "max_value": length.max}}
        return [
            self.column_rule("label_in_set", "label", f"is one of {', '.join(labels)}", declared, remedy),
            self.column_rule("text_not_null", "text", "is there", NOT_NULL),
            self.column_rule("text_not_blank", "text", "holds more than white space", NOT_BLANK),
            self.column_rule("text_length", "text", f"has {length.min:,} to {length.max:,} characters", fits),
        ]

    def table_rules(self) -> list[Rule]:
        """Return the rules about conflicts, copies and numbers of rows; the last two are about a table of classes."""
        fewest, most = self.config.rows_per_class.min, self.config.class_ratio.max
        correct = "Correct the labels, or {relax} use what validation.conflicts.use says"
        collect = "Collect more rows, lower validation.rows_per_class.min, or take the class out of validation.labels"
        one = {"column_max_to_be_between": {"column": "labels", "max_value": 1}}
        enough = {"column_values_to_be_between": {"column": "rows", "min_value": fewest}}
        even = {"column_max_to_be_between": {"column": "ratio", "max_value": most}}
        about = {"needs": ["text", "label"], "by_row": self.config.conflicts.use != "keep", "remedy": correct}
        size, ratio = f"at least {fewest:,} rows of each class", f"largest class at most {most:.4g} times the smallest"
        return [
            self.rule("conflicts", "no text has different labels", one, **about),
            *super().table_rules(),
            self.rule("rows_per_class", size, enough, needs=["label"], remedy=collect),
            self.rule("class_ratio", ratio, even, needs=["label"]),
        ]

    def note(self, name: str) -> str:
        """Return labels that are not declared, of the rule about labels."""
        if name != "label_in_set":
            return ""
        found = self.source.counts("label", self.marks.mask(name))
        labels = [quoted(label, 30) for label in found if label is not None]
        shown = ", ".join(labels[:LABELS_SHOWN] + ["..."] * (len(labels) > LABELS_SHOWN))
        return f"not declared: {shown}" if labels else ""

    def compare_rows(self) -> None:
        """Evaluate the rules about texts with several labels, and about copies."""
        self._check_conflicts()
        super().compare_rows()

    def _check_conflicts(self) -> None:
        """Check that no text has several labels: which is right is not for the order of the rows to say.

        In memory are two copies of the hashes that are kept of the rows, and the rows of repeated texts.
        """
        rule, use = self.rules["conflicts"], self.config.conflicts.use
        places, hashes = self.compared()
        if not self.can_run(rule, len(places)):
            return
        labels, declared = np.zeros(self.source.rows, np.int32), pa.array(self.config.labels, pa.string())
        for positions, batch in self.source.batches(["label"]):
            labels[positions] = pc.index_in(batch["label"].cast(pa.string()), declared).fill_null(-1).to_numpy()
        texts = np.sort(hashes)
        again = pd.Series(hashes).isin(texts[1:][texts[1:] == texts[:-1]]).to_numpy()
        rows = pd.DataFrame({"place": places[again], "text": hashes[again], "label": labels[places[again]]})
        found = rows[rows.groupby("text")["label"].transform("nunique") > 1]
        several = found.groupby("text")["label"].nunique() if len(found) else pd.Series([1])
        self.evaluate(rule.name, pd.DataFrame({"labels": several}))
        rule.observed = f"{counted(found['text'].nunique(), 'text')} in {counted(len(found), 'row')}"
        note = self._describe_conflicts(found) if len(found) else ""
        if use == "keep":
            places = found["place"].to_numpy()  # no copies of one another where the labels differ
            self.hashes[places] = mixed(self.hashes[places], found["label"].to_numpy())
            rule.detail = note
            return
        failing = _left_out(found, use)
        self.marks.add(rule.name, failing)
        rule.failing, rule.rows, rule.note = len(failing), len(places), note

    def _describe_conflicts(self, rows: pd.DataFrame) -> str:
        """Return the first texts, how often each has which label, and the first rows."""
        texts, labels = [], self.config.labels
        for _, each in islice(rows.groupby("text", sort=False), TEXTS_SHOWN):
            text = self.source.cells([int(each["place"].iloc[0])], ["text"])[0]["text"]
            counts = Counter(each["label"].tolist())
            times = ", ".join(f"{quoted(labels[label], 30)} {counts[label]:,} times" for label in sorted(counts))
            texts.append(f"{quoted(text, 40)} is {times}")
        more = "; ..." if rows["text"].nunique() > TEXTS_SHOWN else ""
        return f"{'; '.join(texts)}{more}; rows {self.source.row_numbers(rows['place'].to_numpy())}"

    def count_rows(self) -> None:
        """Evaluate the rules about numbers of rows, and of those of each class."""
        super().count_rows()
        sizes, ratio = self.rules["rows_per_class"], self.rules["class_ratio"]
        left = int(self.marks.kept.sum())
        if not (self.can_run(sizes, left) & self.can_run(ratio, left)):
            return
        # Great Expectations has nothing that compares classes, so it is given a table with a class a line.
        counts = self._counts
        rows = pd.Series(counts)
        classes = pd.DataFrame({"rows": rows, "ratio": rows.max() / rows})
        small, found = self.evaluate(sizes.name, classes).failing, self.evaluate(ratio.name, classes).observed
        too_few = [quoted(label, 30) for label in counts if label in small]
        ends = min(counts, key=counts.__getitem__), max(counts, key=counts.__getitem__)
        fewest, most = (f"{counted(counts[label], 'row')} of {quoted(label, 30)}" for label in ends)
        sizes.observed, sizes.detail = fewest, f"too few of {', '.join(too_few)}" if too_few else ""
        ratio.observed = f"{found:.2f}" if min(counts.values()) else "no ratio"
        ratio.detail = f"{most}, {fewest}"

    def describe(self) -> Content:
        """Return the labels, and how many rows each has."""
        counts = self._counts
        facts = {"labels": list(counts), "class_counts": counts}
        return Content(facts, {"Classes": str(len(counts))}, {"Classes": counts})

    @cached_property
    def _counts(self) -> dict[str, int]:
        found = self.source.counts("label", self.marks.kept)
        return {label: found[label] for label in self.config.labels}


def _left_out(rows: pd.DataFrame, use: str) -> np.ndarray:
    """Return the places of the rows, of texts with several labels, that are not used."""
    if use == "drop":
        return rows["place"].to_numpy()
    counts = rows.groupby(["text", "label"])["place"].transform("size")
    frequent = counts == counts.groupby(rows["text"]).transform("max")
    clear = rows["label"].where(frequent).groupby(rows["text"]).transform("nunique") == 1
    return rows["place"].to_numpy()[~(frequent & clear)]
