"""Step 0: what the signal does on its way forward and the gradient on its way back, before any training.

`observe` measures every layer over one batch and predicts beside it what a closed form is known for.
"""

from initbench.signals.batch import Batch, batch_of, batch_size
from initbench.signals.observing import observe, weight_laws

__all__ = ["Batch", "batch_of", "batch_size", "observe", "weight_laws"]
