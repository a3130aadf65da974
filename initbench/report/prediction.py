"""How well the checks at step 0 predict training, in sentences."""

from initbench.analysis.panels import Panel
from initbench.analysis.prediction import Prediction


def describe_prediction(panel: Panel, prediction: Prediction) -> str:
    """Return one sentence on a panel: the correlation with its interval, p and number of schemes."""
    correlation = prediction.correlation
    if correlation.value is None or correlation.interval is None:
        return f"{panel}: every scheme has the same {prediction.constant}, so there is no order to compare."
    low, high = correlation.interval.low, correlation.interval.high
    return (
        f"{panel}: rank correlation between the verdict at step 0 and validation accuracy {correlation.value:.2f} "
        f"[{low:.2f}, {high:.2f}], p = {prediction.p:.2g}, n = {correlation.n} schemes."
    )
