"""Limits of state space models against the official recipe's cost for a step."""

import time

import numpy as np

import penchant as pn
from penchant.studies.ssm_poisoning._beyond import BEYOND
from penchant.studies.ssm_poisoning._setup import SMALL, Adaptive


def main() -> None:
    """Print seconds of each limit, and of a step of the official rule, compiled."""
    a = SMALL.poles(242)
    rows = [("baseline limit, exact", _best(lambda: pn.ssm.baseline_limit(a, 7)))]
    poisoned = SMALL.problem(a, 1.0)
    rows.append(("poisoned limit, ROS2 twice", _best(lambda: pn.ssm.flow(poisoned))))
    problem = BEYOND[6].problem(200, 0, True)
    rows.append(("limit of A, B, C, κ = 6", _best(lambda: pn.ssm.flow(problem))))
    large = BEYOND[10].problem(1200, 0, True)
    rows.append(("limit of A, B, C, κ = 10", _best(lambda: pn.ssm.flow(large))))
    rule = Adaptive(problem)
    train = lambda: pn.train(
        problem, rule, steps=20_000, step_size=0.01, progress=False
    )
    rows.append(("official rule, a step", _best(train) / 20_000))
    grid = np.geomspace(1e-14, 1e-4, 100), np.geomspace(1e-9, 10.0, 100)
    start = time.perf_counter()
    pn.theory.state_space.phase_diagram(*grid, a0=a, length=7)
    rows.append(("phase diagram, 100 × 100", time.perf_counter() - start))
    for name, seconds in rows:
        print(f"{name:<32}{seconds:.3g} s")


def _best(run, times: int = 3) -> float:
    """The least of a few runs; the first one compiles."""
    run()
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


if __name__ == "__main__":
    main()
