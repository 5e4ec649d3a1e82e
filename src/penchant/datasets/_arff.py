"""ARFF, Weka's format, by SciPy."""

import io
from typing import Any

import numpy as np

from penchant._visible import visible
from penchant.datasets._dataset import Dataset
from penchant.datasets._errors import UNREADABLE, unreadable
from penchant.datasets._packed import Source
from penchant.datasets._tables import choose, read_table


def read_arff(source: Source) -> Dataset:
    """The attributes of an ARFF file; the last holds the labels if it is nominal.

    Raises:
        DataError: If it is damaged, or in a dialect that SciPy does not read.
    """
    import pyarrow as pa
    import scipy.io.arff

    request = source.request
    try:
        with source.open(whole=True) as stream:
            text = io.TextIOWrapper(stream, encoding="utf-8-sig")
            data, meta = scipy.io.arff.loadarff(text)
        names = [visible(name) for name in meta.names()]
        nominal = [kind == "nominal" for kind in meta.types()]
        columns = [_column(np.atleast_1d(data)[name]) for name in meta.names()]
        table = pa.RecordBatch.from_arrays(columns, names)
    except UnicodeDecodeError as error:
        what = f"ARFF: it is not text in UTF-8 ({error.reason} at byte {error.start})"
        raise unreadable(request.name, "ARFF", ValueError(what)) from error
    except StopIteration as error:
        ended = ValueError("it ends before its data")
        raise unreadable(request.name, "ARFF", ended) from error
    except UNREADABLE as error:
        raise unreadable(request.name, "ARFF", error) from error
    return read_table(
        lambda columns: [table.select(columns.read)],
        choose(names, request, last=bool(nominal) and nominal[-1]),
        request,
        "ARFF",
        stored=source.stored,
        total=table.num_rows,
    )


def _column(values: np.ndarray) -> Any:
    import pyarrow as pa

    if values.dtype.kind == "S":
        words = [value.decode("utf-8", "replace") for value in values]
        return pa.array([word.strip("'\"") for word in words], pa.large_string())
    return pa.array(values, from_pandas=True)
