import http.client
import warnings
import zlib
from typing import Any

import numpy as np

from penchant._visible import visible
from penchant.datasets._arrays import read_arrays
from penchant.datasets._dataset import Dataset
from penchant.datasets._errors import DataError, listing
from penchant.datasets._labels import label_name, label_number
from penchant.datasets._request import Request
from penchant.datasets._text import Cells

_DENSE_LIMIT = 2**32
"""Bytes up to which sparse features are written out."""


def read_openml(name: str, request: Request) -> Dataset:
    """A data set of openml.org, which scikit-learn fetches and keeps on disk."""
    bunch, notes = _fetch(name, request)
    X, y = bunch.data, bunch.target
    if y is None or y.ndim != 1:
        count = "none" if y is None else y.shape[1]
        raise DataError(
            f"{request.name}: there must be one target; it has {count}. target=... "
            "names a column."
        )
    if not isinstance(X, np.ndarray):
        if X.shape[0] * X.shape[1] * 8 > _DENSE_LIMIT:
            raise DataError(
                f"{request.name} is sparse, of shape {X.shape}: too large to be "
                "written out as a dense array."
            )
        X = X.toarray()
    features = [visible(str(feature)) for feature in bunch.feature_names]
    X, cells = _decoded(X, features, bunch.categories or {}, request)
    where = "the target"
    if getattr(bunch, "target_names", None):
        where = f"the target {listing(bunch.target_names)}"
    return read_arrays(X, y, request, features, notes, where, cells=cells)


def _fetch(name: str, request: Request) -> tuple[Any, list[str]]:
    from sklearn.datasets import fetch_openml

    if not name:
        raise DataError("openml:NAME needs the name of a data set, as openml:iris.")
    target = request.target or "default-target"
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            bunch = fetch_openml(
                name, as_frame=False, parser="liac-arff", target_column=target
            )
    except (OSError, http.client.HTTPException) as error:
        raise DataError(
            f"{request.name} could not be fetched: {error}. Is there a connection to "
            "openml.org, and is the name as it is there? A file (CSV, Parquet, npz) "
            "needs no connection."
        ) from error
    except (ValueError, LookupError, EOFError, zlib.error) as error:
        raise DataError(f"{request.name}: {error}") from error
    warned = dict.fromkeys(" ".join(str(w.message).split()) for w in caught)
    return bunch, [f"OpenML: {text}" for text in warned]


def _decoded(
    X: np.ndarray,
    features: list[str],
    categories: dict[str, list[Any]],
    request: Request,
) -> tuple[np.ndarray, Cells]:
    """Categories as the numbers they stand for; scikit-learn gives their places."""
    X = X.astype(np.float64)
    one_hot = request.one_hot
    read = {
        feature: [label_name(category) or "" for category in categories[feature]]
        for feature in features
        if feature in categories and feature not in request.skip
    }
    if one_hot is None:
        one_hot = [f for f, names in read.items() if None in map(_value, names)]
    cells = Cells(request, [feature for feature in one_hot if feature in read])
    for feature, names in read.items():
        j = features.index(feature)
        known = ~np.isnan(X[:, j])
        places = X[known, j].astype(np.int64)
        if feature in cells.categories:
            cells.categories[feature].update({n: i for i, n in enumerate(names) if n})
            gone = np.array([np.nan if n == "" else i for i, n in enumerate(names)])
            X[known, j] = gone[places]
            continue
        values = [_value(name) for name in names]
        if None in values:
            words = [names[values.index(None)]]
            cells.add(feature, words, int(np.argmax(known)))
            X[known, j] = 0.0  # of no use: that the column is text is an error
            continue
        X[known, j] = np.array(values, dtype=np.float64)[places]
    return X, cells


def _value(name: str) -> float | None:
    truth = {"true": 1.0, "false": 0.0}.get(name.casefold())
    if name == "":  # a category that stands for a missing value
        return np.nan
    return label_number(name) if truth is None else truth
