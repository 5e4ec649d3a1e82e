import importlib.util

import numpy as np
import pytest
from typer.testing import CliRunner


def _application():
    """The application, not rewritten by the type checker of the tests.

    Typer passes a context of another class than the one it wants to be annotated.
    """
    origin = importlib.util.find_spec("penchant.cli").origin
    spec = importlib.util.spec_from_file_location("cli_as_it_is", origin)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.app


app = _application()


@pytest.fixture
def blank_pages(monkeypatch):
    """Reports without figures, which take seconds to draw."""
    monkeypatch.setattr("penchant.diagnosis._report.render", lambda d: d.headline)


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
