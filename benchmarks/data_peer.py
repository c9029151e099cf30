"""The data path with pandas and Great Expectations in one piece: what `benchmarks/data.py` compares ours with."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.messages import LABELS

SEED = 123
VISIBLE = r"[^\s\u200b\u200c\u200d\u2060\ufeff]"
ENDS = {"train": (0.0, 0.7), "validation": (0.7, 0.8), "test": (0.8, 1.0)}
"""Where each split begins and ends among the rows of a label, in shares."""


def peer_steps(table: Path, out: Path) -> dict[str, Callable[[], object]]:
    """Return the steps, each of which goes on with the frame of the one before; what they need is imported."""
    import great_expectations as gx

    context: Any = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    held: dict[str, pd.DataFrame] = {}

    def read() -> None:
        held["frame"] = pd.read_csv(
            table,
            sep="\t",
            header=None,
            names=["label", "text"],
            quoting=csv.QUOTE_NONE,
            keep_default_na=False,
            na_values=[""],
            dtype="str",
        )

    def validate() -> None:
        held["frame"] = valid(context, held["frame"], out)

    def split() -> None:
        for name, part in dealt(held["frame"]).items():
            part.to_parquet(out / f"{name}.parquet", index=False)

    return {"read": read, "validate": validate, "split": split}


def valid(context: Any, frame: pd.DataFrame, out: Path) -> pd.DataFrame:
    """Check the expectations of our default rules on the whole frame; return the rows that meet them."""
    import great_expectations as gx

    gxe: Any = gx.expectations
    expectations = [
        gxe.ExpectTableColumnsToMatchSet(column_set=["label", "text"]),
        gxe.ExpectColumnValuesToBeInSet(column="label", value_set=LABELS),
        gxe.ExpectColumnValuesToNotBeNull(column="label"),
        gxe.ExpectColumnValuesToNotBeNull(column="text"),
        gxe.ExpectColumnValuesToMatchRegex(column="text", regex=VISIBLE),
        gxe.ExpectColumnValueLengthsToBeBetween(column="text", min_value=1, max_value=4000),
        gxe.ExpectColumnProportionOfUniqueValuesToBeBetween(column="text", min_value=0.8),
        gxe.ExpectTableRowCountToBeBetween(min_value=20),
    ]
    whole = context.data_sources.add_pandas("pandas").add_dataframe_asset("rows")
    batch = whole.add_batch_definition_whole_dataframe("whole").get_batch({"dataframe": frame})
    report = batch.validate(
        gx.ExpectationSuite(name="rules", expectations=expectations),
        result_format={"result_format": "COMPLETE", "return_unexpected_index_query": False},
    )
    failing = {row for result in report.results for row in result.result.get("unexpected_index_list") or ()}
    frame.loc[sorted(failing)].to_parquet(out / "rejected.parquet")
    return frame.drop(index=sorted(failing))


def dealt(frame: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Deal near duplicates to one split, each label in the same shares, and undersample the training split."""
    folded = frame["text"].str.normalize("NFKC").str.casefold().str.replace(r"[\s\d]+", "", regex=True)
    shuffled = frame.assign(group=pd.factorize(folded)[0]).sample(frac=1, random_state=SEED)
    groups = shuffled.groupby("group", sort=False)["label"].agg(["first", "size"])
    before = groups.groupby("first")["size"].cumsum() - groups["size"]
    share = before / groups.groupby("first")["size"].transform("sum")
    place = shuffled["group"].map(share)
    parts = {
        name: shuffled[(place >= start) & (place < end)].drop(columns="group") for name, (start, end) in ENDS.items()
    }
    train = parts["train"]
    fewest = train["label"].value_counts().min()
    parts["train"] = train.groupby("label").sample(fewest, random_state=SEED).sample(frac=1, random_state=SEED)
    return parts
