"""Does every rule separate the data within a run at its defaults, and how fast?

`python -m benchmarks.defaults [--mnist IMAGES]` prints a table in Markdown: for every
data set and rule the steps of the default run, the record at which all samples are
right for good, the norm of which the run has the largest share, and the CPU seconds.
"""

import argparse
import csv
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.datasets import load_iris, load_wine

import penchant as pn

RULES: dict[str, tuple[Any, Any]] = {
    "gd": ("gd", pn.batching.FullBatch()),
    "momentum": (pn.optimizers.GradientDescent(0.9), pn.batching.FullBatch()),
    "sgd": ("gd", pn.batching.Shuffled(32)),
    **{
        name: (name, pn.batching.FullBatch())
        for name in (
            "sign",
            "signum",
            "adam",
            "adamw",
            "rmsprop",
            "adagrad",
            "lion",
            "muon",
            "shampoo",
        )
    },
}
"""Each rule as `diagnose` takes it, and its batches."""


def tables(folder: Path) -> Iterator[tuple[str, Path, dict[str, Any]]]:
    """CSV files as users have them: raw columns, names of classes; and how to read."""
    rng = np.random.default_rng(1)
    wine, iris = load_wine(), load_iris()
    for name, bunch in (("wine", wine), ("iris", iris)):
        names = np.asarray(bunch.target_names)[bunch.target]
        _write(folder / f"{name}.csv", bunch.data, names)
    wide = rng.normal(size=(60, 100)).round(3)
    labels = np.where(wide[:, 0] + wide[:, 1] > 0, "spam", "ham")
    _write(folder / "wide.csv", wide, labels)
    centres, k = 3 * rng.normal(size=(4, 20)), rng.integers(0, 4, 150)
    X = (centres[k] + rng.normal(size=(150, 20))).round(3)
    _write(folder / "several.csv", X, np.array(["ant", "bee", "cat", "dog"])[k])
    plane = rng.normal(size=(80, 2)) + np.where(np.arange(80) % 2, 2.5, -2.5)[:, None]
    away = np.abs(plane.sum(axis=1)) > 1
    side = np.where(plane.sum(axis=1) > 0, "yes", "no")
    _write(folder / "plane.csv", plane[away].round(3), side[away])
    two = {"classes": ["setosa", "virginica"]}
    yield "iris, two kinds", folder / "iris.csv", two
    yield "iris", folder / "iris.csv", {}
    yield "wine", folder / "wine.csv", {}
    for name in ("wide", "several", "plane"):
        yield name, folder / f"{name}.csv", {}


def _write(path: Path, X: np.ndarray, labels: np.ndarray) -> None:
    with path.open("w", newline="") as file:
        lines = csv.writer(file)
        lines.writerow([*(f"x{j}" for j in range(X.shape[1])), "label"])
        lines.writerows([*row, label] for row, label in zip(X, labels, strict=True))


def problems(folder: Path, mnist: str | None) -> Iterator[tuple[str, Any]]:
    """Every data set by name."""
    yield "digits", pn.datasets.digits().problem()
    yield "digits 3, 8", pn.datasets.digits(("3", "8")).problem()
    if mnist is not None:
        yield "MNIST 3, 8", pn.datasets.load(mnist, classes=["3", "8"]).problem()
    for name, path, how in tables(folder):
        data = pn.datasets.load(str(path), **how)
        yield name, data.problem()
        if name in ("wine",):
            yield f"{name}, standardised", data.standardized().problem()


def separated(run: pn.Trajectory) -> int | None:
    """The first record from which on no sample is wrong; None if some is at the end."""
    least = np.asarray(run.margins).min(axis=1)
    wrong = np.flatnonzero(least <= 0)
    if wrong.size == 0:
        return int(run.steps[0])
    after = int(wrong[-1]) + 1
    return None if after == len(least) else int(run.steps[after])


def main() -> None:
    """Run all of them, or those named."""
    reader = argparse.ArgumentParser(description=__doc__)
    reader.add_argument("--mnist", help="MNIST images, with the labels beside them")
    reader.add_argument("--data", help="names of data sets, between semicolons")
    reader.add_argument("--rules", help="rules, between commas")
    given = reader.parse_args()
    wanted = None if given.data is None else given.data.split(";")
    rules = list(RULES) if given.rules is None else given.rules.split(",")
    print("| data | rule | steps | separated at | winner | share | CPU s |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for name, problem in problems(Path(folder), given.mnist):
            for rule in rules:
                if wanted is None or name in wanted:
                    print(_line(name, rule, problem), flush=True)


def _line(name: str, rule: str, problem: Any) -> str:
    optimizer, batching = RULES[rule]
    begun = time.process_time()
    says: Any = pn.diagnose(problem, optimizer, batching=batching, progress=False)
    seconds = time.process_time() - begun
    at = separated(says.trajectory)
    steps = int(says.trajectory.steps[-1])
    winner = "none" if says.winner is None else says.winner.label
    shares = [row.ratio for row in says.table if at is not None]
    share = f"{100 * max(shares):.1f} %" if shares else "–"
    told = "no: not separable" if says.separable is False else "no"
    told = told if at is None else f"{at:,}"
    return (
        f"| {name} | {rule} | {steps:,} | {told} | {winner} | {share} | {seconds:.0f} |"
    )


if __name__ == "__main__":
    main()
