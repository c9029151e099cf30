"""The trained model of a run in the registry: logged once, however often the run is repeated."""

from collections.abc import Callable, Mapping
from typing import Any

from components.core.records import Manifest, fingerprint
from components.tracking.names import DIGEST_TAG, READING_TAG
from components.tracking.registry.lineage import parent_tags
from components.tracking.registry.packaging import PackagedModel, log_classifier, log_language_model
from components.tracking.registry.publication import find_published
from components.tracking.runs import Run
from components.tracking.stores import tracking_errors

EXAMPLES = 3
"""Rows that stand in a model as an example of its input."""


def publish(
    run: Run,
    manifests: Mapping[str, Manifest],
    model_name: str | None,
    log: Callable[[dict[str, str]], PackagedModel],
) -> dict[str, str | None]:
    """Log the trained model and register it as `candidate`, unless a version of just this model is there already.

    Args:
        run: the open run.
        manifests: of the steps, `split` and `fine_tune` among them.
        model_name: the registered model; none: the model is logged only.
        log: logs the model under that name, with the tags that it is given.

    Returns:
        `model_uri`, None while it waits to be sent, and in `cached_from` the run that made the model if that was
        another one.

    Raises:
        TrackingError: if the store cannot be written.
    """
    identity = {DIGEST_TAG: manifests["fine_tune"].digest, READING_TAG: fingerprint(reading_of(manifests))[:32]}
    if known := _known(run, model_name, identity):
        run.record("link", name=model_name, **known)
    else:
        log({**identity, "gradus.data_digest": manifests["split"].digest, **parent_tags(run)})
    if all(manifest.cached for manifest in manifests.values()):
        run.record("repeat")
    return {"model_uri": run.model_uri, "cached_from": run.cached_from}


def reading_of(manifests: Mapping[str, Manifest]) -> dict[str, Any] | None:
    """Return how the file that a model learnt from was read, if that is known."""
    found: dict[str, Any] | None = manifests["download"].facts.get("reading") if "download" in manifests else None
    return found


def _known(run: Run, model_name: str | None, identity: dict[str, str]) -> dict[str, Any] | None:
    """Look the model up, so that it need not be packaged; whoever sends it looks again."""
    if not run.flush():
        return None
    with tracking_errors(f"cannot look up models of MLflow run {run.run_id}"):
        return find_published(run.client, run.experiment_id, model_name, identity)


def publish_classifier(
    run: Run, manifests: Mapping[str, Manifest], model_name: str | None, describe: Callable[[], str]
) -> dict[str, str | None]:
    """Publish a trained classifier, as `publish` does; `describe` makes the version's description in Markdown."""

    def log(tags: dict[str, str]) -> PackagedModel:
        texts = [row["text"] for row in example_rows(manifests["split"], ["text"])]
        folder = manifests["fine_tune"].folder / "model"
        return log_classifier(run, folder, texts, model_name, describe(), tags, reading_of(manifests))

    return publish(run, manifests, model_name, log)


def publish_language_model(
    run: Run, manifests: Mapping[str, Manifest], model_name: str | None, describe: Callable[[], str]
) -> dict[str, str | None]:
    """Publish a trained language model, as `publish` does; `describe` makes the version's description in Markdown."""

    def log(tags: dict[str, str]) -> PackagedModel:
        rows = example_rows(manifests["split"], ["instruction", "input"])
        folder = manifests["fine_tune"].folder / "model"
        return log_language_model(run, folder, rows, model_name, describe(), tags, reading_of(manifests))

    return publish(run, manifests, model_name, log)


def example_rows(splits: Manifest, columns: list[str]) -> list[dict[str, str]]:
    """Return the first rows of the training split, as examples of what a model is given."""
    import pyarrow.parquet as pq

    file = pq.ParquetFile(splits.path("train.parquet"))
    batch = next(file.iter_batches(EXAMPLES, columns=columns), None)
    return [] if batch is None else batch.to_pylist()
