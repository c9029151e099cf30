"""What the steps of a run counted, as metrics."""

import math
from collections.abc import Mapping

from components.core.records import Manifest
from components.reporting.evidence import SPLITS


def counted(manifests: Mapping[str, Manifest]) -> dict[str, float]:
    """Return what the steps of every pipeline counted, as metrics: rows, overlap, batches, parameters, seconds."""
    checked, splits, trained = (manifests[name].facts for name in ("validate", "split", "fine_tune"))
    values = {
        "data/rows_in": checked["rows_in"],
        "data/rows_out": checked["rows_out"],
        "data/longest_train_tokens": trained["longest_train_tokens"],
        "model/parameters": trained["parameters"],
        "model/trained_parameters": trained["trained_parameters"],
    }
    for split in SPLITS:
        rows, size = splits["rows"][split], trained["batch_size"]
        values[f"data/rows_{split}"] = rows
        # Training takes whole batches only, unless there is less than one.
        values[f"data/batches_{split}"] = max(rows // size, 1) if split == "train" else -(-rows // size)
    for split, counts in splits["overlap"].items():
        values |= {f"data/overlap_{split}_{kind}": count for kind, count in counts.items()}
    values |= {f"seconds/{name}": manifest.seconds for name, manifest in manifests.items() if not manifest.cached}
    return {name: float(value) for name, value in values.items()}


def counted_of_instructions(manifests: Mapping[str, Manifest]) -> dict[str, float]:
    """Return what the steps counted, as metrics: rows, tokens, perplexity, and how the responses ended."""
    checked, trained, responded = (manifests[name].facts for name in ("validate", "fine_tune", "respond"))
    values = {
        "data/rows_rejected": checked["rows_in"] - checked["rows_out"],
        "data/empty_inputs": checked["empty_inputs"],
        "data/tokens_longest": checked["tokens"]["longest"],
        "data/tokens_mean": checked["tokens"]["mean"],
        "data/tokens_seen": trained["tokens_seen"],
        "data/trained_token_share": trained["trained_token_share"],
        "validation/loss": trained["validation_loss"],
        "validation/perplexity": trained["validation_perplexity"],
        "responses/empty": responded["empty"],
        "responses/new_tokens": responded["new_tokens"],
    }
    if (before := trained.get("initial_validation_loss")) is not None:
        values |= {"start/validation/loss": before, "start/validation/perplexity": math.exp(before)}
    values |= {f"data/truncated_{split}": count for split, count in trained["truncated_rows"].items()}
    values |= {f"responses/stopped_{why}": count for why, count in responded["stopped"].items()}
    return counted(manifests) | {name: float(value) for name, value in values.items() if value is not None}
