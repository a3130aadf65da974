"""Step 0: the signal in the forward pass and the gradient in the backward pass, before any training.

`observe` measures every layer on one batch, and predicts the quantities with a known closed form.
"""

from initbench.signals.batch import Batch, batch_of, batch_size
from initbench.signals.observing import Series, observe, weight_moments

__all__ = ["Batch", "Series", "batch_of", "batch_size", "observe", "weight_moments"]
