import gzip
import struct

import numpy as np
import pytest

from penchant.datasets import DataError, load

IMAGES = np.arange(24, dtype=np.uint8).reshape(4, 2, 3) ** 2
LABELS = np.array([7, 2, 7, 2], dtype=np.uint8)
CODES = {"u1": 0x08, "i1": 0x09, ">i2": 0x0B, ">i4": 0x0C, ">f4": 0x0D, ">f8": 0x0E}


def idx(array, kind="u1"):
    head = struct.pack(f">HBB{array.ndim}I", 0, CODES[kind], array.ndim, *array.shape)
    return head + array.astype(kind).tobytes()


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize(
    "stem", ["t10k-{}-idx{}-ubyte", "train-{}.idx{}-ubyte", "{}.idx{}"]
)
def test_labels_are_found_beside(tmp_path, zipped, stem):
    end = ".gz" if zipped else ""
    pack = gzip.compress if zipped else bytes
    images = tmp_path / (stem.format("images", 3) + end)
    images.write_bytes(pack(idx(IMAGES)))
    (tmp_path / (stem.format("labels", 1) + end)).write_bytes(pack(idx(LABELS)))
    data = load(images)
    assert np.array_equal(data.X, IMAGES.reshape(4, 6))
    assert data.classes == ("2", "7")
    assert data.y.tolist() == [1, -1, 1, -1]
    assert "(2, 3) were flattened to 6" in data.notes[0]


def test_one_may_be_zipped_and_the_other_not(tmp_path):
    (tmp_path / "a-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(IMAGES)))
    (tmp_path / "a-labels-idx1-ubyte").write_bytes(idx(LABELS))
    assert len(load(tmp_path / "a-images-idx3-ubyte.gz").X) == 4


@pytest.mark.parametrize("kind", CODES)
def test_pairs_and_types(tmp_path, kind):
    (tmp_path / "some.idx").write_bytes(idx(IMAGES % 100, kind))
    (tmp_path / "other.idx").write_bytes(idx(LABELS))
    data = load(f"{tmp_path}/some.idx,{tmp_path}/other.idx")
    assert np.array_equal(data.X, IMAGES.reshape(4, 6) % 100)


def test_absent_labels(tmp_path):
    (tmp_path / "a-images-idx3-ubyte").write_bytes(idx(IMAGES))
    with pytest.raises(DataError, match=r"'a-labels-idx1-ubyte'.*'images,labels'"):
        load(tmp_path / "a-images-idx3-ubyte")
    (tmp_path / "b-labels-idx1-ubyte").write_bytes(idx(LABELS))
    with pytest.raises(DataError, match="the labels must be"):
        load(tmp_path / "b-labels-idx1-ubyte")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(
            idx(IMAGES)[:-1],
            r"damaged.*\(4, 2, 3\) must have 40 bytes; got 39",
            id="cut by a byte",
        ),
        pytest.param(idx(IMAGES) + b"x", "got 41", id="a byte too long"),
        pytest.param(idx(IMAGES)[:9], "damaged", id="cut in the header"),
        pytest.param(b"\0\0\x07\x01", "got 00 00 07 01", id="of another type"),
        pytest.param(b"\1\0\x08\x01abcd", "got 01 00 08 01", id="not idx"),
        pytest.param(b"\0\0\x08\0", "no idx file", id="no dimensions"),
        pytest.param(
            b"\0\0\x08\x02\xff\xff\xff\xff\xff\xff\xff\xff",
            "damaged",
            id="dimensions that overflow",
        ),
        pytest.param(
            gzip.compress(idx(IMAGES), mtime=0)[:-9], "can't be read", id="gzip cut"
        ),
        pytest.param(gzip.compress(b"", mtime=0), "got nothing", id="gzip of nothing"),
        pytest.param(
            gzip.compress(idx(IMAGES), mtime=0)[:20] + b"\xff" * 30,
            "can't be read",
            id="gzip overwritten",
        ),
        pytest.param(
            idx(LABELS), r"\(n, h, w\) for images; got \(4,\)", id="labels for images"
        ),
        pytest.param(idx(IMAGES[:3]), r"must have shape \(3,\)", id="too few images"),
    ],
)
def test_damaged_files(tmp_path, content, message):
    (tmp_path / "a-images-idx3-ubyte").write_bytes(content)
    (tmp_path / "a-labels-idx1-ubyte").write_bytes(idx(LABELS))
    with pytest.raises(DataError, match=message) as error:
        load(tmp_path / "a-images-idx3-ubyte")
    assert "a-images-idx3-ubyte" in str(error.value)
