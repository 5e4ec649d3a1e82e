"""Sweeps handed to others: a real Ray cluster of this machine, and a stranger's."""

import functools
import itertools
import json
import os
import pickle
import signal
import subprocess
import sys
import warnings

import equinox as eqx
import jax
import numpy as np
import pytest

import penchant as pn
from penchant.training import _lanes, _sweep
from penchant.training._lanes import Vectorised
from tests.cases import binary
from tests.training.test_sweep import ADAM, POWER, Counted, assert_same, small

Here = pn.executors.Here
GRID = {"b2": np.linspace(0.5, 0.99, 5), "step_size": np.geomspace(1e-3, 0.3, 8)}
FOUND = {"grid": GRID, "steps": 150, "record": 5}


class Backwards(pn.executors.AbstractExecutor):
    """A stranger's: takes four tasks, pickles them as a cluster would, last one first.

    `fails` maps the number of a call to what is raised in its place.
    """

    def __init__(self, fails=None):
        self.fails, self.calls, self.most = fails or {}, 0, 0

    @property
    def threads(self):
        return 1

    def run(self, function, shared, tasks):
        function, shared = pickle.loads(pickle.dumps((function, shared)))
        tasks = iter(tasks)
        while batch := [t for _, t in zip(range(4), tasks, strict=False)]:
            self.most = max(self.most, len(batch))
            for task in reversed(batch):
                self.calls += 1
                if self.calls in self.fails:
                    raise self.fails[self.calls]
                yield task, pickle.loads(pickle.dumps(function(shared, task)))


@pytest.fixture(scope="module")
def cluster():
    """A Ray of two workers on the loopback."""
    ray = pytest.importorskip("ray")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Ray's own
        ray.init(
            num_cpus=2,
            include_dashboard=False,
            log_to_driver=False,
            logging_level="error",
            object_store_memory=100_000_000,
            _node_ip_address="127.0.0.1",
        )
    yield ray
    ray.shutdown()


@pytest.fixture(scope="module")
def whole():
    return small(**FOUND)


def test_groups_are_cut_by_the_sweep_alone():
    assert [_lanes.group_size(n) for n in (1, 7, 8, 40, 64, 200, 512, 10**6)] == [
        1, 7, 8, 8, 8, 25, 64, 64,
    ]  # fmt: skip


def test_any_executor_gives_the_same_bits(whole, tmp_path):
    assert_same(small(**FOUND, executor=Here()), whole)
    backwards = Backwards()
    assert_same(small(**FOUND, executor=backwards), whole)
    assert backwards.most == 4
    stored = small(**FOUND, executor=Backwards(), save=tmp_path / "runs.zarr")
    assert_same(stored, whole)


@pytest.mark.parametrize("boxes", [3, 16])
def test_several_boxes_are_whole_each(boxes, whole, tmp_path, monkeypatch):
    monkeypatch.setattr("penchant.training._grid.MOST_LANES", boxes)
    assert_same(small(**FOUND, executor=Backwards()), whole)
    assert_same(
        small(**FOUND, executor=Backwards(), save=tmp_path / "runs.zarr"), whole
    )


def test_a_lane_has_the_bits_of_its_run_alone_at_any_number_of_lanes():
    def lane(count):
        grid = {"b2": np.linspace(0.5, 0.99, count), "seed": [3]}
        runs = pn.sweep(
            binary(0), ADAM, grid=grid, steps=300, step_size=POWER, record=4,
            batching=pn.batching.Shuffled(1),
        )  # fmt: skip
        return runs.isel(b2=0, seed=0).weights.to_numpy()

    run = pn.train(
        binary(0), pn.optimizers.Adam(0.9, 0.5, 0.0), steps=300, step_size=POWER,
        record=4, batching=pn.batching.Shuffled(1), key=3,
    )  # fmt: skip
    for count in (1, 5, 64, 600):
        assert np.array_equal(lane(count), run.weights), count


@pytest.mark.parametrize("second", [None, Here(), Backwards()])
def test_what_an_executor_left_anybody_finishes(second, whole, tmp_path, monkeypatch):
    monkeypatch.setattr("penchant.training._grid.MOST_LANES", 24)
    path = tmp_path / "runs.zarr"
    with pytest.raises(KeyboardInterrupt):
        small(**FOUND, save=path, executor=Backwards({4: KeyboardInterrupt()}))
    made = []
    original = Vectorised.start
    monkeypatch.setattr(
        Vectorised, "start", lambda call: made.append(call.count) or original(call)
    )
    assert_same(small(**FOUND, save=path, executor=second), whole)
    assert sum(made) == 40 - 3 * 8  # three groups were kept


def test_what_began_here_an_executor_finishes(whole, tmp_path, monkeypatch):
    monkeypatch.setattr("penchant.training._grid.MOST_LANES", 24)
    monkeypatch.setattr(_sweep, "SAVE_SECONDS", 0.0)
    path = tmp_path / "runs.zarr"
    with monkeypatch.context() as patch:
        before = Counted(patch, 6)
        with pytest.raises(KeyboardInterrupt):
            small(**FOUND, save=path)
    assert before.steps > 0
    after = Counted(monkeypatch)
    assert_same(small(**FOUND, save=path, executor=Backwards()), whole)
    assert after.starts[0] == before.steps  # the box went on from its last step


def test_a_task_that_fails_for_good_loses_nothing(whole, tmp_path):
    path = tmp_path / "runs.zarr"
    failing = Backwards({4: RuntimeError("lanes 0 to 7 failed")})
    with pytest.raises(RuntimeError, match="the same call goes on from there"):
        small(**FOUND, save=path, executor=failing)
    assert_same(small(**FOUND, save=path), whole)


def test_urls_of_object_stores(whole):
    pytest.importorskip("fsspec")
    url = "memory://bucket/runs.zarr"
    with pytest.raises(KeyboardInterrupt):
        small(**FOUND, save=url, executor=Backwards({3: KeyboardInterrupt()}))
    assert_same(small(**FOUND, save=url), whole)
    assert_same(small(**FOUND, save=url), whole)  # read
    with pytest.raises(ValueError, match="holds another sweep: its steps differ"):
        small(**{**FOUND, "steps": 90}, save=url)
    with pytest.raises(ValueError, match="save: nowhere://x can't be reached"):
        small(save="nowhere://x")


def test_a_comparison_is_the_same_wherever_its_runs_are_made(tmp_path):
    given = {"steps": 120, "record": 5, "seeds": 2, "batch_size": 2, "norms": ["l2"]}
    here = pn.compare(binary(0), "adam,gd", **given)
    elsewhere = pn.compare(
        binary(0), "adam,gd", **given, executor=Backwards(), folder=tmp_path / "out"
    )
    assert without_times(elsewhere) == without_times(here)
    assert (tmp_path / "out" / "comparison.html").exists()


def without_times(comparison):
    told = comparison.to_dict()
    for rule in told["rules"]:
        assert len(rule.pop("seconds")) == len(rule["seeds"])
    return json.dumps(told)


def test_a_study_is_the_same_wherever_its_figures_are_made(tmp_path):
    figure = pn.studies.Figure
    line = pn.studies.Line.near("a number", expected=2.0, within=0.1, measured=2.0)
    draws = {
        name: pn.studies.Experiment(functools.partial(drawn, name, line))
        for name in ("one", "two", "three")
    }
    study = pn.studies.Study("own", (), "Own", "one of a test", draws)
    begun = []
    found = study.run(executor=Backwards(), out=tmp_path, report=begun.append)
    assert begun == list(draws)
    assert list(found.parts) == list(draws)
    assert isinstance(found.parts["two"], figure)
    assert found.to_dict() == study.run().to_dict()


def drawn(name, line, preset, seed):
    return pn.studies.Figure((line,), title=name)


def listed(shared, cells):
    return shared[cells.rows]


@pytest.mark.parametrize(("cells", "size"), [(0, 3), (1, 3), (3, 3), (10, 4), (7, 1)])
def test_boxes_hold_every_cell_once_and_in_order(cells, size):
    for executor in (None, Backwards()):
        found = pn.executors.in_boxes(
            executor, listed, list(range(cells)), cells=cells, size=size
        )
        assert list(itertools.chain(*found)) == list(range(cells))
        assert len(found) == -(-cells // size)
        assert all(1 <= len(box) <= size for box in found)


GAPS, AMPLITUDES, P, Q = [1e-2, 1e-3], [0.0, 0.3, 1.0], [1.3, 1.9, 2.3], [0.2, 0.5]


def diagrams(executor):
    """Every grid of predictions that an executor can be given."""
    mean = np.eye(12)[0]
    mixtures = [pn.datasets.Mixture(g * mean, np.arange(1.0, 13.0), 0.1)
                for g in (1.0, 2.0, 3.0)]  # fmt: skip
    phases = pn.theory.state_space.phase_diagram(
        GAPS, AMPLITUDES, a0=[0.1, 0.05], executor=executor
    )
    plane = pn.theory.risk.risk_diagram(30, P, Q, executor=executor)
    risks = pn.theory.risk.mixture_risks(mixtures, 8, executor=executor)
    return phases, plane, risks


def assert_same_diagrams(found, whole):
    for mine, other in zip(found, whole, strict=True):
        for a, b in zip(jax.tree.leaves(mine), jax.tree.leaves(other), strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.fixture
def small_boxes(monkeypatch):
    from penchant.flows.state_space import _grid
    from penchant.theory.risk import _mixture_risk

    monkeypatch.setattr(_grid, "BATCH", 2)
    monkeypatch.setattr(_mixture_risk, "BOX", 2)


@pytest.mark.usefixtures("small_boxes")
def test_a_diagram_is_the_same_wherever_its_cells_are_computed():
    elsewhere = Backwards()
    assert_same_diagrams(diagrams(elsewhere), diagrams(None))
    assert elsewhere.calls == 2 + 3 + 2  # 4 cells of amplitude > 0, 6 and 3, by twos


@pytest.mark.slow
@pytest.mark.usefixtures("cluster", "small_boxes")
def test_a_diagram_of_a_cluster_has_the_same_bits():
    assert_same_diagrams(diagrams(pn.executors.Ray()), diagrams(None))


@pytest.mark.slow
def test_a_cluster_gives_the_same_bits(cluster, whole):
    assert_same(small(**FOUND, executor=pn.executors.Ray()), whole)


class Poisoned(pn.optimizers.Adam):
    """Adam, but that the first worker it starts in is killed, or told to fail."""

    how: str = eqx.field(static=True, default="kill")
    mark: str = eqx.field(static=True, default="")
    driver: int = eqx.field(static=True, default=0)

    def init(self, w):
        if os.getpid() != self.driver and not os.path.exists(self.mark):
            if self.how != "raise always":
                with open(self.mark, "w"):
                    pass
            if self.how == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            raise ZeroDivisionError("poisoned")
        return super().init(w)


def poisoned(how, tmp_path):
    return Poisoned(
        0.9, 0.95, 0.0, how=how, mark=f"{tmp_path}/mark", driver=os.getpid()
    )


@pytest.mark.parametrize("how", ["kill", pytest.param("raise", marks=pytest.mark.slow)])
def test_a_task_lost_with_its_worker_is_made_again(how, cluster, whole, tmp_path):
    rule = poisoned(how, tmp_path)
    with pytest.warns(RuntimeWarning, match=r"is tried again \(1 of 3\)"):
        runs = small(
            **{**FOUND, "optimizer": rule}, executor=pn.executors.Ray(),
            save=tmp_path / "runs.zarr",
        )  # fmt: skip
    assert os.path.exists(rule.mark)
    assert_same(runs, whole)


@pytest.mark.slow
def test_a_task_that_always_raises_is_given_up(cluster, tmp_path):
    given = {**FOUND, "optimizer": poisoned("raise always", tmp_path)}
    words = "failed 2 times on the cluster: ZeroDivisionError: poisoned"
    with (
        pytest.warns(RuntimeWarning, match="tried again"),
        pytest.raises(RuntimeError, match=words),
    ):
        small(**given, executor=pn.executors.Ray(retries=1))


DRIVER = """
import sys, penchant as pn
from penchant.training import _sweep
from tests.training.test_executors import FOUND, small

_sweep.SAVE_SECONDS = _sweep.TASK_SECONDS = 0.0
received = _sweep._Job._received
def told(job, part, result):
    received(job, part, result)
    if len(job.parts) == 2:
        print("two", flush=True)
        __import__("time").sleep(600)
_sweep._Job._received = told
small(**FOUND, save=sys.argv[1], executor=pn.executors.Ray())
"""


@pytest.mark.slow
def test_a_driver_that_is_killed_loses_no_task(whole, tmp_path, monkeypatch):
    pytest.importorskip("ray")
    path = tmp_path / "runs.zarr"
    child = subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(path)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert child.stdout.readline() == "two\n"
        child.kill()
        child.communicate(timeout=60)
    finally:
        child.kill()
    made = []
    original = Vectorised.start
    monkeypatch.setattr(
        Vectorised, "start", lambda call: made.append(call.count) or original(call)
    )
    assert_same(small(**FOUND, save=path), whole)
    assert sum(made) == 40 - 2 * 8


LEAVES = """
import sys, penchant as pn
from ray.cluster_utils import Cluster
from penchant.training import _sweep
from tests.training.test_executors import FOUND, small

_sweep.TASK_SECONDS = 0.0
nodes = {"num_cpus": 1, "object_store_memory": 100_000_000}
cluster = Cluster(initialize_head=True, head_node_args=nodes)
second = cluster.add_node(**nodes)
received = _sweep._Job._received
def told(job, part, result):
    received(job, part, result)
    if len(job.parts) == 2 and len(cluster.list_all_nodes()) == 2:
        cluster.remove_node(second, allow_graceful=False)
        print("left", flush=True)
_sweep._Job._received = told
with pn.executors.Ray(cluster.address) as ray:
    small(**FOUND, save=sys.argv[1], executor=ray)
print(len(cluster.list_all_nodes()), "node", flush=True)
cluster.shutdown()
"""


@pytest.mark.slow
def test_a_node_that_leaves_takes_no_run_with_it(whole, tmp_path, monkeypatch):
    pytest.importorskip("ray")
    path = tmp_path / "runs.zarr"
    told = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", LEAVES, str(path)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    lines = told.stdout.split("\n")  # some are Ray's own, of the node that is gone
    assert "left" in lines, told.stderr[-2000:]
    assert "1 node" in lines, told.stderr[-2000:]
    monkeypatch.setattr(Vectorised, "start", None)  # nothing is left to be made
    assert_same(small(**FOUND, save=path), whole)


@pytest.mark.parametrize(
    ("kwargs", "error", "words"),
    [
        ({"resources": {"CPU": -1}}, ValueError, "not negative; got 'CPU': -1"),
        ({"retries": -1}, ValueError, "retries"),
    ],
)
def test_bad_executors_are_refused(kwargs, error, words):
    with pytest.raises(error, match=words):
        pn.executors.Ray(**kwargs)


def test_workers_of_another_version_are_refused(whole):
    from penchant.training.executors import _called

    with pytest.raises(RuntimeError, match=r"the worker has jax .*, the driver 0\.0"):
        _called((len, None, {"penchant": pn.__version__, "jax": "0.0"}), None)
