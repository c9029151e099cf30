"""Texts that stand in a table with different labels: which label is right is not for the order of the rows to say."""

from collections import Counter
from collections.abc import Sequence
from itertools import islice
from typing import TYPE_CHECKING

from components.data.validation.checks import CONFLICTS, Checks, mixed
from components.data.validation.engine import conflicts_expectation
from components.data.validation.findings import Finding, counted, quoted
from components.data.validation.rules import ValidationConfig

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

ROWS_NAMED = 10
TEXTS_NAMED = 3


def check_conflicts(checks: Checks, labels: "np.ndarray", rules: ValidationConfig) -> Finding:
    """Check that no text has several labels, and mark the rows that are left out.

    `labels` are the positions of the rows' labels in `rules.labels`, int32 (rows). In memory are two copies of the
    hashes that `checks` keeps, and the rows of the texts concerned.
    """
    import pandas as pd

    needed = ["text", "label"]
    if lacking := [name for name in needed if name not in checks.source.columns]:
        return checks.not_run(CONFLICTS, lacking)
    places, hashes = checks.compared()
    if not len(places):
        return checks.not_run(CONFLICTS, needed)
    found = _labelled_differently(places, hashes, labels[places])
    several = found.groupby("text")["label"].nunique() if len(found) else pd.Series([1])
    outcome = checks.engine.run(pd.DataFrame({"labels": several}), [conflicts_expectation()])[CONFLICTS]
    failing = _left_out(found, rules.conflicts.use)
    checks.marks.add(CONFLICTS, failing)
    note = _note(checks, found, rules.labels)
    observed = f"{counted(found['text'].nunique(), 'text')} in {counted(len(found), 'row')}"
    if rules.conflicts.use == "keep":
        checks.tell_apart(found["place"].to_numpy(), found["label"].to_numpy())
        return checks.finding(CONFLICTS, outcome, observed, detail=note, by_row=False)
    return checks.finding(CONFLICTS, outcome, observed, failing=len(failing), rows=len(places), note=note)


def _labelled_differently(places: "np.ndarray", hashes: "np.ndarray", labels: "np.ndarray") -> "pd.DataFrame":
    """Return the rows of texts with several labels: `place`, `text` (a hash) and `label`."""
    import numpy as np
    import pandas as pd

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


def _left_out(rows: "pd.DataFrame", use: str) -> "np.ndarray":
    """Return the places of the rows that are not used."""
    if use == "keep" or not len(rows):
        return rows["place"].to_numpy()[:0]
    if use == "drop":
        return rows["place"].to_numpy()
    counts = rows.groupby(["text", "label"]).size().rename("rows").reset_index()
    most = counts[counts["rows"] == counts.groupby("text")["rows"].transform("max")]
    clear = most[~most["text"].duplicated(keep=False)]
    used = rows.merge(clear, how="left", on=["text", "label"])["rows"].notna().to_numpy()
    places: np.ndarray = rows["place"].to_numpy()[~used]
    return places


def _note(checks: Checks, rows: "pd.DataFrame", labels: Sequence[str]) -> str:
    """Return the first texts, how often each has which label, and the first rows."""
    if not len(rows):
        return ""
    said = []
    for _, each in islice(rows.groupby("text", sort=False), TEXTS_NAMED):
        text = checks.source.cells([int(each["place"].iloc[0])], ["text"])[0]["text"]
        counts = Counter(each["label"].tolist())
        times = ", ".join(f"{quoted(labels[label], 30)} {counts[label]:,} times" for label in sorted(counts))
        said.append(f"{quoted(text, 40)} is {times}")
    numbers = [cells["row"] for cells in checks.source.cells(rows["place"].iloc[:ROWS_NAMED].tolist(), [])]
    named = ", ".join(f"{number:,}" for number in numbers) + (", ..." if len(rows) > ROWS_NAMED else "")
    more = "; ..." if rows["text"].nunique() > TEXTS_NAMED else ""
    return f"{'; '.join(said)}{more}; rows {named}"
