import dataclasses
from collections.abc import Iterable
from typing import Any

from penchant.datasets._arrays import read_arrays
from penchant.datasets._dataset import Dataset
from penchant.datasets._request import Request


def digits(classes: Iterable[object] | None = None) -> Dataset:
    """The 1797 handwritten digits that come with scikit-learn, 8 by 8 pixels of 0..16.

    >>> digits(classes=("3", "8"))
    Dataset('digits': 357 samples, 64 features, 2 classes; 1 note)

    Args:
        classes: The digits to keep, in this order; None for all ten.

    Raises:
        DataError: If a class is none of '0' to '9', or fewer than two are left.
    """
    return read_digits(Request.checked("digits", classes=classes))


def read_digits(request: Request) -> Dataset:
    from sklearn.datasets import load_digits

    bunch: Any = load_digits()
    if request.image is None and not request.skip:
        request = dataclasses.replace(request, image=(8, 8))
    return read_arrays(bunch.data, bunch.target, request, bunch.feature_names)
