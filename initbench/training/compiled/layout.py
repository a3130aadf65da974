"""The tables that the training loop reads, of a network and of its task: rows of integers, sizes and addresses.

This module imports no Numba, because code that fills the tables may run with cached kernels only.
"""

PAD = 16  # row lengths are multiples of this many floats: a cache line, and the widest vector of any processor

# A layer. Its arrays have rows of COLUMNS floats, the outputs and zeros. WEIGHTS and GRADIENT, and FIRST and SECOND of
# an optimizer that has them, are (INPUTS + 1, COLUMNS) with the bias for the last row; TRANSPOSED are the weights as
# (outputs, inputs), rows as long as the columns of the layer before; Z is the output, before and after its
# nonlinearity; SLOPE is where φ'(z) is stored. FORWARD and BACKWARD are kernels, 0 for the identity.
INPUTS, OUTPUTS, COLUMNS, WEIGHTS, TRANSPOSED, GRADIENT, FIRST, SECOND, Z, SLOPE, FORWARD, BACKWARD = range(12)
LAYER = 12

# The task: how a batch is gathered from IMAGES (of CHANNELS × PLANE) and LABELS by GATHER, standardized with MEAN and
# STD by channel, into X and Y; HERE and THERE, two buffers for ∂h; a row of ZEROS; room for 16 SUMS in float64; the
# kernels of products. UPDATE is 0 for plain SGD, whose negative rate is at FACTOR; otherwise SETTINGS are the
# optimizer's. RATES has the rate of each step, 0 if it is constant; CLIP the most that the gradient's norm may be, 0 if
# there is no limit. MOVES are the maps of augmentation, 0 without; CHOSEN has the map of each image, in the order of
# the batches. The gradient norms of the first EARLY steps are recorded.
(
    BATCH, CHANNELS, PLANE, CLASSES, EARLY, IMAGES, LABELS, MEAN, STD, X, Y, HERE, THERE, ZEROS, SUMS, FACTOR, SETTINGS,
    RATES, CLIP, MOVES, CHOSEN, GATHER, PRODUCT, ADD_PRODUCT, TRANSPOSE, UPDATE,
) = range(26)  # fmt: skip
TASK = 26
