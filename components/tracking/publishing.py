"""The trained model of a run in the registry: logged once, however often the run is repeated."""

from collections.abc import Callable, Mapping
from typing import Any

from components.records import Manifest, fingerprint
from components.tracking.lineage import parent_tags
from components.tracking.packaging import CANDIDATE, PackagedModel, link_model
from components.tracking.registry import find_logged_model, find_version, set_alias, version_source
from components.tracking.runs import Run

DIGEST_TAG = "gradus.model_digest"
"""Tag of a registered version: the digest of the step that trained it, by which an unchanged model is known."""
READING_TAG = "gradus.reading"
"""Tag of a registered version: a hash of how the file that it learnt from was read, which the model holds too."""


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
        `model_uri`, and in `cached_from` the run that made the model if that was an earlier one.

    Raises:
        TrackingError: if the store cannot be written.
    """
    identity = {DIGEST_TAG: manifests["fine_tune"].digest, READING_TAG: fingerprint(reading_of(manifests))[:32]}
    if known := _known(run, model_name, identity):
        return known
    logged = log({**identity, "gradus.data_digest": manifests["split"].digest, **parent_tags(run)})
    uri = f"models:/{model_name}/{logged.version}" if logged.version else logged.uri
    return {"model_uri": uri, "cached_from": None}


def reading_of(manifests: Mapping[str, Manifest]) -> dict[str, Any] | None:
    """Return how the file that a model learnt from was read, if that is known."""
    found: dict[str, Any] | None = manifests["download"].facts.get("reading") if "download" in manifests else None
    return found


def _known(run: Run, model_name: str | None, identity: dict[str, str]) -> dict[str, str | None] | None:
    """Link the model if an earlier run has logged it under this name (or under none), and say where it is."""
    if model_name is None:
        earlier = find_logged_model(run.client, run.experiment_id, identity)
        if earlier is None:
            return None
        link_model(run, earlier.model_uri)
        return {"model_uri": earlier.model_uri, "cached_from": _other(run, earlier.source_run_id)}
    known = find_version(run.client, model_name, identity)
    if known is None:
        return None
    link_model(run, version_source(known))
    set_alias(run.client, model_name, CANDIDATE, str(known.version))
    return {"model_uri": f"models:/{model_name}/{known.version}", "cached_from": _other(run, known.run_id)}


def _other(run: Run, run_id: str | None) -> str | None:
    """Return the id of another run: one whose process was killed may have registered its model before."""
    return None if run_id == run.run_id else run_id
