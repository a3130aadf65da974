"""What people call the parts of a dataset."""

from collections.abc import Mapping
from typing import Literal

SPLIT_NAMES: Mapping[str, Literal["train", "val", "test"]] = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}
VAL_IS_TEST = (
    "it has training and validation images but none to test: the latter are the test split, and validation images are "
    "drawn from the training images."
)
