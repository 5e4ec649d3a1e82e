import re
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from penchant._arrays import plain
from penchant._types import Real
from penchant._visible import visible
from penchant.datasets._arrays import read_arrays, read_npz
from penchant.datasets._csv import read_csv
from penchant.datasets._dataset import Dataset
from penchant.datasets._digits import read_digits
from penchant.datasets._errors import DataError
from penchant.datasets._idx import is_idx, labels_beside, read_idx
from penchant.datasets._npy import read_npy
from penchant.datasets._openml import read_openml
from penchant.datasets._packed import PACKED, Source
from penchant.datasets._parquet import read_parquet
from penchant.datasets._request import Request


def _arff(source: Source) -> Dataset:
    from penchant.datasets._arff import read_arff

    return read_arff(source)


def _svmlight(source: Source) -> Dataset:
    from penchant.datasets._sparse import read_svmlight

    return read_svmlight(source)


def _matlab(source: Source) -> Dataset:
    from penchant.datasets._matlab import read_matlab

    return read_matlab(source)


def _hdf5(source: Source) -> Dataset:
    from penchant.datasets._hdf5 import read_hdf5

    return read_hdf5(source)


_READERS: dict[str, Callable[[Source], Dataset]] = {
    ".csv": read_csv,
    ".tsv": read_csv,
    ".parquet": read_parquet,
    ".arff": _arff,
    **dict.fromkeys((".svm", ".svmlight", ".libsvm"), _svmlight),
    ".npz": read_npz,
    ".mat": _matlab,
    **dict.fromkeys((".h5", ".hdf5", ".hdf"), _hdf5),
}
_KEYED = (".npz", ".mat", ".h5", ".hdf5", ".hdf")
"""Files of arrays with names."""

_ARRAYS = (".npy", ".npz", ".mtx")
_ON_OFFER = (
    ".csv, .tsv, .arff, .svm, packed as .gz, .bz2, .xz, .zst or .zip too; .parquet, "
    ".npz, .mat, .h5; a pair 'X.npy,y.npy'; MNIST's *-images-idx3-ubyte(.gz); "
    "openml:NAME; digits"
)


def load(
    source: object,
    *,
    target: str | None = None,
    features: str | None = None,
    classes: Iterable[object] | None = None,
    skip: Iterable[str] = (),
    rows: int | float | str | None = None,
    drop_missing: bool = False,
    missing: Iterable[str] = (),
    one_hot: Iterable[str] | str = (),
    decimal: str = ".",
    scale: Real | None = None,
    image: tuple[int, ...] | str | None = None,
    seed: int = 0,
) -> Dataset:
    """A data set from a file, a table, arrays or OpenML, or scikit-learn's digits.

    `notes` of the result say what the file holds that changes how a result is to be
    read: constant features, duplicates, rows left out. What stands in the way of
    reading it is one error, with the option that mends each point.

    A file is read unasked if it takes no more memory than 256 MiB or 100 times its
    size, whichever is larger, and no more than 4 GiB.

    >>> load("digits", classes=("1", "7")).classes
    ('1', '7')

    Args:
        source: A table (`.csv`, `.tsv`, `.parquet`, `.arff`) or svmlight file (`.svm`);
            a file of arrays (`.npz`, `.mat`, `.h5`); a pair `"X.npy,y.npy"`, where the
            features may also be a sparse `.npz` of SciPy or a `.mtx`; idx images with
            the labels beside them under MNIST's names, or a pair `"images,labels"`;
            `"openml:NAME"`; `"digits"`. Text, npy and idx files may be packed as
            `.gz`, `.bz2`, `.xz` or `.zst`, text files as the only one in a `.zip`. Or a
            `DataFrame` of pandas, a `Table` of pyarrow, or a pair of arrays `(X, y)`.
        target: The column that holds the labels; by default the last, if it is called
            target, label, y, class, species or outcome, or is nominal in an ARFF file.
            In a file of arrays the key, by default `y` (or `labels`, `target`, with a
            note); for OpenML by default the target it declares.
        features: In a file of arrays the key of the samples; by default `X`, or what
            goes with the target's: `x_train` with `y_train`, `images` with `labels`.
        classes: The labels to keep, in this order; of two, the first is -1. None keeps
            all, in the order of numbers, or of the alphabet.
        skip: Features to leave out.
        rows: How many rows to draw at random, without replacement and in the order of
            the file, from those of the chosen classes; `"all"` for all. None is all,
            for up to 200 000. Files are read in pieces, so that a sample needs memory
            for itself alone (svmlight, ARFF, MATLAB and OpenML are read whole).
        drop_missing: Leave out rows with missing values, in place of an error.
        missing: Words that stand for a missing value, beside blanks, `?`, `NA`, `N/A`,
            `NaN` and `null`.
        one_hot: Columns of text of which each value becomes a feature of 0 and 1;
            `"all"` for all that hold text.
        decimal: `","` where a table's numbers are written as 1,5 or 1.234,5.
        scale: A number by which all features are divided, as 255 for images in bytes.
        image: The shape of the images that samples are, `(28, 28)` or `"28x28"`, with
            colours `(32, 32, 3)` or `(3, 32, 32)`; pictures of weights then have it.
            None is what the source says: the shape of its array, or names of columns
            such as `pixel0` and `pixel_0_0`; `"none"` is no image.
        seed: Of the sample.

    Raises:
        DataError: If the source can't be read, or is no classification problem.
        TypeError: If an argument is of the wrong kind.
        ValueError: If `rows`, `decimal`, `scale` or `seed` is out of bounds.
    """
    text = str(source) if isinstance(source, (str, Path)) else ""
    is_name = isinstance(source, str) and (
        text == "digits" or text.startswith("openml:")
    )
    request = Request.checked(
        (text if is_name else _name(text)) or "data",
        target=target,
        features=features,
        classes=classes,
        skip=skip,
        rows=rows,
        drop_missing=drop_missing,
        missing=missing,
        one_hot=one_hot,
        decimal=decimal,
        scale=scale,
        image=image,
        seed=seed,
    )
    try:
        return _read(source, text, is_name, request)
    except MemoryError as error:
        raise DataError(
            f"{request.name} needs more memory than there is. rows=20000 (--rows "
            "20000) takes a random sample, skip leaves out columns."
        ) from error


def _read(source: object, text: str, is_name: bool, request: Request) -> Dataset:
    if not isinstance(source, (str, Path)):
        return _read_object(source, request)
    if is_name:
        _refuse_features(request)
    if is_name and text != "digits":
        return read_openml(text.removeprefix("openml:").strip(), request)
    if is_name:
        _refuse_target(request)
        return read_digits(request)
    if "," in text and not _is_file(text):
        return _read_pair(text, request)
    return _read_file(_checked(text), request)


def _read_file(path: Path, request: Request) -> Dataset:
    if is_idx(path):
        _refuse_target(request)
        pair = (path, labels_beside(path))
        return read_idx((_source(pair[0], request), _source(pair[1], request)))
    source = Source.of(path, request)
    if source.suffix not in _KEYED:
        _refuse_features(request)
    reader = _READERS.get(source.suffix)
    if reader is not None:
        return reader(source)
    if source.suffix in (".npy", ".mtx"):
        raise DataError(
            f"{request.name}: {'an' if source.suffix == '.npy' else 'a'} "
            f"{source.suffix[1:]} file holds one array; give features and labels "
            "as a pair, 'X.npy,y.npy'."
        )
    if _looks_like_svmlight(source):
        _refuse_target(request)
        return _svmlight(source)
    packed = f" within {path.suffix}" if source.packing else ""
    raise DataError(
        f"{request.name}: files of type {source.suffix or 'without an extension'!r}"
        f"{packed} are not read; have: {_ON_OFFER}."
    )


def _looks_like_svmlight(source: Source) -> bool:
    """Whether a file of another name starts with a label and numbered values."""
    with source.open() as stream:
        first = stream.read(2**12).partition(b"\n")[0]
    line = first.decode("utf-8", "replace")
    number = r"[+-]?[\d.]+(?:e[+-]?\d+)?"
    return re.match(rf"{number}(?: qid:\d+)?(?: +\d+:{number})+", line) is not None


def _read_pair(text: str, request: Request) -> Dataset:
    parts = [part.strip() for part in text.split(",")]
    if len(parts) != 2 or not all(parts):
        raise DataError(
            f"{visible(text)!r} is no file, and no pair of two files, "
            "'features,labels'."
        )
    first, second = _checked(parts[0]), _checked(parts[1])
    _refuse_target(request)
    _refuse_features(request)
    if is_idx(first) and is_idx(second):
        return read_idx((_source(first, request), _source(second, request)))
    pair = Source.of(first, request), Source.of(second, request)
    if all(source.suffix in _ARRAYS for source in pair):
        return read_npy(pair)
    raise DataError(
        f"{request.name}: a pair must be two .npy files or two idx files, or a sparse "
        f".npz or .mtx and the labels' .npy; have: {_ON_OFFER}."
    )


def _source(path: Path, request: Request) -> Source:
    packing = path.suffix.lower() if path.suffix.lower() in PACKED else ""
    return Source(path, request, "", packing, "")


def _read_object(source: object, request: Request) -> Dataset:
    """A table or arrays in memory."""
    from penchant.datasets._frame import is_table, read_frame

    if is_table(source):
        _refuse_features(request)
        return read_frame(source, request)
    if isinstance(source, tuple) and len(source) == 2:
        _refuse_target(request)
        _refuse_features(request)
        try:
            X, y = (np.asarray(plain(n, v)) for n, v in zip("Xy", source, strict=True))
        except (TypeError, ValueError) as error:
            raise DataError(f"{request.name}: {error}") from error
        names = getattr(source[0], "columns", None)
        features = None if names is None else [visible(str(name)) for name in names]
        return read_arrays(X, y, request, features)
    raise TypeError(
        "source must be the path of a file, a DataFrame, a pair of arrays (X, y), "
        f"'openml:NAME' or 'digits'; got {type(source).__name__}."
    )


def _name(text: str) -> str:
    return ",".join(Path(part.strip()).name or part for part in text.split(","))


def _is_file(text: str) -> bool:
    try:
        return Path(text).expanduser().is_file()
    except (OSError, RuntimeError, ValueError):  # a name too long, or of no user
        return False


def _checked(text: str) -> Path:
    """The path of a file that is there and holds something."""
    shown = visible(text)
    try:
        path = Path(text).expanduser()
        if path.is_dir():
            raise DataError(f"{shown} is a folder; give a file: {_ON_OFFER}.")
        if not path.is_file():
            raise DataError(f"{shown} is no file; have: {_ON_OFFER}.")
        if path.stat().st_size == 0:
            raise DataError(f"{shown} is empty.")
        with path.open("rb"):
            pass
    except DataError:
        raise
    except (OSError, RuntimeError, ValueError) as error:
        raise DataError(f"{shown} can't be read: {error}") from error
    return path


def _refuse_target(request: Request) -> None:
    if request.target is not None:
        raise DataError(
            f"{request.name}: target names a column or the key of an array, and there "
            f"is none here; got {request.target!r}."
        )


def _refuse_features(request: Request) -> None:
    if request.key is not None:
        raise DataError(
            f"{request.name}: features names an array of an npz file, or of a MATLAB "
            f"or HDF5 one, and this is none; got {request.key!r}. skip leaves out "
            "columns of a table."
        )
