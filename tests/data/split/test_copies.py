"""Which rows repeat others."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from components.data.split.config import SplitConfig
from components.data.split.copies import WHY, find_repeated
from components.data.split.grouping import with_near_duplicates
from components.data.split.row_index import index_rows

LONG = "one two three four five six seven eight nine ten eleven twelve"
TEXTS = ["Call 12 now", "Call 12 now", "call  99 NOW", "call 7 now", LONG, f"{LONG} more", f"{LONG} other", "alone"]
LABELS = ["spam", "spam", "spam", "ham", "ham", "ham", "spam", "ham"]


def reasons(folder: Path, same_answer: bool = True, splits: list[str] | None = None, **config: object) -> list[str]:
    path = folder / "table.parquet"
    columns = {"row": range(len(TEXTS)), "text": TEXTS, "label": LABELS} | ({"split": splits} if splits else {})
    pq.write_table(pa.table(columns), path)
    split = SplitConfig.model_validate(config)
    rows = with_near_duplicates(index_rows(path, ["ham", "spam"]), False, split)
    found = find_repeated(rows, rows.labels.astype(np.uint64), same_answer, split)
    assert sum(found.counts().values()) == len(TEXTS) - len(found.first)
    return ["" if number < 0 else WHY[number] for number in found.why]


def test_rows_with_the_same_answer_are_copies_the_first_stays(tmp_path: Path) -> None:
    exact, folded, near = WHY
    assert reasons(tmp_path) == ["", exact, folded, "", "", near, "", ""]


def test_without_regard_to_the_answer_near_duplicates_still_need_the_same(tmp_path: Path) -> None:
    exact, folded, near = WHY
    assert reasons(tmp_path, same_answer=False) == ["", exact, folded, folded, "", near, "", ""]


def test_near_duplicates_that_are_not_kept_together_stay(tmp_path: Path) -> None:
    exact, folded, _ = WHY
    assert reasons(tmp_path, group_near_duplicates=False) == ["", exact, folded, "", "", "", "", ""]


def test_a_given_split_keeps_what_also_stands_in_another(tmp_path: Path) -> None:
    splits = ["train", "test", "train", "train", "train", "test", "train", "train"]
    assert reasons(tmp_path, splits=splits) == ["", "", WHY[1], "", "", "", "", ""]
