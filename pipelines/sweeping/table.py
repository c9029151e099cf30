"""The table of a sweep as texts: for the terminal, the page and Markdown alike."""

from collections.abc import Iterator

from pipelines.sweeping.figures import NONE, difference_text, minutes_text, shown_figure, title_of, writer
from pipelines.sweeping.outcome import RowResult, SweepResult


def columns(found: SweepResult) -> list[str]:
    """Return the heads of the columns."""
    published = ["published"] if _has_published(found) else []
    names = ["rank", "row", f"validation {title_of(found.metric)}", "against the first"]
    return [*names, f"test {title_of(found.test_metric)}", *published, "trained", "minutes", "GB"]


def lines(found: SweepResult) -> Iterator[list[str]]:
    """Yield the rows: those with figures by rank, and then what was skipped, failed or stopped, with the reason."""
    ranked = found.ranked()
    for row in [*ranked, *(row for row in found.rows if row not in ranked)]:
        yield _line(row, found)


def _line(row: RowResult, found: SweepResult) -> list[str]:
    published = [_published(row, found)] if _has_published(found) else []
    return [
        str(row.rank or ""),
        row.name,
        shown_figure(row.validation, writer(found.metric)) if row.validation else _why_not(row),
        against_first(row, found),
        shown_figure(row.test, writer(found.test_metric)),
        *published,
        NONE if row.trained_parameters is None else f"{row.trained_parameters:,}",
        NONE if row.minutes is None else minutes_text(row.minutes),
        NONE if row.peak_memory_gb is None else f"{row.peak_memory_gb:.1f}",
    ]


def _published(row: RowResult, found: SweepResult) -> str:
    if row.published is None:
        return NONE
    return f"{row.published:.2f}{' %' if writer(found.test_metric)(0.0).endswith('%') else ''}"


def _why_not(row: RowResult) -> str:
    return "skipped" if row.skipped else "stopped early" if row.pruned else "failed" if row.failed else NONE


def against_first(row: RowResult, found: SweepResult) -> str:
    """Return how a row differs from the first, with a star where that is more than noise."""
    if row.against_first is None:
        return NONE
    star = " *" if row.against_first.significant else ""
    return f"{difference_text(row.against_first.difference, found.metric)}, p {row.against_first.p_value:.2g}{star}"


def _has_published(found: SweepResult) -> bool:
    return any(row.published is not None for row in found.rows)
