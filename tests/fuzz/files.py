"""A small file of each format that is read, and ways to damage one."""

import bz2
import gzip
import io
import lzma
import zipfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import scipy.io
import scipy.sparse

_rng = np.random.default_rng(7)
X = np.round(_rng.normal(size=(12, 3)), 3)
Y = np.arange(12) % 2


def _csv(separator=",", comma=False):
    rows = [separator.join(["a", "b", "c", "label"])]
    for x, y in zip(X, Y, strict=True):
        cells = [f"{v:g}".replace(".", "," if comma else ".") for v in x]
        rows.append(separator.join([*cells, "no" if y == 0 else "yes"]))
    return ("\n".join(rows) + "\n").encode()


def _mixed():
    rows = ["day;ort;x;label"]
    rows += [f"2024-01-{i + 1:02};{'ABC'[i % 3]};1.{i:03},5;{i % 2}" for i in range(12)]
    return "\n".join(["sep=;", *rows, "2024-02-01;-;;NA"]).encode()


def _saved(write, *arguments, **more):
    file = io.BytesIO()
    write(file, *arguments, **more)
    return file.getvalue()


def _npy(array):
    return _saved(np.save, array)


def _idx(array):
    head = bytes([0, 0, 8, array.ndim]) + b"".join(
        n.to_bytes(4, "big") for n in array.shape
    )
    return head + array.astype(np.uint8).tobytes()


def _zip(name, data, method=zipfile.ZIP_DEFLATED):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        archive.writestr(name, data)
    return file.getvalue()


def _parquet(**columns):
    return _saved(lambda file, table: pq.write_table(table, file), pa.table(columns))


def _arff():
    rows = [f"{a},{b},{'up' if y else 'down'}" for (a, b, _), y in zip(X, Y, strict=1)]
    head = "@relation r\n@attribute a numeric\n@attribute b numeric\n"
    return (head + "@attribute class {up,down}\n@data\n" + "\n".join(rows)).encode()


def _svm():
    lines = [
        f"{y} " + " ".join(f"{j + 1}:{v:g}" for j, v in enumerate(x))
        for x, y in zip(X, Y, strict=True)
    ]
    return ("\n".join(lines) + "\n").encode()


def _market():
    return _saved(scipy.io.mmwrite, scipy.sparse.coo_matrix(X))


def _hdf5():
    h5py = __import__("h5py")
    file = io.BytesIO()
    with h5py.File(file, "w") as out:
        out.create_dataset("X", data=X, chunks=(4, 3), compression="gzip")
        out["y"] = Y
    return file.getvalue()


def has_hdf5():
    """Whether h5py, an extra, is there."""
    try:
        __import__("h5py")
    except ImportError:
        return False
    return True


_TABLE = _csv()
_IMAGES = _idx(_rng.integers(0, 255, size=(12, 2, 2)))
FORMATS = {
    "d.csv": {"d.csv": _TABLE},
    "d.tsv": {"d.tsv": _csv("\t")},
    "comma.csv": {"comma.csv": _csv(";", comma=True)},
    "mixed.csv": {"mixed.csv": _mixed()},
    "d.csv.gz": {"d.csv.gz": gzip.compress(_TABLE)},
    "d.csv.bz2": {"d.csv.bz2": bz2.compress(_TABLE)},
    "d.csv.xz": {"d.csv.xz": lzma.compress(_TABLE)},
    "d.csv.zst": {"d.csv.zst": pa.compress(_TABLE, "zstd", asbytes=True)},
    "d.zip": {"d.zip": _zip("d.csv", _TABLE)},
    "d.parquet": {
        "d.parquet": _parquet(a=X[:, 0], b=X[:, 1].astype(str), label=Y.astype(str))
    },
    "lists.parquet": {"lists.parquet": _parquet(x=X.tolist(), label=Y)},
    "d.arff": {"d.arff": _arff()},
    "d.svm": {"d.svm": _svm()},
    "d.npz": {"d.npz": _saved(np.savez, X=X, y=Y)},
    "packed.npz": {"packed.npz": _saved(np.savez_compressed, X=X, y=Y)},
    "X.npy,y.npy": {"X.npy": _npy(X), "y.npy": _npy(Y)},
    "F.npy,s.npy": {"F.npy": _npy(np.asfortranarray(X)), "s.npy": _npy(Y.astype("U3"))},
    "s.npz,y.npy": {
        "s.npz": _saved(scipy.sparse.save_npz, scipy.sparse.csr_matrix(X)),
        "y.npy": _npy(Y),
    },
    "m.mtx,y.npy": {"m.mtx": _market(), "y.npy": _npy(Y)},
    "d.mat": {"d.mat": _saved(scipy.io.savemat, {"X": X, "y": Y})},
    "t-images-idx3-ubyte": {
        "t-images-idx3-ubyte": _IMAGES,
        "t-labels-idx1-ubyte": _idx(Y),
    },
    "t-images-idx3-ubyte.gz": {
        "t-images-idx3-ubyte.gz": gzip.compress(_IMAGES),
        "t-labels-idx1-ubyte.gz": gzip.compress(_idx(Y)),
    },
}
if has_hdf5():
    FORMATS["d.h5"] = {"d.h5": _hdf5()}

_ODD = (b"\0", b"\xff" * 4, b"\x7f\xff\xff\xff", b"\x80", b"\n", b",", b'"', b"nan")
_ODD += (b"1e999", b"-", b"\x1b[31m", "\u202e".encode(), b"9" * 30, b"\xef\xbb\xbf")


def damaged(data, rng):
    """The bytes with up to four of these done to them."""
    data = bytearray(data)
    for _ in range(rng.integers(0, 5)):
        at = int(rng.integers(0, len(data) + 1))
        # headers are a small part of a file and the larger part of its reader
        at = at if rng.random() < 0.5 else min(at, int(rng.integers(0, 100)))
        end = min(len(data), at + int(rng.integers(1, 40)))
        odd = _ODD[rng.integers(len(_ODD))]
        way = rng.integers(6)
        if way == 0 and at < len(data):
            data[at] ^= 1 << int(rng.integers(8))
        elif way == 1:
            del data[at:end]
        elif way == 2:
            data[at:at] = odd
        elif way == 3:
            data[at : at + len(odd)] = odd
        elif way == 4:
            data[at:at] = data[at:end] * int(rng.integers(1, 30))
        elif rng.random() < 0.5:
            del data[at:]
        if not data:
            break
    return bytes(data)


def options(rng):
    """Arguments of `load`, most of them in place."""
    pick = lambda *values: values[rng.integers(len(values))]
    all_of_them = {
        "target": lambda: pick("label", "class", "y", "c", "", "X", "\x1b[1m"),
        "features": lambda: pick("X", "x", "y", "", "a/b"),
        "classes": lambda: pick(
            (0, 1), ("no", "yes"), ("NA", "1"), ("up",), (), (1.5, "x")
        ),
        "skip": lambda: pick(("a",), ("x0",), ("nothing",), ("label",), ()),
        "rows": lambda: pick(1, 4, 10**6, "all", 5.0),
        "drop_missing": lambda: True,
        "missing": lambda: pick(("-",), ("no",), ("",), ("A", "B")),
        "one_hot": lambda: pick("all", ("b",), ("ort", "day"), ("x9",)),
        "decimal": lambda: pick(",", "."),
        "scale": lambda: pick(255, 1e-300, 1e300, 0.5),
        "seed": lambda: pick(0, 2**40),
    }
    return {name: make() for name, make in all_of_them.items() if rng.random() < 0.12}
