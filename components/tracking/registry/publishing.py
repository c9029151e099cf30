"""The trained model of a run in MLflow: logged once, registered once, however often the run is repeated."""

from collections.abc import Callable, Mapping
from typing import Any

from components.core.records import Manifest, fingerprint
from components.core.versions import installed
from components.tracking.names import DIGEST_TAG, HASHES_TAG, MODEL_NAME, NOTE_TAG, READING_TAG
from components.tracking.provenance import user_tags
from components.tracking.registry.lineage import parent_tags
from components.tracking.registry.packages import Package, classifier_package, language_model_package
from components.tracking.registry.publication import find_published
from components.tracking.runs import Run
from components.tracking.stores import tracking_errors

EXAMPLES = 3
"""Rows that stand in a model as an example of its input."""
Manifests = Mapping[str, Manifest]


def log_package(
    run: Run,
    package: Package,
    registered_name: str | None = None,
    description: str = "",
    tags: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Log a model of any kind as an MLflow pyfunc model of the run, and register it as a new version.

    The model is made from code (`components/serving`): nothing is pickled. Its folder holds the weights as safetensors,
    the vocabulary, the source files that serving needs, and their requirements with versions, so that it loads where
    Gradus is not installed. The version gets the alias `candidate`.

    Returns `model_uri`, which names it for ever, `version`, None unless it was registered, and in `cached_from` the run
    that made it if that was another one; nothing while it waits to be sent.

    Args:
        run: the open run.
        package: the model.
        registered_name: the registered model; none: the model is logged only.
        description: Markdown on the version's page.
        tags: tags of the model and its version, for example the dataset's digest.

    Raises:
        TrackingError: if the store cannot be written.
    """
    kept = run.outbox.new_folder() / MODEL_NAME
    hashes = package.write(kept, run.run_id)
    made_by = {"gradus.run_id": run.run_id, "gradus.version": installed("gradus") or "unknown", HASHES_TAG: hashes}
    return run.record(
        "model",
        kept=kept,
        name=registered_name,
        tags=made_by | dict(tags or {}),
        model_tags={**user_tags(), NOTE_TAG: description},
        description=description,
        kind=package.kind.name,
        about=package.kind.description,
    )


def publish(
    run: Run,
    manifests: Manifests,
    model_name: str | None,
    describe: Callable[[], str],
    package: Callable[[], Package],
) -> dict[str, str | None]:
    """Log the trained model and register it as `candidate`, unless a version of just this model is there already.

    Args:
        run: the open run.
        manifests: of the steps, `split` and `fine_tune` among them.
        model_name: the registered model; none: the model is logged only.
        describe: makes the version's description in Markdown.
        package: makes the model, as it is logged.

    Returns:
        `model_uri`, None while it waits to be sent, and in `cached_from` the run that made the model if that was
        another one.

    Raises:
        TrackingError: if the store cannot be written.
    """
    identity = {DIGEST_TAG: manifests["fine_tune"].digest, READING_TAG: fingerprint(_reading(manifests))[:32]}
    known = None
    if run.flush():  # found now, it need not be packaged; whoever sends it looks again
        with tracking_errors(f"cannot look up models of MLflow run {run.run_id}"):
            known = find_published(run.client, run.experiment_id, model_name, identity)
    if known:
        run.record("link", name=model_name, **known)
    else:
        tags = {**identity, "gradus.data_digest": manifests["split"].digest, **parent_tags(run)}
        log_package(run, package(), model_name, describe(), tags)
    if all(manifest.cached for manifest in manifests.values()):
        run.record("repeat")
    return {"model_uri": run.model_uri, "cached_from": run.cached_from}


def publish_classifier(
    run: Run, manifests: Manifests, model_name: str | None, describe: Callable[[], str]
) -> dict[str, str | None]:
    """Publish a trained classifier, as `publish` does."""

    def package() -> Package:
        texts = [row["text"] for row in _examples(manifests, "text")]
        return classifier_package(manifests["fine_tune"].folder / "model", texts, _reading(manifests))

    return publish(run, manifests, model_name, describe, package)


def publish_language_model(
    run: Run, manifests: Manifests, model_name: str | None, describe: Callable[[], str]
) -> dict[str, str | None]:
    """Publish a trained language model, as `publish` does."""

    def package() -> Package:
        rows = _examples(manifests, "instruction", "input")
        return language_model_package(manifests["fine_tune"].folder / "model", rows, _reading(manifests))

    return publish(run, manifests, model_name, describe, package)


def _reading(manifests: Manifests) -> dict[str, Any] | None:
    """Return how the file that a model learnt from was read, if that is known."""
    return manifests["download"].facts.get("reading") if "download" in manifests else None


def _examples(manifests: Manifests, *columns: str) -> list[dict[str, str]]:
    """Return the first rows of the training split, as examples of what a model is given."""
    import pyarrow.parquet as pq

    file = pq.ParquetFile(manifests["split"].path("train.parquet"))
    rows: list[dict[str, str]] = next(file.iter_batches(EXAMPLES, columns=list(columns))).to_pylist()
    return rows
