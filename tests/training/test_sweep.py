"""Lanes of a sweep against runs of their own, and stores that outlive their process."""

import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import xarray

import penchant as pn
from penchant.training import _lanes, _sweep, _train
from tests.cases import binary, multiclass

ADAM = pn.optimizers.Adam(0.9, 0.95, 0.0)
POWER = pn.schedules.power(0.1, 0.5)


def small(**kwargs):
    """A sweep over 2 x 3 lanes."""
    given = {
        "optimizer": ADAM,
        "grid": {"b2": [0.9, 0.99], "step_size": [0.01, 0.1, 0.3]},
        "steps": 400,
        "step_size": POWER,
        "record": 6,
        **kwargs,
    }
    return pn.sweep(binary(0), **given)


def alone(problem, optimizer, steps_of, **kwargs):
    """The run of one lane at the steps of a sweep."""
    steps = steps_of.step.to_numpy()
    run = pn.train(
        problem, optimizer, steps=int(steps[-1]), record=len(steps), **kwargs
    )
    assert np.array_equal(run.steps, steps)
    return run


def assert_lane(lane, run):
    assert np.allclose(lane.weights, run.weights, rtol=1e-12, atol=1e-12)
    assert np.allclose(lane.log_loss, run.log_loss, rtol=1e-12, atol=1e-12)
    least = np.min(np.asarray(run.margins), axis=1)
    assert np.allclose(lane.margin, least, rtol=1e-12, atol=1e-12)


def test_dims_coordinates_and_attributes():
    runs = small()
    assert runs.log_loss.dims == ("b2", "step_size", "step")
    assert runs.margin.dims == ("b2", "step_size", "step")
    assert runs.weights.dims == ("b2", "step_size", "step", "feature")
    assert runs.b2.values.tolist() == [0.9, 0.99]
    assert runs.step_size.values.tolist() == [0.01, 0.1, 0.3]
    assert {1, 200, 400} <= set(runs.step.values.tolist())
    assert runs.attrs["optimizer"] == repr(ADAM)
    assert runs.attrs["batching"] == "FullBatch()"
    assert runs.attrs["steps"] == 400
    assert not any(np.isnan(v).any() for v in runs.values())
    assert "weights" not in small(weights=False)


def test_lanes_are_runs_of_their_own():
    runs = small()
    for b2 in (0.9, 0.99):
        for scale in (0.01, 0.1, 0.3):
            run = alone(
                binary(0),
                pn.optimizers.Adam(0.9, b2, 0.0),
                runs,
                step_size=pn.schedules.power(scale, 0.5),
            )
            assert_lane(runs.sel(b2=b2, step_size=scale), run)


def test_seeds_and_initial_weights():
    problem, batching = binary(0), pn.batching.WithReplacement(2)
    rule = pn.optimizers.GradientDescent()
    starts = [np.zeros(12), np.linspace(-1, 1, 12)]
    grid = {"seed": [0, 5], "init": starts}
    how = {"step_size": pn.schedules.power(0.01, 0.5), "batching": batching}
    runs = small(optimizer=rule, grid=grid, steps=100, record=4, **how)
    assert runs.init.values.tolist() == [0, 1]  # arrays are labelled by position
    for seed in (0, 5):
        for i, init in enumerate(starts):
            run = alone(problem, rule, runs, init=init, key=seed, **how)
            assert_lane(runs.sel(seed=seed, init=i), run)
    assert not np.allclose(runs.weights.sel(seed=0), runs.weights.sel(seed=5))


def test_power_laws_and_several_classes():
    problem = multiclass(0, k=3, d=4, n=12)
    rule = pn.optimizers.SignDescent()
    laws = [pn.schedules.power(0.1, 0.5), pn.schedules.power(0.3, 0.8, offset=1)]
    runs = pn.sweep(problem, rule, grid={"step_size": laws}, steps=60, record=4)
    assert runs.weights.dims == ("step_size", "step", "class", "feature")
    for i, law in enumerate(laws):
        run = alone(problem, rule, runs, step_size=law)
        assert_lane(runs.isel(step_size=i), run)


def test_exponents():
    runs = small(grid={"exponent": [0.5, 0.8]}, steps=60)
    run = alone(binary(0), ADAM, runs, step_size=pn.schedules.power(0.1, 0.8))
    assert_lane(runs.sel(exponent=0.8), run)


def test_a_rule_without_memory_within_a_grid_of_memories():
    # momentum 0 typed alone compiles without a memory; in a grid it has one of decay 0
    rule = pn.optimizers.GradientDescent()
    runs = small(optimizer=rule, grid={"momentum": [0.0, 0.9]}, steps=100)
    for momentum in (0.0, 0.9):
        rule = pn.optimizers.GradientDescent(momentum)
        run = alone(binary(0), rule, runs, step_size=POWER)
        assert_lane(runs.sel(momentum=momentum), run)


def test_lanes_dealt_to_threads_and_boxes_are_the_same(monkeypatch):
    grid = {"step_size": np.geomspace(1e-3, 0.3, 4), "b2": np.linspace(0.5, 0.99, 4)}
    whole = small(grid=grid, steps=100)
    with monkeypatch.context() as patch:
        patch.setattr(_lanes, "GROUPS", 1)  # all on one thread
        assert_same(small(grid=grid, steps=100), whole, rtol=1e-12)
    monkeypatch.setattr("penchant.training._grid.MOST_LANES", 8)  # two rows at a time
    assert_same(small(grid=grid, steps=100), whole, rtol=1e-12)


def test_a_lane_that_diverges_leaves_the_others_alone():
    rule = pn.optimizers.GradientDescent()
    runs = small(optimizer=rule, grid={"step_size": [0.1, 1e4]}, steps=50)
    assert not np.isfinite(runs.weights.sel(step_size=1e4)[-1]).any()
    run = alone(binary(0), rule, runs, step_size=POWER)
    assert_lane(runs.sel(step_size=0.1), run)


def assert_same(a, b, rtol=0.0):
    """Two data sets with the same labels, and values bit for bit unless `rtol`."""
    assert set(a.variables) == set(b.variables)
    for name in b.variables:
        assert a[name].dims == b[name].dims
        assert np.allclose(a[name], b[name], rtol=rtol, atol=rtol, equal_nan=True), name


def test_a_store_holds_what_memory_does(tmp_path):
    kept, stored = small(), small(save=tmp_path / "runs.zarr")
    assert_same(stored, kept)
    assert stored.attrs == kept.attrs
    with xarray.open_zarr(tmp_path / "runs.zarr", consolidated=False) as opened:
        assert_same(opened, kept)


class Counted:
    """The steps that calls of the compiled loop made; Ctrl-C after `calls` of them."""

    def __init__(self, monkeypatch, calls=None):
        self.starts, self.steps = [], 0
        original = _train.Runner.__call__

        def call(runner, state, until):
            if len(self.starts) == calls:
                raise KeyboardInterrupt
            self.starts.append(int(state.step))
            state, log_loss = original(runner, state, until)
            self.steps += int(state.step) - self.starts[-1]
            return state, log_loss

        monkeypatch.setattr(_train.Runner, "__call__", call)


@pytest.mark.sampled
@pytest.mark.parametrize(
    ("calls", "boxes"), [(0, False), (5, False), (9, False), (4, True), (16, True)]
)
def test_an_interrupted_sweep_goes_on_bit_by_bit(calls, boxes, tmp_path, monkeypatch):
    if boxes:  # two boxes, a row of the grid each
        monkeypatch.setattr("penchant.training._grid.MOST_LANES", 3)
    whole = small()
    monkeypatch.setattr(_sweep, "SAVE_SECONDS", 0.0)  # save after every call
    with monkeypatch.context() as patch:
        before = Counted(patch, calls)
        with pytest.raises(KeyboardInterrupt):
            small(save=tmp_path / "runs.zarr")
    with monkeypatch.context() as patch:
        after = Counted(patch)
        resumed = small(save=tmp_path / "runs.zarr")
    assert_same(resumed, whole)
    # no step was made twice
    assert before.steps + after.steps == 400 * (2 if boxes else 1)
    assert before.steps > 0 or calls == 0


def test_a_finished_store_is_read_and_not_run(tmp_path, monkeypatch):
    first = small(save=tmp_path / "runs.zarr").load()
    counted = Counted(monkeypatch)
    assert_same(small(save=tmp_path / "runs.zarr"), first)
    assert counted.starts == []


def test_records_lost_between_checkpoint_and_store_are_written_again(
    tmp_path, monkeypatch
):
    # a crash after the checkpoint was replaced, before its records reached the store
    from penchant.training._store import ZarrStore

    whole = small()
    monkeypatch.setattr(_sweep, "SAVE_SECONDS", 0.0)
    original, writes = ZarrStore.write, []

    def write(store, box, first, records):
        writes.append(first)
        if len(writes) == 8:
            raise KeyboardInterrupt
        original(store, box, first, records)

    with monkeypatch.context() as patch:
        patch.setattr(ZarrStore, "write", write)
        with pytest.raises(KeyboardInterrupt):
            small(save=tmp_path / "runs.zarr")
    assert_same(small(save=tmp_path / "runs.zarr"), whole)


KILLED = """
import sys, time, penchant as pn
from penchant.training import _lanes, _sweep, _train
from tests.cases import binary

_sweep.SAVE_SECONDS = 0.0
class Slow(_train.Runner):
    calls = 0
    def __call__(self, state, until):
        out = super().__call__(state, until)
        self.calls += 1
        if self.calls == 8:
            print("half way", flush=True)
            time.sleep(600)
        return out

_sweep.Runner = Slow
pn.sweep(
    binary(0), pn.optimizers.Adam(0.9, 0.95, 0.0),
    grid={"b2": [0.9, 0.99], "step_size": [0.01, 0.1, 0.3]},
    steps=400, step_size=pn.schedules.power(0.1, 0.5), record=6, save=sys.argv[1],
)
"""


@pytest.mark.slow
def test_a_killed_sweep_goes_on_bit_by_bit(tmp_path, monkeypatch):
    path = tmp_path / "runs.zarr"
    child = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(path)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert child.stdout.readline() == "half way\n", child.stderr.read()
        os.kill(child.pid, signal.SIGKILL)
        child.communicate(timeout=60)
    finally:
        child.kill()
    assert child.returncode == -signal.SIGKILL
    counted = Counted(monkeypatch)
    resumed = small(save=path)
    assert 0 < counted.starts[0] < 400  # it went on from there
    assert counted.steps == 400 - counted.starts[0]
    assert_same(resumed, small())


def test_the_store_of_another_sweep_is_refused(tmp_path):
    path = tmp_path / "runs.zarr"
    small(save=path, steps=5, record=2)
    others = {
        "optimizer": {"optimizer": pn.optimizers.Adam(0.8, 0.95, 0.0)},
        "grid": {"grid": {"b2": [0.9, 0.99], "step_size": [0.01, 0.1, 0.31]}},
        "steps": {"steps": 6},
        "batching": {"batching": pn.batching.Cyclic(2)},
        "step_size": {"step_size": pn.schedules.power(0.1, 0.6)},
        "key": {"key": 1},
        "init": {"init": np.ones(12)},
        "weights": {"weights": False},
    }
    for part, changed in others.items():
        with pytest.raises(ValueError, match=f"another sweep: its {part} differs"):
            small(**{"save": path, "steps": 5, "record": 2, **changed})
    with pytest.raises(ValueError, match="another sweep: its problem differs"):
        pn.sweep(binary(1), ADAM, grid={"b2": [0.9]}, steps=5, step_size=1.0, save=path)
    small(save=path, steps=5, record=2)


def test_a_folder_with_something_else_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="holds no unfinished sweep"):
        small(save=tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_damaged_checkpoint_is_named(tmp_path):
    path = tmp_path / "runs.zarr"
    small(save=path, steps=5, record=2)
    (tmp_path / "runs.zarr.checkpoint.npz").write_bytes(b"")
    with pytest.raises(ValueError, match=r"checkpoint.npz is no readable checkpoint"):
        small(save=path, steps=5, record=2)


@pytest.mark.parametrize(
    ("kwargs", "error", "words"),
    [
        ({"grid": {}}, ValueError, "grid is empty"),
        (
            {"grid": {"b3": [0.9]}},
            ValueError,
            "have: b1, b2, eps, exponent, init, offset, seed, step_size",
        ),
        ({"grid": {"eps_inside": [True]}}, ValueError, "can't vary 'eps_inside'; have"),
        ({"grid": {"b2": []}}, ValueError, r"grid\['b2'\] has no values"),
        ({"grid": {"b2": [0.9, 1.0]}}, ValueError, r"b2 must be >= 0 and < 1; got .*1"),
        ({"grid": {"step_size": [0.1, -1.0]}}, ValueError, "must be > 0; got .*-1"),
        ({"grid": {"init": [np.ones(3)]}}, ValueError, r"\(12,\); got \(3,\)"),
        ({"grid": {"b2": 0.9}}, TypeError, "grid"),  # the type checker is first
        ({"grid": {"b2": "abc"}}, TypeError, "sequence; got 'abc'"),
        ({"grid": {"b2": ["large"]}}, TypeError, r"\['b2'\] must hold numbers"),
        ({"grid": {"seed": [0.5]}}, TypeError, "whole numbers; got 0.5"),
        ({"grid": {"step_size": [0.1, POWER]}}, TypeError, "must hold numbers"),
        ({"step_size": None, "grid": {"b2": [0.9]}}, ValueError, "Give step_size"),
        ({"steps": 0}, ValueError, "steps must be at least 1"),
    ],
)
def test_errors_at_the_door(kwargs, error, words):
    with pytest.raises(error, match=words):
        small(**kwargs)
