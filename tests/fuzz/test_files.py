"""Damaged files of every format are read, or refused in a sentence."""

import traceback
import warnings

import numpy as np
import pytest

import penchant as pn
from penchant._visible import visible
from tests.fuzz.files import FORMATS, damaged, options

LONG = 8_000


def failure(folder, source, seed):
    """What went wrong with one damaged file; None where all was well."""
    rng = np.random.default_rng([seed, sorted(FORMATS).index(source)])
    for name, data in FORMATS[source].items():
        (folder / name).write_bytes(damaged(data, rng))
    asked = options(rng)
    path = ",".join(str(folder / part) for part in source.split(","))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            data = pn.datasets.load(path, **asked)
    except (pn.datasets.DataError, ValueError) as error:
        # of ValueErrors only those of the options are meant
        if isinstance(error, pn.datasets.DataError) or "must be" in str(error):
            said = str(error)
            if visible(said) == said:
                return None
            return f"{source}, seed {seed}, {asked}: unprintable {said!r}"
        return f"{source}, seed {seed}, {asked}: {traceback.format_exc()}"
    except Exception:  # noqa: BLE001
        return f"{source}, seed {seed}, {asked}: {traceback.format_exc()}"
    bad = not np.isfinite(data.X).all() or len(data.y) != len(data.X)
    return f"{source}, seed {seed}, {asked}: {data}" if bad else None


@pytest.mark.parametrize("source", sorted(FORMATS))
def test_whole_files_are_read(tmp_path, source):
    for name, data in FORMATS[source].items():
        (tmp_path / name).write_bytes(data)
    path = ",".join(str(tmp_path / part) for part in source.split(","))
    more = {"decimal": ","} if source in ("comma.csv", "mixed.csv") else {}
    if source == "mixed.csv":
        more |= {"one_hot": ("ort",), "skip": ("day",), "drop_missing": True}
    if source == "s.npz":
        more |= {"features": "data"}
    assert pn.datasets.load(path, **more).samples == 12


@pytest.mark.parametrize("source", sorted(FORMATS))
def test_damaged_files(tmp_path, source):
    told = [failure(tmp_path, source, seed) for seed in range(12)]
    assert not any(told), "\n".join(filter(None, told))


@pytest.mark.fuzz
@pytest.mark.parametrize("source", sorted(FORMATS))
def test_many_damaged_files(tmp_path, source, fresh_seed):
    count = LONG // len(FORMATS) + 1
    told = [failure(tmp_path, source, fresh_seed + i) for i in range(count)]
    bad = [text for text in told if text]
    assert not bad, f"{len(bad)} of {count}\n" + "\n".join(bad[:5])
