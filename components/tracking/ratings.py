"""People's ratings of a run's responses, as MLflow keeps them: a trace a response, an assessment a rating.

So they can be given in MLflow's own page (the experiment's traces) as well as brought in from a file.
"""

import json
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.core.progress import progress_bar
from components.core.redaction import redact_prose
from components.tracking.stores import every, open_client, tracking_errors

if TYPE_CHECKING:
    from mlflow.entities import Feedback, Span, Trace, TraceInfo
    from mlflow.tracing.client import TracingClient

RATING = "rating"
"""The assessment's name."""
MODEL, START = "gradus.row", "gradus.start_row"
"""Tags of a trace: of which row of the run's `responses.parquet` it is the response: by the run's own model, or by the
one that training started from. Only the former count as ratings of the run."""
WORDS = {"good": 100.0, "yes": 100.0, "true": 100.0, "up": 100.0, "bad": 0.0, "no": 0.0, "false": 0.0, "down": 0.0}
"""What may stand for a rating besides a number."""
HIGHEST = 100
LONGEST = 1000
"""Characters of a preview, in MLflow's list of traces."""
HUMAN = "HUMAN"
BATCH = 100
"""Traces whose spans are written at once."""


@dataclass(frozen=True)
class Response:
    """A response that people rate."""

    row: int
    asked: Mapping[str, str]
    """What it answers: `instruction`, `input`, ..."""
    text: str


@dataclass(frozen=True)
class Rating:
    """What a person thinks of a response."""

    row: int
    value: float
    """From 0 to 100."""
    by: str
    comment: str = ""


def rating_of(value: Any) -> float | None:
    """Return a rating as a number from 0 to 100, or None if it is none: good is 100 and bad is 0, as yes and no are."""
    if isinstance(value, str) and value.strip().lower() in WORDS:
        return WORDS[value.strip().lower()]
    if isinstance(value, bool):
        return float(HIGHEST * value)
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if 0 <= number <= HIGHEST else None


def offer(run_id: str, responses: Iterable[Response], home: Path, of: str = MODEL) -> int:
    """Make a trace of each response that has none yet, so that people can rate it; return how many there were made.

    `of` says whose responses they are: `MODEL` or `START`.

    Raises:
        TrackingError: if the store cannot be written, or there is no such run.
    """
    with tracking_errors(f"cannot write traces of run {run_id}"):
        client, experiment = _traces(run_id, home)
        there = {int(trace.info.tags[of]) for trace in _of_run(run_id, experiment, home, of)}
        missing = [response for response in responses if response.row not in there]
        with progress_bar("traces", len(missing), "") as update:
            for start in range(0, len(missing), BATCH):
                traces = [_trace(run_id, experiment, response, of) for response in missing[start : start + BATCH]]
                for info, _ in traces:
                    client.start_trace(info)
                client.log_spans(experiment, [span for _, span in traces])
                update(advance=len(traces))
    return len(missing)


def rate(run_id: str, ratings: Iterable[Rating], home: Path, of: str = MODEL) -> int:
    """Keep ratings of responses that have a trace (`offer`); return how many are new or other than before.

    Somebody's rating of a response replaces what the same person has said of it before; the last one counts.

    Raises:
        TrackingError: if the store cannot be written.
    """
    changed = 0
    with tracking_errors(f"cannot write ratings of run {run_id}"):
        client, experiment = _traces(run_id, home)
        before = defaultdict(list)
        for given in _of_run(run_id, experiment, home, of):
            for each in _by_people(given):
                if each.name == RATING:
                    before[int(given.info.tags[of]), each.source.source_id].append(each)
        last = {(rating.row, rating.by): rating for rating in ratings}
        for key, rating in last.items():
            trace, feedback = trace_id(run_id, rating.row, of), _feedback(rating)
            known = before[key]
            for twin in known[1:]:
                client.delete_assessment(trace, str(twin.assessment_id))
            same = known and (rating_of(known[0].value), known[0].rationale or "") == (rating.value, rating.comment)
            if not known:
                client.log_assessment(trace, feedback)
            elif not same:
                client.update_assessment(trace, str(known[0].assessment_id), feedback)
            changed += len(known) > 1 or not same
    return changed


def read_ratings(run_id: str, home: Path, of: str = MODEL) -> list[Rating]:
    """Return what people have said of a run's responses, by whatever name; what is no rating is left out.

    Raises:
        TrackingError: if the store cannot be read.
    """
    with tracking_errors(f"cannot read ratings of run {run_id}"):
        _, experiment = _traces(run_id, home)
        return [
            Rating(int(trace.info.tags[of]), value, str(each.source.source_id), each.rationale or "")
            for trace in _of_run(run_id, experiment, home, of)
            for each in _by_people(trace)
            if (value := rating_of(each.value)) is not None
        ]


def trace_id(run_id: str, row: int, of: str = MODEL) -> str:
    """Return the trace of a response: the same however often it is offered."""
    return f"tr-{_digest(run_id, row, of)}"


def _digest(run_id: str, row: int, of: str) -> str:
    whose = "" if of == MODEL else f" {of}"  # those of earlier ratings stay what they are
    return sha256(f"{run_id} {row}{whose}".encode()).hexdigest()[:32]


def _traces(run_id: str, home: Path) -> "tuple[TracingClient, str]":
    """Return a client of the store's traces, bound to its address as `open_client` is, and the run's experiment."""
    client = open_client(home)
    from mlflow.tracing.client import TracingClient

    return TracingClient(client.tracking_uri), str(client.get_run(run_id).info.experiment_id)


def _of_run(run_id: str, experiment: str, home: Path, of: str) -> "Iterator[Trace]":
    client = open_client(home)

    def search(page_token: str | None) -> Any:
        where = {"locations": [experiment], "run_id": run_id}
        return client.search_traces(**where, include_spans=False, max_results=500, page_token=page_token)

    return (trace for trace in every(search) if of in trace.info.tags)


def _by_people(trace: "Trace") -> "Iterator[Feedback]":
    """Yield what people have said and not taken back."""
    from mlflow.entities import Feedback

    for each in trace.info.assessments:
        if isinstance(each, Feedback) and each.source.source_type == HUMAN and each.valid:
            yield each


def _feedback(rating: Rating) -> "Feedback":
    from mlflow.entities import AssessmentSource, Feedback

    source = AssessmentSource(HUMAN, rating.by)
    return Feedback(name=RATING, value=rating.value, source=source, rationale=rating.comment or None)


def _trace(run_id: str, experiment: str, response: Response, of: str) -> "tuple[TraceInfo, Span]":
    """Return a response as a trace of a single call of a model, linked to the run."""
    import base64

    from mlflow.entities import Span, TraceInfo, TraceLocation, TraceState
    from mlflow.tracing.constant import TraceMetadataKey

    digest, now = _digest(run_id, response.row, of), time.time_ns()
    asked = redact_prose(dict(response.asked))
    info = TraceInfo(
        trace_id=f"tr-{digest}",
        trace_location=TraceLocation.from_experiment_id(experiment),
        request_time=now // 1_000_000,
        execution_duration=0,
        state=TraceState.OK,
        request_preview="\n".join(filter(None, asked.values()))[:LONGEST],
        response_preview=response.text[:LONGEST],
        trace_metadata={TraceMetadataKey.SOURCE_RUN: run_id},
        tags={of: str(response.row)},
    )
    values = {"traceRequestId": info.trace_id, "spanType": "LLM", "spanInputs": asked, "spanOutputs": response.text}
    span = Span.from_dict(
        {
            "trace_id": base64.b64encode(bytes.fromhex(digest)).decode(),
            "span_id": base64.b64encode(bytes.fromhex(digest[:16])).decode(),
            "parent_span_id": None,
            "name": "response",
            "start_time_unix_nano": now,
            "end_time_unix_nano": now,
            "status": {"code": "STATUS_CODE_OK", "message": ""},
            "attributes": {f"mlflow.{name}": json.dumps(value) for name, value in values.items()},
            "events": [],
        }
    )
    return info, span
