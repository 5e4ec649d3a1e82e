import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from penchant.datasets import DataError, load

MANY = 300_000


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The same rows in each format; the feature is the row's number, squared."""
    folder = tmp_path_factory.mktemp("many")
    x = np.arange(MANY, dtype=np.float64) ** 2
    y = np.arange(MANY) % 3
    table = pa.table({"x0": x, "y": y})
    pa.csv.write_csv(table, folder / "data.csv")
    pq.write_table(table, folder / "data.parquet")
    np.savez(folder / "data.npz", X=x[:, None], y=y)
    np.save(folder / "X.npy", x[:, None])
    np.save(folder / "y.npy", y)
    return [
        str(folder / "data.csv"),
        str(folder / "data.parquet"),
        str(folder / "data.npz"),
        f"{folder}/X.npy,{folder}/y.npy",
    ]


def test_a_sample_is_the_same_from_every_format(files):
    samples = [load(file, rows=500, seed=3) for file in files]
    for data in samples:
        assert data.X.shape == (500, 1)
        assert np.array_equal(data.X, samples[0].X)
        assert np.array_equal(data.y, samples[0].y)
        assert "500 of 300000 rows were drawn at random (seed 3)." in data.notes
    rows = np.sqrt(samples[0].X[:, 0])
    assert np.all(np.diff(rows) > 0)  # in the file's order, none twice
    assert np.array_equal(samples[0].y, rows % 3)
    assert not np.array_equal(load(files[3], rows=500, seed=4).X, samples[0].X)


def test_a_sample_is_uniform(files):
    rows = np.sqrt(load(files[3], rows=10_000, seed=0).X[:, 0])
    tenths = np.histogram(rows, bins=10, range=(0, MANY))[0]
    assert np.all(np.abs(tenths - 1000) < 3.5 * np.sqrt(900))


def test_every_row_is_as_likely(tmp_path):
    np.save(tmp_path / "X.npy", np.arange(8.0)[:, None])
    np.save(tmp_path / "y.npy", [0, 1, 0, 1, 0, 1, 0, 1])
    counts = np.zeros(8)
    draws = 0
    for seed in range(250):
        try:
            data = load(f"{tmp_path}/X.npy,{tmp_path}/y.npy", rows=3, seed=seed)
        except DataError:  # of one class
            continue
        draws += 1
        counts[data.X[:, 0].astype(int)] += 1
    p = 3 / 8
    assert np.all(np.abs(counts - draws * p) < 3 * np.sqrt(draws * p * (1 - p)))


def test_the_chosen_classes_are_sampled(files):
    for file in files[:2]:
        data = load(file, rows=1000, classes=("2", "0"))
        assert len(data.X) == 1000
        assert "1000 of 200000 rows" in data.notes[0]
    assert len(load(files[3], classes=("0", "1"), rows=10**6).X) == 200_000


def test_many_rows_must_be_asked_for(files):
    for file in files:
        with pytest.raises(DataError, match=r"300000 rows.*rows=20000.*rows='all'"):
            load(file)
    assert load(files[1], rows="all").X.shape == (MANY, 1)
    assert load(files[1], classes=("0", "2")).X.shape == (200_000, 1)


def test_fewer_rows_than_asked_for_are_all(tmp_path):
    path = tmp_path / "data.csv"
    path.write_text("a,y\n1,u\n4,v\n2,u\n")
    data = load(path, rows=1e6)
    assert data.X.tolist() == [[1], [4], [2]]
    assert data.notes == ()


def test_rows_are_dropped_before_they_are_drawn(tmp_path):
    lines = "".join(f"{i if i % 2 else ''},{i // 2 % 2}\n" for i in range(1000))
    (tmp_path / "data.csv").write_text("a,y\n" + lines)
    data = load(tmp_path / "data.csv", rows=300, drop_missing=True)
    assert len(data.X) == 300
    assert np.all(data.X % 2 == 1)
    assert "300 of 500 rows were drawn at random (seed 0)." in data.notes


@pytest.mark.parametrize(
    ("rows", "error"),
    [(0, ValueError), (-3, ValueError), ("some", ValueError), (1.5, TypeError)],
)
def test_rows_out_of_bounds(rows, error):
    with pytest.raises(error, match="rows must be"):
        load("digits", rows=rows)


def test_seeds_out_of_bounds():
    with pytest.raises(ValueError, match="seed"):
        load("digits", rows=10, seed=-1)


@pytest.mark.slow
def test_ten_million_rows_need_little_memory(tmp_path):
    n, part = 10**7, 10**6
    path = tmp_path / "data.parquet"
    rng = np.random.default_rng(0)
    schema = pa.schema(
        [(f"x{j}", pa.float64()) for j in range(4)] + [("y", pa.int64())]
    )
    with pq.ParquetWriter(path, schema) as writer:
        for _ in range(n // part):
            columns = [*rng.normal(size=(4, part)), rng.integers(2, size=part)]
            writer.write_table(pa.table(columns, schema=schema))
    pool = pa.proxy_memory_pool(pa.default_memory_pool())
    before = pa.default_memory_pool()
    pa.set_memory_pool(pool)
    try:
        data = load(path, rows=1000)
    finally:
        pa.set_memory_pool(before)
    assert data.X.shape == (1000, 4)
    assert pool.max_memory() < 2**26  # of 400 MB
