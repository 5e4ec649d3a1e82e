"""The compiled loop against loops one can read, and everything that can end a run."""

import signal
import subprocess
import sys
import time
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import penchant as pn
from penchant.training import Outcome, _loop, _train
from penchant.training._trajectory import record_steps
from tests.cases import binary, multiclass, same

RULE = pn.optimizers.Adam(0.9, 0.95, 0.0)
SIGN = pn.optimizers.SignDescent()
POWER = pn.schedules.power(0.1, 0.5)
BATCHINGS = {
    "full": pn.batching.FullBatch(),
    "cyclic, short last batch": pn.batching.Cyclic(3),
    "shuffled, short last batch": pn.batching.Shuffled(3),
    "with replacement": pn.batching.WithReplacement(2),
}
every_batching = pytest.mark.parametrize("case", BATCHINGS, ids=str)


def batches_of(batching, n, steps, seed):
    """The rows of each step, padding left out."""
    if isinstance(batching, pn.batching.FullBatch):
        return [np.arange(n)] * steps
    draw = jax.jit(batching.batches, static_argnums=(2, 3))
    table = draw(jax.random.key(seed), jnp.asarray(0), steps, n)
    rows = np.asarray(table.rows)
    if table.weights is None:
        return list(rows)
    return [r[w > 0] for r, w in zip(rows, np.asarray(table.weights), strict=True)]


@pytest.mark.sampled
@every_batching
def test_is_the_loop_that_one_would_write(case):
    problem = binary(0, n=8)
    X = np.asarray(problem.X) * np.asarray(problem.y)[:, None]
    run = pn.train(
        problem,
        pn.optimizers.GradientDescent(),
        steps=300,
        step_size=pn.schedules.power(0.02, 0.3),
        batching=BATCHINGS[case],
        init=np.full(12, 0.1),
        key=7,
        record=40,
    )
    w, seen = np.full(12, 0.1), {}
    for t, rows in enumerate(batches_of(BATCHINGS[case], 8, 300, 7)):
        w = w + 0.02 * (t + 2) ** -0.3 * np.exp(-X[rows] @ w) @ X[rows] / len(rows)
        seen[t + 1] = w
    wanted = np.stack([seen[int(t)] for t in run.steps])
    assert np.allclose(run.weights, wanted, rtol=1e-12, atol=1e-12)
    log_loss = np.log(np.mean(np.exp(-wanted @ X.T), axis=1))
    assert np.allclose(run.log_loss, log_loss, rtol=1e-12, atol=1e-12)
    assert run.outcome is Outcome.COMPLETE


def test_several_classes_and_optax_schedules():
    problem = multiclass(0, k=3, d=4, n=9)
    X, y = np.asarray(problem.X), np.asarray(problem.y)
    schedule = optax.linear_schedule(0.5, 0.1, 100)
    with jax.numpy_dtype_promotion("standard"):
        run = pn.train(
            problem, pn.optimizers.GradientDescent(), steps=150, step_size=schedule
        )
    w = np.zeros((3, 4))
    for t in range(150):
        P = np.exp(X @ w.T)
        P /= P.sum(axis=1, keepdims=True)
        P[np.arange(9), y] -= 1.0
        w = w - (0.5 - 0.4 * min(t, 100) / 100) * P.T @ X / 9
    # optax counts and computes in float32
    assert np.allclose(run.weights[-1], w, rtol=1e-5)


@pytest.mark.parametrize(
    ("steps", "record"),
    [(1, 200), (2, 2), (3, 2), (7, 200), (200, 200), (201, 200), (1000, 2), (1000, 3),
     (999, 30), (10**5, 200), (10**9, 41), (10**12, 500)],
)  # fmt: skip
def test_records_are_log_spaced(steps, record):
    at = record_steps(steps, record)
    assert at[0] == 1
    assert at[-1] == steps
    assert steps // 2 in at or steps == 1
    assert np.all(np.diff(at) > 0)
    if record >= steps:
        assert same(at, np.arange(1, steps + 1))
        return
    assert min(record, 3) <= len(at) <= 1.1 * record + 1 or steps < 4
    # ratios of neighbours are alike, where rounding allows: all but the two next to T/2
    late = at[at > 20 * record / np.log(steps)]
    ratios = np.diff(np.log(late))
    if len(ratios) > 5:
        assert np.sum(np.abs(ratios / np.median(ratios) - 1) > 0.05) <= 2


@pytest.mark.sampled
@pytest.mark.parametrize(
    "rule",
    [
        pn.optimizers.Adam(),
        pn.optimizers.Signum(0.9),
        pn.optimizers.Muon(0.9),
        pn.optimizers.Shampoo(0.9),
        pn.optimizers.FromOptax(optax.sgd(1.0, momentum=0.9)),
    ],
    ids=lambda rule: type(rule).__name__,
)
def test_the_loop_is_compiled_once(rule):
    # a state of other types before the first step than after it has it compiled twice
    problem = multiclass(0)
    made, w = _train.make_rule(problem, rule, 0.1, pn.batching.FullBatch(), None, 0)
    before = _loop.start(made, w)
    after, _ = _loop.advance_jit(made, before, jnp.asarray(1), False)
    types = lambda state: [(x.dtype, x.weak_type) for x in jax.tree.leaves(state)]
    assert types(before) == types(after)


def test_one_step():
    run = pn.train(binary(0), SIGN, steps=1, step_size=0.1)
    assert run.steps.tolist() == [1]
    assert run.weights.shape == (1, 12)
    increment = run.increment()
    assert jnp.allclose(increment, run.weights[0] / jnp.linalg.norm(run.weights[0]))


def test_increment_is_the_direction_of_the_last_half():
    run = pn.train(binary(0), RULE, steps=501, step_size=POWER, record=30)
    at = {int(t): np.asarray(w) for t, w in zip(run.steps, run.weights, strict=True)}
    moved = at[501] - at[250]
    assert np.allclose(run.increment(), moved / np.linalg.norm(moved), rtol=1e-14)


def test_increment_is_0_where_the_weights_did_not_move():
    run = pn.train(
        binary(0), pn.optimizers.GradientDescent(), steps=20, step_size=1e-30,
        init=np.ones(12),
    )  # fmt: skip
    assert same(run.weights[-1], np.ones(12))
    assert same(run.increment(), np.zeros(12))


@pytest.fixture(scope="module")
def classes():
    """A run with several classes."""
    return pn.train(multiclass(0), RULE, steps=50, step_size=POWER, record=5)


def test_margins_are_those_of_the_problem(classes):
    problem = multiclass(0)
    margins = jax.jit(lambda w: problem.margins(w))
    wanted = np.stack([margins(w) for w in classes.weights])
    assert classes.margins.shape == (len(classes.steps), 40)
    assert np.allclose(classes.margins, wanted, rtol=1e-13, atol=1e-14)


def test_as_xarray(classes):
    data = classes.to_xarray()
    r = len(classes.steps)
    assert dict(data.sizes) == {"step": r, "class": 4, "feature": 6, "sample": 40}
    assert data.weights.dims == ("step", "class", "feature")
    assert data.margins.dims == ("step", "sample")
    assert same(data.step, classes.steps)
    for name in ("weights", "log_loss", "margins"):
        assert same(data[name], getattr(classes, name))
    assert data.attrs["optimizer"] == "Adam(b1=0.9, b2=0.95, eps=0, " + (
        "eps_inside=False, bias_correction=False)"
    )
    assert data.attrs["batching"] == "FullBatch()"
    assert data.attrs["step_size"] == "Power(scale=0.1, exponent=0.5, offset=2)"
    assert data.attrs["outcome"] == "complete"
    assert data.attrs["seconds"] >= 0.0


@every_batching
def test_results_do_not_depend_on_where_calls_and_records_end(case, monkeypatch):
    # 2200 steps are three blocks of tables, and calls that end within each
    # (of gradient descent, whose compiled loops are at hand)
    def weights(record):
        run = pn.train(
            binary(0), pn.optimizers.GradientDescent(), steps=2200, step_size=POWER,
            record=record, key=5, batching=BATCHINGS[case],
        )  # fmt: skip
        at = run.steps.tolist()
        return {t: np.asarray(w) for t, w in zip(at, run.weights, strict=True)}

    few, many = weights(4), weights(20)
    monkeypatch.setattr(_train, "CHUNK_SECONDS", 0.0)  # so that it stays
    monkeypatch.setattr(_train._Calls, "__init__", chunks_of(317))
    short = weights(4)
    for t, w in few.items():
        assert same(w, short[t])
    for t in few.keys() & many.keys():
        assert same(few[t], many[t])
    assert {1, 1100, 2200} <= few.keys() & many.keys()


def test_what_a_call_records_does_not_keep_calls_short(monkeypatch):
    monkeypatch.setattr(_train, "CHUNK_SECONDS", 0.001)

    def slow_to_record(rule, state, until, inline):
        time.sleep(0.01)
        return _loop.RunState(until, None, None), jnp.zeros(())

    full = pn.batching.FullBatch()
    rule, _ = _train.make_rule(binary(0), RULE, 0.1, full, None, 0)
    runner = _train.Runner(rule, slow_to_record)
    calls, at = 0, _loop.RunState(jnp.asarray(0), None, None)
    while at.step < 1000:
        at, _ = runner(at, 1000)
        calls += 1
    assert calls <= 12  # 1, 2, 4 steps and so on, if not faster


def chunks_of(length):
    original = _train._Calls.__init__

    def init(self, *args, **kwargs):
        original(self, *args, **kwargs)
        self.chunk = length

    return init


class Interrupted:
    """Ctrl-C in the middle of a run, after so many calls of the compiled loop."""

    def __init__(self, calls):
        self.left, self.original = calls, _train.RecordingRunner.__call__

    def install(self, monkeypatch):
        def call(runner, state, until):
            if self.left == 0:
                raise KeyboardInterrupt
            self.left -= 1
            return self.original(runner, state, until)

        monkeypatch.setattr(_train.RecordingRunner, "__call__", call)


def long_run(folder=None, steps=1000, **kwargs):
    kwargs = {"optimizer": RULE, "batching": pn.batching.Shuffled(3), **kwargs}
    kwargs = {"problem": binary(0), "step_size": POWER, "record": 20, **kwargs}
    return pn.train(steps=steps, checkpoint=folder, **kwargs)


@pytest.mark.parametrize("calls", [0, 1, 4, 7])
def test_an_interrupted_run_goes_on_bit_by_bit(calls, tmp_path, monkeypatch):
    whole = long_run()
    with monkeypatch.context() as patch:
        Interrupted(calls).install(patch)
        part = long_run(tmp_path)
    assert part.outcome is Outcome.INTERRUPTED
    reached = int(part.steps[-1])
    assert reached < 1000
    assert reached == int(part.state.step)
    for t, w in zip(part.steps, part.weights, strict=True):
        if t in whole.steps:  # and one more: where it stopped
            assert same(w, whole.weights[whole.steps.tolist().index(t)])
    assert np.all(np.isfinite(part.log_loss))

    ran = []
    with monkeypatch.context() as patch:
        original = _train.RecordingRunner.__call__

        def counted(runner, state, until):
            ran.append(int(state.step))
            return original(runner, state, until)

        patch.setattr(_train.RecordingRunner, "__call__", counted)
        rest = long_run(tmp_path)
    assert ran[0] == reached  # nothing was done again
    assert rest.outcome is Outcome.COMPLETE
    for name in ("steps", "weights", "log_loss"):
        assert same(getattr(rest, name), getattr(whole, name))
    assert jax.tree.all(jax.tree.map(same, rest.state, whole.state))


def test_interruption_inside_the_progress_hook(tmp_path, monkeypatch):
    # between the compiled call and the record of its step
    import contextlib

    @contextlib.contextmanager
    def hook(*args):
        def report(step, log_loss):
            if step >= 100:
                raise KeyboardInterrupt

        yield report

    with monkeypatch.context() as patch:
        patch.setattr(_train, "progress_bar", hook)
        part = long_run(tmp_path)
    assert part.outcome is Outcome.INTERRUPTED
    assert int(part.steps[-1]) >= 100
    whole = long_run()
    assert same(long_run(tmp_path).weights, whole.weights)


def test_progress_bar_shows_and_changes_nothing(capsys):
    shown = long_run(steps=50, progress=True)
    assert same(shown.weights, long_run(steps=50).weights)


def test_a_finished_run_is_read_and_not_run(tmp_path, monkeypatch):
    first = long_run(tmp_path)
    Interrupted(0).install(monkeypatch)  # any call would interrupt
    again = long_run(tmp_path)
    assert again.outcome is Outcome.COMPLETE
    for name in ("steps", "weights", "log_loss", "initial"):
        assert same(getattr(again, name), getattr(first, name))
    assert again.seconds >= 0.0


def test_a_finished_run_can_be_made_longer(tmp_path):
    long_run(tmp_path, steps=400)
    longer = long_run(tmp_path, steps=1000)
    assert longer.outcome is Outcome.COMPLETE
    assert int(longer.steps[-1]) == 1000
    assert same(longer.weights[-1], long_run().weights[-1])
    assert {1, 400} <= set(longer.steps.tolist())
    # and asked for less, gives what it has
    shorter = long_run(tmp_path, steps=400)
    assert int(shorter.steps[-1]) == 400
    assert same(shorter.weights[-1], long_run(steps=400).weights[-1])
    with pytest.raises(
        ValueError, match=r"gone on to step 1000 .* no record of step 399"
    ):
        long_run(tmp_path, steps=399)


OTHERS = {
    "problem": {"problem": binary(1)},
    "problem, its loss": {"problem": binary(0, loss=pn.losses.Logistic())},
    "optimizer": {"optimizer": SIGN},
    "optimizer, a number": {"optimizer": pn.optimizers.Adam(0.9, 0.95 + 1e-9, 0.0)},
    "optimizer, an option": {
        "optimizer": pn.optimizers.Adam(0.9, 0.95, 0.0, bias_correction=True)
    },
    "step_size": {"step_size": pn.schedules.power(0.1, 0.5 + 1e-9)},
    "step_size, a function": {"step_size": lambda t: 0.1},
    "batching": {"batching": pn.batching.Shuffled(2)},
    "key": {"key": 1},
    "init": {"init": np.full(12, 1e-9)},
}


@pytest.mark.parametrize("case", OTHERS, ids=str)
def test_the_checkpoint_of_another_run_is_refused(case, tmp_path):
    long_run(tmp_path, steps=3)
    part = case.split(",")[0]
    with pytest.raises(ValueError, match=f"another run: its {part} differs"):
        long_run(tmp_path, steps=3, **OTHERS[case])


def test_optax_rules_are_known_by_what_they_do(tmp_path):
    rule = pn.optimizers.FromOptax
    full = pn.batching.FullBatch()
    run = lambda tx: long_run(tmp_path, 3, optimizer=rule(tx), batching=full)
    run(optax.sgd(1.0))
    run(optax.sgd(1.0))  # another object that does the same
    for other in (optax.sgd(2.0), optax.sgd(1.0, momentum=0.9)):
        with pytest.raises(ValueError, match="its optimizer differs"):
            run(other)


def test_damaged_checkpoints_name_the_file(tmp_path):
    long_run(tmp_path, steps=3)
    file = tmp_path / "checkpoint.npz"
    good = file.read_bytes()
    number = np.arange(3.0)
    np.save(tmp_path / "array.npy", number)
    np.savez(tmp_path / "other.npz", number=number)
    damaged = [b"", b"no checkpoint", good[: len(good) // 2], good[:-1]]
    damaged += [(tmp_path / other).read_bytes() for other in ("array.npy", "other.npz")]
    for at in np.linspace(0, len(good) - 1, 40).astype(int):
        flipped = bytearray(good)
        flipped[at] ^= 255
        damaged.append(bytes(flipped))
    refused = 0
    for content in damaged:
        file.write_bytes(content)
        try:
            long_run(tmp_path, steps=3)
        except ValueError as error:
            assert str(file) in str(error)  # noqa: PT017
            refused += 1
    # a byte of a file's date and the like is no damage
    assert refused >= len(damaged) - 8
    file.write_bytes(good)
    long_run(tmp_path, steps=3)


def test_a_checkpoint_of_another_version_is_refused(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("penchant.training._checkpoint.FORMAT", 0)
        long_run(tmp_path, steps=3)
    with pytest.raises(ValueError, match=r"another version of penchant \(format 0"):
        long_run(tmp_path, steps=3)


def test_a_save_that_fails_leaves_the_last_one(tmp_path, monkeypatch):
    from penchant.training import _checkpoint

    file = tmp_path / "numbers.npz"
    _checkpoint.save(file, {"of": 1}, {"x": np.arange(3)})

    def full_disk(file, **arrays):
        file.write(b"half of it")
        raise OSError("no space left on device")

    monkeypatch.setattr(np, "savez", full_disk)
    with pytest.raises(OSError, match="no space"):
        _checkpoint.save(file, {"of": 2}, {"x": np.arange(4)})
    meta, arrays = _checkpoint.load(file)
    assert meta["of"] == 1
    assert arrays["x"].tolist() == [0, 1, 2]


def test_memory_does_not_depend_on_the_number_of_steps(tmp_path):
    # what a run holds is what its checkpoint does
    sizes = []
    for steps in (1_000, 100_000):
        run = long_run(tmp_path / str(steps), steps=steps, record=20)
        assert len(run.steps) == 20
        with zipfile.ZipFile(tmp_path / str(steps) / "checkpoint.npz") as file:
            sizes.append(
                sum(i.file_size for i in file.infolist() if i.filename != "meta.npy")
            )
    assert sizes[0] == sizes[1]


def test_saves_as_it_goes(tmp_path, monkeypatch):
    monkeypatch.setattr(_train, "SAVE_SECONDS", 0.0)
    saved = []
    original = _train._save

    def save(file, identity, state, recorder):
        saved.append(int(state.step))
        original(file, identity, state, recorder)

    monkeypatch.setattr(_train, "_save", save)
    long_run(tmp_path, steps=100)
    assert len(saved) > 5
    assert saved == sorted(saved)


def test_weights_that_run_away_end_the_run():
    # b1^2 > b2: steps grow by b1 / sqrt(b2) once fresh gradients are negligible
    problem = pn.LinearClassification(
        np.array([[2.0, 1.0], [1.0, 2.0]]), np.ones(2), loss=pn.losses.Exponential()
    )
    adam = pn.optimizers.Adam(0.99, 0.5, 0.0)
    run = pn.train(problem, adam, steps=10**9, step_size=0.1, record=1000)
    assert run.outcome is Outcome.DIVERGED
    assert int(run.steps[-1]) < 10**4
    assert not np.all(np.isfinite(run.weights[-1]))
    assert np.all(np.isfinite(run.weights[:-1]))
    assert run.to_xarray().attrs["outcome"] == "diverged"
    at, size = np.asarray(run.steps), np.log(np.asarray(run.weights)[:, 0])
    late = (at > 500) & (at < 2000)
    rate = np.polyfit(at[late], size[late], 1)[0]
    assert abs(rate - np.log(0.99 / 0.5**0.5)) < 1e-6

    huge = pn.train(
        binary(0), pn.optimizers.GradientDescent(), steps=10**6, step_size=1e4
    )
    assert huge.outcome is Outcome.DIVERGED


CTRL_C = """
import signal, sys, penchant as pn
from tests.cases import binary
from penchant.training import _train

class Ready(_train.RecordingRunner):
    calls = 0
    def __call__(self, state, until):
        out = super().__call__(state, until)
        self.calls += 1
        if self.calls == 3:
            print("ready", flush=True)
        return out

_train.RecordingRunner = Ready
# a process started in the background is born deaf to Ctrl-C
signal.signal(signal.SIGINT, signal.default_int_handler)
run = pn.train(
    binary(0), pn.optimizers.SignDescent(), steps=10**9, step_size=1e-6,
    checkpoint=sys.argv[1],
)
print(run.outcome.name, int(run.steps[-1]), len(run.weights), flush=True)
"""


def test_ctrl_c_returns_what_was_reached(tmp_path):
    child = subprocess.Popen(
        [sys.executable, "-c", CTRL_C, str(tmp_path)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert child.stdout.readline() == "ready\n", child.stderr.read()
        time.sleep(0.2)
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=60)
    finally:
        child.kill()
    assert child.returncode == 0, err
    outcome, steps, records = out.split()
    assert outcome == "INTERRUPTED"
    assert 1 <= int(steps) < 10**9
    assert int(records) >= 1
    assert (tmp_path / "checkpoint.npz").exists()


@pytest.mark.parametrize(
    ("kwargs", "error", "words"),
    [
        ({"steps": 0}, ValueError, "steps must be at least 1; got 0"),
        ({"record": 1}, ValueError, "record must be at least 2; got 1"),
        ({"init": np.zeros(3)}, ValueError, r"weights, \(12,\); got \(3,\)"),
        ({"init": np.zeros((12, 1))}, ValueError, r"got \(12, 1\)"),
        ({"init": np.full(12, np.nan)}, ValueError, "init must be finite"),
        ({"init": np.full(12, np.inf)}, ValueError, "init must be finite"),
        ({"key": "a"}, TypeError, "key must be an integer seed .*; got 'a'"),
        ({"key": 1.5}, TypeError, "key must be an integer seed"),
        ({"key": True}, TypeError, "key must be an integer seed"),
        ({"step_size": "fast"}, TypeError, "step_size must be .*; got 'fast'"),
        ({"step_size": -0.1}, ValueError, "step_size must be > 0; got -0.1"),
        # these have annotations, and the tests run under a type checker that is first
        ({"steps": 1.5}, TypeError, "steps"),
        ({"steps": "10"}, TypeError, "steps"),
        ({"record": 2.5}, TypeError, "record"),
        ({"optimizer": "adamm"}, ValueError, "no optimizer 'adamm'; have: gd"),
        ({"optimizer": 3}, TypeError, "optimizer must be one of"),
        ({"batching": 4}, TypeError, "batching"),
    ],
)
def test_errors_at_the_door(kwargs, error, words):
    wanted = {"problem": binary(0), "optimizer": SIGN, "steps": 3, "step_size": 0.1}
    with pytest.raises(error, match=words):
        pn.train(**(wanted | kwargs))


def test_seeds_and_keys_are_the_same_thing():
    runs = [
        long_run(steps=30, key=key).weights
        for key in (3, np.int64(3), jax.random.key(3))
    ]
    assert same(runs[0], runs[1])
    assert same(runs[0], runs[2])
    assert not same(runs[0], long_run(steps=30, key=4).weights)


def test_a_cool_down_goes_on_with_the_memory_of_the_run_before():
    apply = lambda w, X: X @ w
    X, w = jnp.eye(3), jnp.array([1.0, -2.0, 0.5])
    noisy = pn.Regression(apply, w, X, jnp.zeros(3), label_noise=1.0)
    quiet = pn.Regression(apply, w, X, jnp.zeros(3))
    rule = pn.optimizers.Adam(0.9, 0.99, 1e-8)
    whole = pn.train(quiet, rule, steps=60, step_size=0.01)
    half = pn.train(quiet, rule, steps=40, step_size=0.01)
    rest = pn.train(quiet, rule, steps=20, step_size=0.01, after=half)
    assert jnp.array_equal(rest.last, whole.last)
    run = pn.train(noisy, rule, steps=2_000, step_size=0.01)
    cool = pn.train(quiet, rule, steps=2_000, step_size=0.01, after=run)
    assert float(cool.loss[-1]) < 1e-3 * float(run.loss[-1])
    with pytest.raises(
        ValueError, match="after must be a run of the same kind of rule"
    ):
        pn.train(quiet, "gd", steps=1, step_size=0.1, after=run)
    with pytest.raises(ValueError, match="init and after are both a start"):
        pn.train(quiet, rule, steps=1, step_size=0.1, after=run, init=w)
