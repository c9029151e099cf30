"""Texts that stand in a table with different labels: which label is right is not for the order of the rows to say."""

from collections import Counter
from itertools import islice

import numpy as np
import pandas as pd

from components.data.validation.checks import Checks, mixed
from components.data.validation.findings import counted, quoted
from components.data.validation.rules import ValidationConfig

TEXTS_NAMED = 3


def check_conflicts(checks: Checks, labels: np.ndarray, config: ValidationConfig) -> None:
    """Check that no text has several labels, and mark the rows that are left out.

    `labels` are the positions of the rows' labels in `config.labels`, int32 (rows). In memory are two copies of the
    hashes that `checks` keeps, and the rows of the texts concerned.
    """
    rule, use = checks.rules["conflicts"], config.conflicts.use
    places, hashes = checks.compared()
    if not checks.can_run(rule, len(places)):
        return
    found = _labelled_differently(places, hashes, labels[places])
    several = found.groupby("text")["label"].nunique() if len(found) else pd.Series([1])
    checks.evaluate(rule.name, pd.DataFrame({"labels": several}))
    rule.observed = f"{counted(found['text'].nunique(), 'text')} in {counted(len(found), 'row')}"
    note = _note(checks, found, config.labels) if len(found) else ""
    if use == "keep":
        checks.tell_apart(found["place"].to_numpy(), found["label"].to_numpy())
        rule.detail = note
        return
    failing = _left_out(found, use)
    checks.marks.add(rule.name, failing)
    rule.failing, rule.rows, rule.note = len(failing), len(places), note


def _labelled_differently(places: np.ndarray, hashes: np.ndarray, labels: np.ndarray) -> pd.DataFrame:
    """Return the rows of texts with several labels: `place`, `text` (a hash) and `label`."""
    both = mixed(hashes, labels)
    texts = np.sort(hashes)
    repeated = texts[1:][texts[1:] == texts[:-1]]
    both.sort()
    pairs = both[1:] == both[:-1]
    if len(repeated) == int(pairs.sum()):  # As many distinct texts as there are distinct texts with labels.
        return pd.DataFrame({"place": [], "text": [], "label": []}, dtype=np.int64)
    again = np.flatnonzero(np.isin(hashes, np.unique(repeated)))
    rows = pd.DataFrame({"place": places[again], "text": hashes[again], "label": labels[again]})
    return rows[rows.groupby("text")["label"].transform("nunique") > 1]


def _left_out(rows: pd.DataFrame, use: str) -> np.ndarray:
    """Return the places of the rows that are not used."""
    places: np.ndarray = rows["place"].to_numpy()
    if use == "drop" or not len(rows):
        return places
    counts = rows.groupby(["text", "label"]).size().rename("rows").reset_index()
    most = counts[counts["rows"] == counts.groupby("text")["rows"].transform("max")]
    clear = most[~most["text"].duplicated(keep=False)]
    return places[rows.merge(clear, how="left", on=["text", "label"])["rows"].isna().to_numpy()]


def _note(checks: Checks, rows: pd.DataFrame, labels: list[str]) -> str:
    """Return the first texts, how often each has which label, and the first rows."""
    said = []
    for _, each in islice(rows.groupby("text", sort=False), TEXTS_NAMED):
        text = checks.source.cells([int(each["place"].iloc[0])], ["text"])[0]["text"]
        counts = Counter(each["label"].tolist())
        times = ", ".join(f"{quoted(labels[label], 30)} {counts[label]:,} times" for label in sorted(counts))
        said.append(f"{quoted(text, 40)} is {times}")
    more = "; ..." if rows["text"].nunique() > TEXTS_NAMED else ""
    return f"{'; '.join(said)}{more}; rows {checks.source.row_numbers(rows['place'].to_numpy())}"
