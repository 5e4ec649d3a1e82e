import contextlib
import datetime as dt
import decimal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from penchant.datasets import DataError, load


@pytest.fixture
def read(tmp_path):
    def read(table, **asked):
        if isinstance(table, dict):
            table = pa.table(table)
        pq.write_table(table, tmp_path / "data.parquet", row_group_size=3)
        return load(tmp_path / "data.parquet", **asked)

    return read


def test_columns_of_every_numeric_type(read):
    one = [1, 4, 9, 16]
    table = {
        "whole": pa.array(one, pa.int8()),
        "unsigned": pa.array(one, pa.uint64()),
        "half": pa.array(np.array(one, dtype=np.float16)),
        "single": pa.array(one, pa.float32()),
        "exact": pa.array([decimal.Decimal(v) for v in one], pa.decimal128(5, 2)),
        "coded": pa.array(one, pa.int64()).dictionary_encode(),
        "written": ["1", " 4", "9.0", "1.6e1"],
        "truth": [True, False, True, True],
        "label": ["u", "v", "u", "v"],
    }
    data = read(table)
    assert np.array_equal(data.X[:, :7], np.array([one] * 7).T)
    assert data.X[:, 7].tolist() == [1, 0, 1, 1]
    assert data.features == tuple(table)[:-1]


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (pa.array([3, 1, 1]), ("1", "3")),
        (pa.array([3.0, 1.0, 1.0]), ("1", "3")),
        (pa.array(["b", "a", "a"]), ("a", "b")),
        (pa.array(["b", "a", "a"], pa.large_string()), ("a", "b")),
        (pa.array(["b", "a", "a"]).dictionary_encode(), ("a", "b")),
        (pa.array([True, False, False]), ("False", "True")),
        (pa.array([decimal.Decimal("1.00"), decimal.Decimal(0), 0]), ("0", "1")),
        (pa.array([dt.date(2020, 1, 2), dt.date(2020, 1, 1)] * 2)[:3], None),
    ],
)
def test_types_of_labels(read, labels, classes):
    data = read({"a": [1.0, 2.0, 5.0], "y": labels})
    assert data.classes == (classes or ("2020-01-01", "2020-01-02"))


def test_labels_that_are_lists(read):
    with pytest.raises(DataError, match=r"column 'y' holds list"):
        read({"a": [1.0, 2.0], "y": [[1], [2]]})


def test_columns_that_are_no_numbers(read):
    table = {
        "city": ["Rome", None, "Oslo"],
        "day": [None, dt.date(2020, 1, 31), None],
        "list": [["u"], ["v"], ["w"]],
        "bytes": [b"u", b"v", b"w"],
        "a": [1, 2, 3],
        "y": [0, 1, 1],
    }
    with pytest.raises(DataError) as error:
        read(table)
    for part in ("4 columns", "'city' (e.g. 'Rome')", "'day' (e.g. '2020-01-31')"):
        assert part in str(error.value)
    assert read(table, skip=("city", "day", "list", "bytes")).features == ("a",)


def test_nulls_and_nans_are_missing(read):
    table = {
        "a": pa.array([1.0, None, np.nan, 4.0, 9.0]),
        "b": pa.array([1, 2, 3, None, 5]),
        "y": ["u", "v", "u", "v", "v"],
    }
    with pytest.raises(DataError, match=r"3 of 5.*'a' \(2 rows\), 'b' \(1 row\)"):
        read(table)
    assert read(table, drop_missing=True).X.tolist() == [[1, 1], [9, 5]]
    with pytest.raises(DataError, match=r"'c' \(2 rows\)"):
        read({"a": [1, 2], "c": pa.nulls(2), "y": [0, 1]})
    with pytest.raises(DataError, match="no row is complete"):
        read({"a": [1, 2], "c": pa.nulls(2), "y": [0, 1]}, drop_missing=True)
    with pytest.raises(DataError, match=r"column 'y' \(1 row\)"):
        read({"a": [1, 2, 3], "y": [0, 1, None]})


def test_a_pandas_index_is_left_out_and_told(read):
    data = read({"a": [1, 4], "y": [0, 1], "__index_level_0__": [7, 8]})
    assert data.features == ("a",)
    assert "index" in data.notes[0]


def test_names_with_points_and_twins(read):
    data = read({"a.b": [1, 4], "a": [5, 6], "y": [0, 1]})
    assert data.X.tolist() == [[1, 5], [4, 6]]
    twins = pa.table([[1, 2], [3, 4], [0, 1]], names=["a", "a", "y"])
    with pytest.raises(DataError, match="more than one is called 'a'"):
        read(twins)


def test_no_rows(read):
    with pytest.raises(DataError, match="has no rows"):
        read(pa.table({"a": pa.array([], pa.float64()), "y": pa.array([], pa.int64())}))


@pytest.mark.parametrize("share", [0.2, 0.7, 0.99])
def test_truncated(tmp_path, share):
    path = tmp_path / "data.parquet"
    pq.write_table(pa.table({"a": np.arange(999.0), "y": np.arange(999) % 2}), path)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(DataError, match=r"data\.parquet can't be read as Parquet"):
        load(path)


def test_damaged_pages(tmp_path):
    path = tmp_path / "data.parquet"
    pq.write_table(pa.table({"a": np.arange(999.0), "y": np.arange(999) % 2}), path)
    content = bytearray(path.read_bytes())
    content[4:2000] = bytes(1996)
    path.write_bytes(bytes(content))
    with pytest.raises(DataError, match=r"data\.parquet"):
        load(path)


def test_text_that_is_not_utf8(tmp_path):
    path = tmp_path / "data.parquet"
    pq.write_table(pa.table({"a": ["1", "Qed"], "y": ["u", "v"]}), path)
    path.write_bytes(path.read_bytes().replace(b"Qed", b"\xff\xfe\xfd"))
    with pytest.raises(DataError, match=r"data\.parquet.*UTF8"):
        load(path)


@pytest.mark.parametrize("seed", range(20))
def test_damaged_bytes_raise_nothing_else(tmp_path, seed):
    rng = np.random.default_rng(seed)
    path = tmp_path / "data.parquet"
    table = {"a": rng.normal(size=50), "b": ["1", "2.5"] * 25, "y": ["u", "v"] * 25}
    pq.write_table(pa.table(table), path)
    content = bytearray(path.read_bytes())
    for at in rng.integers(len(content), size=3):
        content[at] ^= 1 << rng.integers(8)
    path.write_bytes(bytes(content))
    with contextlib.suppress(DataError):
        load(path, drop_missing=True)


@pytest.mark.parametrize("fixed", [True, False])
def test_columns_of_lists_are_a_feature_an_entry(tmp_path, fixed):
    X = np.random.default_rng(0).normal(size=(600, 3))
    kind = pa.list_(pa.float64(), 3) if fixed else pa.list_(pa.float64())
    table = pa.table({
        "a": np.arange(600.0),
        "embedding": pa.array(X.tolist(), kind),
        "label": np.arange(600) % 2,
    })
    path = tmp_path / "a.parquet"
    pq.write_table(table, path, row_group_size=100)
    data = load(path)
    assert np.array_equal(data.X, np.column_stack([np.arange(600.0), X]))
    names = ("a", "embedding[0]", "embedding[1]", "embedding[2]")
    assert data.features == names
    assert any("lists of 3 numbers" in note for note in data.notes)
    assert load(path, skip=("embedding",)).features == ("a",)
    assert load(path, rows=10).X.shape == (10, 4)


def test_lists_of_several_lengths_are_refused_and_missing_ones_counted(tmp_path):
    path = tmp_path / "a.parquet"
    labels = [0, 1, 1]
    pq.write_table(pa.table({"e": [[1.0, 2.0], [3.0], [4.0, 5.0]], "y": labels}), path)
    with pytest.raises(DataError, match=r"one length; the first holds 2 .* another 1"):
        load(path)
    pq.write_table(pa.table({"e": [[1.0, 2.0], None, [4.0, 5.0]], "y": labels}), path)
    with pytest.raises(DataError, match="missing"):
        load(path)
    pq.write_table(pa.table({"e": [["a"], ["b"], ["c"]], "y": labels}), path)
    with pytest.raises(DataError, match="features must be numbers"):
        load(path)
