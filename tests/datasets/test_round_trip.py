import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from hypothesis import given, settings, strategies as st

from penchant.datasets import load

values = st.floats(allow_nan=False, allow_infinity=False)
cases = st.integers(1, 4).flatmap(
    lambda d: st.lists(
        st.tuples(st.lists(values, min_size=d, max_size=d), st.integers(-3, 3)),
        min_size=8,
        max_size=20,
    )
)


@settings(deadline=None, derandomize=True, max_examples=30)
@given(rows=cases, text=st.booleans())
def test_every_format_gives_the_same_data(tmp_path_factory, rows, text):
    X = np.array([x for x, _ in rows])
    y = np.array([label for _, label in rows])
    y[:3] = 4, 5, 5  # two classes at least, and fewer classes than rows
    labels = np.array([f"class {c}" for c in y]) if text else y
    folder = tmp_path_factory.mktemp("trip")
    table = pa.table({**{f"x{j}": x for j, x in enumerate(X.T)}, "y": labels})
    pa.csv.write_csv(table, folder / "data.csv")
    pq.write_table(table, folder / "data.parquet")
    np.savez(folder / "data.npz", X=X, y=labels)
    read = [load(folder / f"data.{end}") for end in ("csv", "parquet", "npz")]
    assert np.array_equal(read[0].X, X)
    for data in read:
        assert np.array_equal(data.X, read[0].X)
        assert np.array_equal(data.y, read[0].y)
        assert data.features == read[0].features
        assert data.classes == read[0].classes
        assert data.notes == read[0].notes
    back = np.array(read[0].classes)[
        read[0].y if len(read[0].classes) > 2 else (read[0].y + 1) // 2
    ]
    assert np.array_equal(back, labels.astype(str))
