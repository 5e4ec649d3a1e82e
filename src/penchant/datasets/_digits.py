import dataclasses
import gzip
import importlib.util
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
    X, y = _shipped()
    if request.image is None and not request.skip:
        request = dataclasses.replace(request, image=(8, 8))
    names = [f"pixel_{row}_{column}" for row in range(8) for column in range(8)]
    return read_arrays(X, y, request, names)


def _shipped() -> tuple[NDArray[np.float64], NDArray[np.int_]]:
    """The images and their digits, from scikit-learn's own file.

    Read without importing scikit-learn, which takes a second; where another version of
    it keeps the file elsewhere, its own reader is asked.
    """
    found = importlib.util.find_spec("sklearn")
    if found is not None and found.origin is not None:
        path = Path(found.origin).parent / "datasets" / "data" / "digits.csv.gz"
        if path.exists():
            with gzip.open(path, "rt") as file:
                table = np.loadtxt(file, delimiter=",")
            return table[:, :64], table[:, 64].astype(int)
    from sklearn.datasets import load_digits

    bunch: Any = load_digits()
    return bunch.data, bunch.target
