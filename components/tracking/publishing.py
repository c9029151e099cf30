"""The trained model of a run in the registry: logged once, however often the run is repeated."""

from collections.abc import Callable, Mapping
from typing import Any

from components.core.records import Manifest, fingerprint
from components.tracking.lineage import parent_tags
from components.tracking.names import DIGEST_TAG, READING_TAG
from components.tracking.packaging import PackagedModel
from components.tracking.publication import find_published
from components.tracking.runs import Run
from components.tracking.stores import tracking_errors


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
