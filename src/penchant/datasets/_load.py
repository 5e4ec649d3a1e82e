from collections.abc import Callable, Iterable
from pathlib import Path

from penchant.datasets._arrays import read_npy, read_npz
from penchant.datasets._csv import read_csv
from penchant.datasets._dataset import Dataset
from penchant.datasets._digits import read_digits
from penchant.datasets._errors import DataError
from penchant.datasets._idx import is_idx, labels_beside, read_idx
from penchant.datasets._openml import read_openml
from penchant.datasets._parquet import read_parquet
from penchant.datasets._request import Request

_TABLES: dict[str, Callable[[Path, Request], Dataset]] = {
    ".csv": read_csv,
    ".tsv": read_csv,
    ".parquet": read_parquet,
    ".npz": read_npz,
}
_ON_OFFER = (
    ".csv, .tsv, .parquet, .npz; a pair 'X.npy,y.npy'; MNIST's "
    "*-images-idx3-ubyte(.gz); openml:NAME; digits"
)


def load(
    source: str | Path,
    *,
    target: str | None = None,
    features: str | None = None,
    classes: Iterable[object] | None = None,
    skip: Iterable[str] = (),
    rows: int | float | str | None = None,
    drop_missing: bool = False,
    seed: int = 0,
) -> Dataset:
    """A data set from a file, from OpenML, or the digits of scikit-learn.

    `notes` of the result say what the file holds that changes how a result is to be
    read: constant features, duplicates, rows left out.

    >>> load("digits", classes=("1", "7")).classes
    ('1', '7')

    Args:
        source: A `.csv`, `.tsv`, `.parquet` or `.npz` file (features `X`); a pair
            `"X.npy,y.npy"`; idx images, plain or gzipped, with the labels beside them
            under MNIST's names, or a pair `"images,labels"`; `"openml:NAME"`;
            `"digits"`.
        target: The column that holds the labels; by default the last, if it is called
            target, label, y, class, species or outcome. For npz the array's key, by
            default `y`; for OpenML by default the target it declares.
        features: For npz the key of the samples; by default `X`, or what goes with
            the target's: `x_train` with `y_train`.
        classes: The labels to keep, in this order; of two, the first is -1. None keeps
            all, in the order of numbers, or of the alphabet.
        skip: Features to leave out.
        rows: How many rows to draw at random, without replacement and in the order of
            the file, from those of the chosen classes; `"all"` for all. None is all,
            for up to 200 000. Files are read in pieces, so that a sample needs memory
            for itself alone (npz and OpenML are read whole).
        drop_missing: Leave out rows with missing values, in place of an error.
        seed: Of the sample.

    Raises:
        DataError: If the source can't be read, or is no classification problem.
        TypeError: If `rows`, `classes` or `skip` is of the wrong kind.
        ValueError: If `rows` or `seed` is out of bounds.
    """
    text = str(source)
    is_name = isinstance(source, str) and (
        text == "digits" or text.startswith("openml:")
    )
    name = text if is_name else _name(text)
    if features is not None and Path(text).suffix.lower() != ".npz":
        raise DataError(
            f"{name}: features names an array of an npz file, and this is none; "
            f"got {features!r}."
        )
    request = Request.checked(
        name,
        target=target,
        features=features,
        classes=classes,
        skip=skip,
        rows=rows,
        drop_missing=drop_missing,
        seed=seed,
    )
    if is_name and text != "digits":
        return read_openml(text.removeprefix("openml:").strip(), request)
    if is_name:
        _refuse_target(request)
        return read_digits(request)
    if "," in text and not _is_file(text):
        return _read_pair(text, request)
    return _read_file(_checked(text), request)


def _read_file(path: Path, request: Request) -> Dataset:
    reader = _TABLES.get(path.suffix.lower())
    if reader is not None:
        return reader(path, request)
    if is_idx(path):
        _refuse_target(request)
        return read_idx((path, labels_beside(path)), request)
    if path.suffix.lower() == ".npy":
        raise DataError(
            f"{request.name}: an npy file holds one array; give features and labels "
            "as a pair, 'X.npy,y.npy'."
        )
    raise DataError(
        f"{request.name}: files of type {path.suffix or 'without an extension'!r} are "
        f"not read; have: {_ON_OFFER}."
    )


def _read_pair(text: str, request: Request) -> Dataset:
    parts = [part.strip() for part in text.split(",")]
    if len(parts) != 2 or not all(parts):
        raise DataError(
            f"{text!r} is no file, and no pair of two files, 'features,labels'."
        )
    first, second = _checked(parts[0]), _checked(parts[1])
    _refuse_target(request)
    if first.suffix.lower() == second.suffix.lower() == ".npy":
        return read_npy((first, second), request)
    if is_idx(first) and is_idx(second):
        return read_idx((first, second), request)
    raise DataError(
        f"{request.name}: a pair must be two .npy files or two idx files; "
        f"have: {_ON_OFFER}."
    )


def _name(text: str) -> str:
    return ",".join(Path(part.strip()).name or part for part in text.split(","))


def _is_file(text: str) -> bool:
    try:
        return Path(text).expanduser().is_file()
    except (OSError, RuntimeError):  # a name too long, or of no user
        return False


def _checked(text: str) -> Path:
    """The path of a file that is there and holds something."""
    try:
        path = Path(text).expanduser()
        if path.is_dir():
            raise DataError(f"{text} is a folder; give a file: {_ON_OFFER}.")
        if not path.is_file():
            raise DataError(f"{text} is no file; have: {_ON_OFFER}.")
        if path.stat().st_size == 0:
            raise DataError(f"{text} is empty.")
        with path.open("rb"):
            pass
    except (OSError, RuntimeError) as error:
        raise DataError(f"{text} can't be read: {error}") from error
    return path


def _refuse_target(request: Request) -> None:
    if request.target is not None:
        raise DataError(
            f"{request.name}: target names a column or an npz key, and there is none "
            f"here; got {request.target!r}."
        )
