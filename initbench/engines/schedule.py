"""When a trial is evaluated, and on how many images: pure functions of the trial, the same for every engine."""

# Of the multiplications of training, for evaluations on the way. LEAST_SAMPLE may cost more than that, and the last
# evaluation, on whole splits, comes on top: in all 11 % of a default trial, 20 % of 200 steps, 39 % of 100.
SHARE_OF_WORK = 0.05
LEAST_SAMPLE = 160  # fewer images would not resolve a percent of accuracy


def evaluation_steps(steps: int, evaluations: int) -> list[int]:
    """Return the steps to evaluate at: 0, then log-spaced and distinct, the last included.

    Log-spaced, for training changes most at its start (bsuite's logging does the same).
    """
    if evaluations < 3:
        return [0, steps]
    ratio = steps ** (1 / (evaluations - 2))
    return sorted({0, *(round(ratio**i) for i in range(evaluations - 1)), steps})


def evaluation_sample(steps: int, batch_size: int, evaluations: int, available: int) -> int:
    """Return how many images of each split an evaluation looks at.

    A training step costs about three forward passes an image, an evaluation one on each of two samples.
    """
    affordable = SHARE_OF_WORK * 3 * steps * batch_size / (2 * evaluations)
    return min(available, max(LEAST_SAMPLE, int(affordable)))
