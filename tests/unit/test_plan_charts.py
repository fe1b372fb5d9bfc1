"""Charts of plans and of the ledger: what a table says, a figure draws."""

import pandas as pd

from gencomp_core.charts.plans import plan_bars, predicted_chart

LAYERS = pd.DataFrame(
    {
        "layer": ["first", "second", "third"],
        "sparsity": [0.0, 0.5, 0.0],
        "bits": [4, 3, None],
        "size_bytes": [60, 40, 400],
        "dense_size_bytes": [400, 400, 400],
        "damage": [0.1, 0.2, 0.0],
    }
)
LEDGER = pd.DataFrame(
    {
        "recipe_signature": ["a", "b", "c"],
        "title": ["one", "two", "three"],
        "change_predicted": [1.0, 2.0, 3.0],
        "change_low": [0.5, 1.0, 2.0],
        "change_high": [1.5, 2.5, 4.0],
        "change_measured": [1.2, 9.0, None],
        "inside": [True, False, None],
    }
)


def test_layers_stand_in_the_order_of_the_model_with_their_stored_bits() -> None:
    figure = plan_bars(LAYERS)
    (bars,) = figure.data
    assert list(bars.y) == ["first", "second", "third"]
    assert list(bars.x) == [4.8, 3.2, 32.0]
    assert list(bars.text) == ["4 bits", "3 bits, 50% zeros", "float32"]
    assert figure.layout.yaxis.autorange == "reversed"


def test_predictions_that_were_not_measured_are_left_out() -> None:
    figure = predicted_chart(LEDGER, title="FID")
    drawn = {trace.name: list(trace.x) for trace in figure.data if trace.mode == "markers"}
    assert drawn == {"within its interval": [1.2], "outside": [9.0]}
    assert not predicted_chart(LEDGER.iloc[2:], title="FID").data
