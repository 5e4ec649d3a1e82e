import numpy as np
import pytest
from typer.testing import CliRunner

from penchant.cli import app


@pytest.fixture
def blank_pages(monkeypatch):
    """Reports without figures, which take seconds to draw."""
    monkeypatch.setattr(
        "penchant.diagnosis.linear._diagnosis.render", lambda d, *rest: d.headline
    )


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Commands run in a folder of their own."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(here):
    """`run("predict", "data.csv")`: what the command line did, never a traceback."""

    def invoke(*arguments):
        told = CliRunner().invoke(
            app, [str(a) for a in arguments], env={"COLUMNS": "200", "TERM": "dumb"}
        )
        if told.exception is not None and not isinstance(told.exception, SystemExit):
            raise told.exception
        assert "Traceback" not in told.output
        return told

    return invoke


def table(path, n=8, d=12, seed=0, noise=False):
    """A CSV file of random features, separable unless the labels are noise."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d))
    y = rng.random(n) < 0.5 if noise else X[:, 0] > 0
    lines = [",".join([*(f"x{j}" for j in range(d)), "label"])]
    lines += [
        ",".join([*map(repr, row), "yes" if label else "no"])
        for row, label in zip(X.tolist(), y, strict=True)
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path.name
