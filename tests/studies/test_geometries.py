"""Popular rules as black boxes, and whether their runs agree."""

import pytest

from penchant.studies import geometries
from penchant.studies.geometries import _foretold, _table
from tests.cases import labelled, missed


def test_a_tiny_table():
    figure = geometries.table(_table.Sizes(("sign SGD", "Lion"), (6, 4)))
    assert missed(figure) == []
    assert [line.what for line in figure.lines][1:] == [
        "Lion: b1",
        "Lion: mix",
        "Lion: decay",
    ]
    assert "memory 100 steps" in figure.lines[1].certificate


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_runs_agree_with_what_was_identified(seed):
    figure = geometries.foretold(_foretold.SIZES.quick, seed)
    assert missed(figure) == []
    assert len(figure.pictures) == 3
    assert "spectral" in labelled(next(iter(figure.pictures.values())))


@pytest.mark.slow
def test_the_whole_table():
    assert missed(geometries.table(_table.SIZES.full)) == []
