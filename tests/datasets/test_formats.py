"""Packed, sparse, MATLAB's, HDF5's and Weka's files give what the plain ones do."""

import bz2
import gzip
import io
import lzma
import zipfile

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import scipy.io
import scipy.sparse
from sklearn.datasets import dump_svmlight_file

from penchant.datasets import DataError, load

rng = np.random.default_rng(3)
X = np.round(rng.normal(size=(14, 3)), 3)
X[rng.random(X.shape) < 0.3] = 0.0
y = np.arange(14) % 2
WORDS = np.where(y == 1, "yes", "no")
FRAME = pd.DataFrame(X, columns=list("abc")).assign(label=WORDS)
CSV = FRAME.to_csv(index=False).encode()


def zipped(data):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("table.csv", data)
    return file.getvalue()


PACKINGS = {
    "t.csv.gz": gzip.compress,
    "t.csv.bz2": bz2.compress,
    "t.csv.xz": lzma.compress,
    "t.csv.zst": lambda data: pa.compress(data, "zstd", asbytes=True),
    "t.zip": zipped,
}


@pytest.mark.parametrize("name", PACKINGS)
def test_packed_tables(tmp_path, name):
    (tmp_path / name).write_bytes(PACKINGS[name](CSV))
    data = load(tmp_path / name)
    assert np.array_equal(data.X, X)
    assert data.classes == ("no", "yes")
    some = load(tmp_path / name, rows=5)
    (tmp_path / "t.csv").write_bytes(CSV)
    assert np.array_equal(some.X, load(tmp_path / "t.csv", rows=5).X)


@pytest.mark.parametrize("name", PACKINGS)
def test_what_unpacks_to_too_much(tmp_path, name, monkeypatch):
    monkeypatch.setattr("penchant.datasets._sizes.SMALL", 2**20)
    rows = b"a,label\n" + b"1,x\n2,y\n" * 2**18
    (tmp_path / name).write_bytes(PACKINGS[name](rows))
    with pytest.raises(DataError, match=r"more to unpack.*rows=20000"):
        load(tmp_path / name)
    assert load(tmp_path / name, rows=10).samples == 10


def test_frames_and_sparse_matrices():
    assert np.array_equal(load(FRAME).X, X)
    assert np.array_equal(load(pa.Table.from_pandas(FRAME), target="label").X, X)
    indexed = FRAME.set_index(pd.Index(np.arange(14), name="customer"))
    assert load(indexed).features == ("a", "b", "c")
    assert np.array_equal(load((scipy.sparse.csr_array(X), y)).X, X)


def sparse_npz(path):
    scipy.sparse.save_npz(path / "X.npz", scipy.sparse.csr_matrix(X))
    np.save(path / "y.npy", y)
    return f"{path / 'X.npz'},{path / 'y.npy'}"


def market(path):
    scipy.io.mmwrite(path / "X.mtx", scipy.sparse.coo_matrix(X))
    np.save(path / "y.npy", y)
    return f"{path / 'X.mtx'},{path / 'y.npy'}"


def dense_market(path):
    scipy.io.mmwrite(path / "X.mtx", X)
    np.save(path / "y.npy", y)
    return f"{path / 'X.mtx'},{path / 'y.npy'}"


def matlab(path):
    scipy.io.savemat(path / "d.mat", {"X": X, "y": y[:, None]})
    return path / "d.mat"


def sparse_matlab(path):
    scipy.io.savemat(path / "d.mat", {"X": scipy.sparse.csc_matrix(X), "y": y})
    return path / "d.mat"


def svmlight(path):
    dump_svmlight_file(X, y, str(path / "d.svm"), zero_based=False)
    return path / "d.svm"


def hdf5(path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(path / "d.h5", "w") as file:
        file["X"], file["y"] = X, y
    return path / "d.h5"


def new_matlab(path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(path / "d.mat", "w", userblock_size=512) as file:
        file["X"], file["y"] = X.T, y[None, :]
    with (path / "d.mat").open("r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file".ljust(124))
    return path / "d.mat"


MAKERS = (sparse_npz, market, dense_market, matlab, sparse_matlab, svmlight, hdf5)


@pytest.mark.parametrize("make", [*MAKERS, new_matlab])
def test_every_format_gives_the_same_data(tmp_path, make):
    data = load(make(tmp_path))
    assert np.array_equal(data.X, X)
    assert np.array_equal(data.y, 2 * y - 1)


def test_symmetric_matrices_are_filled_in(tmp_path):
    A = X[:3] + X[:3].T
    scipy.io.mmwrite(
        tmp_path / "A.mtx", scipy.sparse.coo_matrix(A), symmetry="symmetric"
    )
    np.save(tmp_path / "y.npy", y[:3])
    assert np.array_equal(load(f"{tmp_path}/A.mtx,{tmp_path}/y.npy").X, A)


def test_arff_takes_a_nominal_last_attribute_for_the_labels(tmp_path):
    rows = "\n".join(f"{a},{w}" for a, w in zip(X[:, 0], WORDS, strict=True))
    head = "@relation r\n@attribute a numeric\n@attribute kind {no,yes}\n@data\n"
    (tmp_path / "d.arff").write_text(head + rows)
    data = load(tmp_path / "d.arff")
    assert np.array_equal(data.X[:, 0], X[:, 0])
    assert data.classes == ("no", "yes")


def test_keys_of_arrays_are_named_or_suggested(tmp_path):
    np.savez(tmp_path / "k.npz", pictures=X.reshape(14, 3, 1), digit=y)
    with pytest.raises(DataError, match="features='pictures' and target='digit'"):
        load(tmp_path / "k.npz")
    data = load(tmp_path / "k.npz", features="pictures", target="digit")
    assert np.array_equal(data.X, X)
    assert any("flattened" in note for note in data.notes)


def test_scale_divides_and_says_what_that_does(tmp_path):
    np.savez(tmp_path / "k.npz", X=X, y=y)
    data = load(tmp_path / "k.npz", scale=255)
    assert np.array_equal(data.X, X / 255)
    assert any("divided by 255" in note for note in data.notes)


def test_findings_come_in_one_message_each_with_its_option(tmp_path):
    (tmp_path / "m.csv").write_text(
        "when;x;k;label\n2024-01-01;1,5;-;u\n2024-01-02;2,5;3;v\n2024-01-03;1,5;4;u\n"
    )
    with pytest.raises(DataError) as told:
        load(tmp_path / "m.csv")
    for option in ("--decimal", "--missing '-'", "--skip 'when'", "dates"):
        assert option in str(told.value)
    data = load(
        tmp_path / "m.csv",
        decimal=",",
        skip=("when",),
        missing=("-",),
        drop_missing=True,
    )
    assert data.X.tolist() == [[2.5, 3.0], [1.5, 4.0]]


def test_a_class_called_na_can_be_asked_for(tmp_path):
    (tmp_path / "c.csv").write_text("a,label\n1,NA\n2,NA\n3,ZA\n")
    with pytest.raises(
        DataError, match=r"'NA' was taken for a missing label.*--classes"
    ):
        load(tmp_path / "c.csv")
    assert load(tmp_path / "c.csv", classes=("NA", "ZA")).classes == ("NA", "ZA")
