import contextlib
import pickle
import subprocess
import sys

import numpy as np
import pytest

from penchant.datasets import DataError, load

X = np.arange(6.0).reshape(3, 2) ** 2
y = np.array([0, 1, 1])


@pytest.fixture
def npz(tmp_path):
    def read(asked=None, **arrays):
        path = tmp_path / "data.npz"
        np.savez(path, **arrays)
        return load(path, **asked or {})

    return read


@pytest.fixture
def npy(tmp_path):
    def read(X, y, **asked):
        np.save(tmp_path / "X.npy", X)
        np.save(tmp_path / "y.npy", y)
        return load(f"{tmp_path}/X.npy, {tmp_path}/y.npy", **asked)

    return read


def test_npz(npz):
    data = npz(X=X, y=y)
    assert np.array_equal(data.X, X)
    assert data.y.tolist() == [-1, 1, 1]
    assert data.features == ("x0", "x1")
    assert data.classes == ("0", "1")
    assert data.name == "data.npz"


def test_npz_keys(npz):
    assert npz({"target": "kind"}, X=X, y=y, kind=y[::-1]).y.tolist() == [1, 1, -1]
    with pytest.raises(
        DataError, match=r"labels must be under the key 'y'.*'X', 'lab'"
    ):
        npz(X=X, lab=y)
    with pytest.raises(
        DataError, match=r"features must be under the key 'X'.*'Z', 'y'"
    ):
        npz(Z=X, y=y)
    with pytest.raises(DataError, match="skip holds the target"):
        npz({"skip": ("y",)}, X=X, y=y)


def test_npz_of_training_and_test_data(npz):
    arrays = {"x_train": X, "y_train": y, "x_test": X[::-1], "y_test": y[::-1]}
    assert np.array_equal(npz({"target": "y_train"}, **arrays).X, X)
    assert np.array_equal(npz({"target": "y_test"}, **arrays).X, X[::-1])
    mixed = npz({"target": "y_train", "features": "x_test"}, **arrays)
    assert np.array_equal(mixed.X, X[::-1])
    with pytest.raises(DataError, match=r"features must be under the key 'Z'.*names"):
        npz({"target": "y_train", "features": "Z"}, **arrays)
    with pytest.raises(DataError, match=r"under the key 'X'; keys: 'x_train', 'y_tr"):
        npz(**arrays)
    with pytest.raises(DataError, match="features names an array of an npz file"):
        load("digits", features="X")


def test_npy_pair(npy):
    data = npy(np.asfortranarray(X.astype(">f4")), y[:, None])
    assert np.array_equal(data.X, X)
    assert data.X.dtype == np.float64
    assert data.name == "X.npy,y.npy"
    assert npy(X, y, skip=("x0",)).X.tolist() == X[:, 1:].tolist()


@pytest.mark.parametrize(
    "dtype", ["bool", "int8", "uint8", "int64", "uint64", "float16", "float32", "g"]
)
def test_real_types_of_features(npz, dtype):
    assert np.array_equal(npz(X=X.astype(dtype), y=y).X, X.astype(dtype).astype(float))


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (np.array([2.0, 10.0, 10.0]), ("2", "10")),
        (np.array([-1, 1, 1], dtype="int8"), ("-1", "1")),
        (np.array([0.5, 1.5, 1.5]), ("0.5", "1.5")),
        (np.array(["b ", "a", "a"]), ("a", "b")),
        (np.array([b"b", b"a", b"a"]), ("a", "b")),
        (np.array([True, False, False]), ("False", "True")),
    ],
)
def test_types_of_labels(npz, labels, classes):
    assert npz(X=X, y=labels).classes == classes


def test_images_are_flattened_and_told(npz):
    images = np.arange(24.0).reshape(3, 2, 4) ** 2
    data = npz(X=images, y=y)
    assert np.array_equal(data.X, images.reshape(3, 8))
    assert "shape (2, 4) were flattened to 8 features" in data.notes[0]


@pytest.mark.parametrize(
    ("features", "labels", "message"),
    [
        (X[0], y, r"shape \(n, d\).*\(2,\)"),
        (X[:0], y[:0], "no rows"),
        (X[:, :0], y, "no feature"),
        (X, y[:2], r"'y' must have shape \(3,\).*\(3, 2\); got \(2,\)"),
        (X, np.eye(3), r"got \(3, 3\)"),
        (X, np.array(1), r"got \(\)"),
        (X * 1j, y, "real numbers; got dtype complex"),
        (X.astype(str), y, r"got dtype <U32 \(e.g. 0.0\)"),
        (X.astype("M8[s]"), y, "datetime"),
        (X, y.astype("M8[s]"), "labels must be numbers or text.*datetime"),
        (X, y * 1j, "labels must be numbers or text.*complex"),
        (X.astype(object), y, "pickled objects, which are never loaded"),
        (X, y.astype(object), "pickled objects, which are never loaded"),
        (X * np.nan, y, r"3 of 3 rows have missing values.*'x1' \(3 rows\)"),
        (X, np.array([0, np.nan, 1]), r"'y' \(1 row\)"),
        (X, np.array(["u", "", "v"]), r"'y' \(1 row\)"),
        (np.where(X == 1, -np.inf, X), y, "row 1 of the data, column 'x1': -inf"),
        (np.where(X == 1, np.longdouble("1e4000"), X), y, "infinite"),
    ],
)
def test_arrays_that_are_no_data(npz, features, labels, message):
    with pytest.raises(DataError, match=message):
        npz(X=features, y=labels)


def test_missing_values_can_be_dropped(npz, npy):
    holes = X.copy()
    holes[0, 1] = np.nan
    labels = np.array([5.0, 6.0, 6.0])
    for read in (
        lambda **a: npz(a, X=holes, y=labels),
        lambda **a: npy(holes, labels, **a),
    ):
        with pytest.raises(DataError, match=r"label '6', none has '5'"):
            read(drop_missing=True)
    data = npz({"drop_missing": True}, X=np.vstack([holes, X]), y=[*labels, *labels])
    assert len(data.X) == 5
    assert "1 row with missing values was dropped." in data.notes


GARBAGE = [
    b"garbage, and enough of it",
    pickle.dumps({"X": 1}),
    b"PK\x03\x04 no archive",
    b"\x93NUMPY\x01\x00v\x00{bad",
    b"\x93NUMPY\x01\x00\x10\x00{'descr': '<f8',\n",
    b"\x1f\x8b\x08 no gzip",
]


@pytest.mark.parametrize("content", GARBAGE)
def test_files_of_another_kind(tmp_path, content):
    for name in ("data.npz", "data.npy", "data.parquet", "a-images-idx3-ubyte"):
        (tmp_path / name).write_bytes(content)
    (tmp_path / "a-labels-idx1-ubyte").write_bytes(content)
    sources = [
        tmp_path / "data.npz",
        tmp_path / "data.parquet",
        tmp_path / "a-images-idx3-ubyte",
        f"{tmp_path}/data.npy,{tmp_path}/data.npy",
    ]
    for source in sources:
        with pytest.raises(DataError, match=r"data|a-images"):
            load(source)


def test_an_npy_file_named_npz(tmp_path):
    np.save(tmp_path / "data.npy", X)
    (tmp_path / "data.npy").rename(tmp_path / "data.npz")
    with pytest.raises(DataError, match="single array"):
        load(tmp_path / "data.npz")


@pytest.mark.parametrize("share", [0.3, 0.6, 0.97])
def test_truncated_files(tmp_path, share):
    big = np.random.default_rng(0).normal(size=(500, 3))
    np.savez_compressed(tmp_path / "data.npz", X=big, y=np.arange(500) % 2)
    np.save(tmp_path / "X.npy", big)
    np.save(tmp_path / "y.npy", np.arange(500) % 2)
    for name in ("data.npz", "X.npy"):
        whole = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(DataError, match=r"data\.npz can't be read"):
        load(tmp_path / "data.npz")
    with pytest.raises(DataError, match=r"X\.npy can't be read"):
        load(f"{tmp_path}/X.npy,{tmp_path}/y.npy")


@pytest.mark.parametrize("seed", range(20))
def test_damaged_bytes_raise_nothing_else(tmp_path, seed):
    rng = np.random.default_rng(seed)
    np.savez_compressed(
        tmp_path / "data.npz", X=rng.normal(size=(40, 3)), y=np.arange(40) % 2
    )
    content = bytearray((tmp_path / "data.npz").read_bytes())
    for at in rng.integers(len(content), size=3):
        content[at] ^= 1 << rng.integers(8)
    (tmp_path / "data.npz").write_bytes(bytes(content))
    with contextlib.suppress(DataError):
        load(tmp_path / "data.npz")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("nowhere.csv", "nowhere.csv is no file"),
        ("~nobody-of-this-name/x.csv", "can't be read"),
        ("x" * 5000 + ".csv", "can't be read"),
        ("x" * 5000 + ",y.npy", "can't be read"),
        ("nul\0.csv", "is no file"),
        ("", "is a folder|is no file"),
        (".", "is a folder"),
        ("{}/table.xlsx", r"files of type '\.xlsx'.*\.parquet.*openml:NAME"),
        ("{}/plain", "without an extension"),
        ("{}/X.npy", "pair, 'X.npy,y.npy'"),
        ("{}/X.npy,", "no pair of two"),
        ("a,b,c", "no pair of two"),
        ("{}/X.npy,{}/table.xlsx", "two .npy files or two idx"),
        ("{}/empty.csv", "is empty"),
    ],
)
def test_sources_that_are_none(tmp_path, source, message):
    np.save(tmp_path / "X.npy", X)
    (tmp_path / "table.xlsx").write_bytes(b"zip")
    (tmp_path / "plain").write_bytes(b"plain")
    (tmp_path / "empty.csv").write_bytes(b"")
    with pytest.raises(DataError, match=message):
        load(source.replace("{}", str(tmp_path)))


def test_a_target_where_there_is_none(npy):
    with pytest.raises(DataError, match=r"target names a column.*'label'"):
        npy(X, y, target="label")
    with pytest.raises(DataError, match="target"):
        load("digits", target="label")


def test_a_comma_in_a_files_name(tmp_path):
    (tmp_path / "a,b.csv").write_text("u,y\n1,0\n2,1\n")
    assert len(load(str(tmp_path / "a,b.csv")).X) == 2


def test_libraries_are_imported_when_they_are_needed():
    code = (
        "import sys, penchant.datasets as d; d.gaussian(); "
        "heavy = {'sklearn', 'pyarrow', 'torch', 'pandas'} & set(sys.modules); "
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
