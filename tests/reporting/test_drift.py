"""The picture of what has changed since a model was tested."""

import pandas as pd

from components.reporting.drift import drift_figure


def test_labels_with_dollar_signs_are_no_formulas() -> None:
    rows = pd.DataFrame({"text": ["a", "bb"], "class": ["$1k_$5k", "$5k+"], "value": [0.5, 0.9]})
    assert drift_figure(rows, rows, ["$1k_$5k", "$5k+"], ("label", "probability"), "nothing").startswith(b"\x89PNG")
