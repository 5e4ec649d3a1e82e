"""Training over pytrees: against plain loops, resumed, swept, and loss-based."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import penchant as pn
from penchant.problems.models.networks import MLP, ReLU, SquaredReLU
from penchant.training import Outcome, _train
from tests.cases import same

DESCENT = pn.optimizers.GradientDescent()
POWER = pn.schedules.power(0.05, 0.5)


def problem_of(activation=ReLU(), width=5, loss=None, scale=None):
    """Eight separable samples in three dimensions."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(8, 3))
    X[:, 0] += np.sign(X[:, 0])
    network = MLP((3, width, 1), activation)
    return pn.NetworkClassification(
        network,
        network.params(0, scale=scale),
        X,
        np.sign(X[:, 0]),
        loss=loss or pn.losses.Logistic(),
    )


RELU, SQUARED = problem_of(), problem_of(SquaredReLU())


def close(a, b, **tolerance):
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return all(np.allclose(x, y, **tolerance) for x, y in pairs)


def last(run):
    return jax.tree.map(lambda w: w[-1], run.weights)


# --- against loops one can read ---


def torch_run(problem, make, steps):
    """Weights after `steps` of an eager loop, full batch."""
    torch = pytest.importorskip("torch")
    leaves = [
        torch.tensor(np.array(layer["W"]), requires_grad=True)
        for layer in problem.start
    ]
    X, y = (torch.tensor(np.array(a, dtype=float)) for a in (problem.X, problem.y))
    optimizer = make(torch, leaves)
    for _ in range(steps):
        optimizer.zero_grad()
        first, second = leaves
        scores = (torch.relu(X @ first.T) @ second.T)[:, 0]
        torch.nn.functional.softplus(-y * scores, threshold=100).mean().backward()
        optimizer.step()
    return [{"W": leaf.detach().numpy()} for leaf in leaves]


def polar(torch, G):
    U, _, V = torch.linalg.svd(G, full_matrices=False)
    return U @ V


class TorchMuon:
    def __init__(self, torch, leaves, lr, b1):
        self.torch, self.leaves, self.lr, self.b1 = torch, leaves, lr, b1
        self.memory = [torch.zeros_like(leaf) for leaf in leaves]

    def zero_grad(self):
        for leaf in self.leaves:
            leaf.grad = None

    def step(self):
        with self.torch.no_grad():
            for leaf, m in zip(self.leaves, self.memory, strict=True):
                m.mul_(self.b1).add_(leaf.grad, alpha=1 - self.b1)
                leaf.sub_(self.lr * polar(self.torch, m))


AGAINST_TORCH = {
    "adam": (
        pn.optimizers.Adam(0.9, 0.99, 1e-8, bias_correction=True),
        lambda torch, w: torch.optim.Adam(w, lr=0.02, betas=(0.9, 0.99), eps=1e-8),
    ),
    "adagrad": (
        pn.optimizers.AdaGrad(1e-10),
        lambda torch, w: torch.optim.Adagrad(w, lr=0.02, eps=1e-10),
    ),
    "rmsprop": (
        pn.optimizers.RMSProp(0.99, 1e-8),
        lambda torch, w: torch.optim.RMSprop(w, lr=0.02, alpha=0.99, eps=1e-8),
    ),
    "muon": (
        pn.optimizers.Muon(0.9),
        lambda torch, w: TorchMuon(torch, w, lr=0.02, b1=0.9),
    ),
}


@pytest.mark.sampled
@pytest.mark.parametrize(
    "case",
    ["adam", "muon"]
    + [pytest.param(c, marks=pytest.mark.slow) for c in ("adagrad", "rmsprop")],
)
def test_is_the_eager_loop_of_torch(case):
    optimizer, make = AGAINST_TORCH[case]
    run = pn.train(RELU, optimizer, steps=60, step_size=0.02, record=2)
    assert close(last(run), torch_run(RELU, make, 60), rtol=1e-7, atol=1e-9)


@pytest.mark.slow
def test_per_sample_runs_agree_with_a_plain_loop():
    run = pn.train(
        SQUARED,
        DESCENT,
        steps=40,
        step_size=0.05,
        batching=pn.batching.Cyclic(1),
        record=2,
    )
    loss = lambda w, i: jnp.mean(jnp.exp(SQUARED.log_losses(w))[i][None])
    slope = jax.jit(jax.grad(loss))
    w = SQUARED.start
    for t in range(40):
        w = jax.tree.map(lambda x, g: x - 0.05 * g, w, slope(w, t % 8))
    assert close(last(run), w, rtol=1e-10, atol=1e-12)


# --- records ---


@pytest.mark.slow
def test_a_run_resumes_bit_for_bit(tmp_path):
    how = {
        "step_size": POWER,
        "batching": pn.batching.Shuffled(3),
        "record": 10,
        "key": 3,
    }
    optimizer = pn.optimizers.Adam(eps=0.0)
    whole = pn.train(RELU, optimizer, steps=200, **how)
    pn.train(RELU, optimizer, steps=77, checkpoint=tmp_path, **how)
    resumed = pn.train(RELU, optimizer, steps=200, checkpoint=tmp_path, **how)
    assert same(last(resumed), last(whole))
    assert same(resumed.state.optimizer, whole.state.optimizer)
    with pytest.raises(ValueError, match=r"its (optimizer|step sizes|.*) differs"):
        pn.train(SQUARED, optimizer, steps=200, checkpoint=tmp_path, **how)


@pytest.mark.slow
def test_a_loss_based_run_resumes_bit_for_bit(tmp_path):
    how = {
        "step_size": pn.schedules.loss_based(),
        "batching": pn.batching.Cyclic(3),
        "record": 10,
    }
    whole = pn.train(RELU, DESCENT, steps=100, **how)
    # in the middle of an epoch
    pn.train(RELU, DESCENT, steps=50, checkpoint=tmp_path, **how)
    resumed = pn.train(RELU, DESCENT, steps=100, checkpoint=tmp_path, **how)
    assert same(last(resumed), last(whole))
    assert same(resumed.state.pace, whole.state.pace)


@pytest.mark.parametrize(
    ("init", "error", "words"),
    [
        ([{"W": np.ones((5, 3))}], TypeError, "init must be a pytree like"),
        (np.ones(20), TypeError, "init must be a pytree like"),
        ([{"W": np.ones((5, 3))}, {"W": np.ones(5)}], ValueError, r"\(1, 5\).*\(5,\)"),
        ([{"W": np.ones((5, 3))}, {"V": np.ones((1, 5))}], TypeError, "pytree like"),
    ],
)
def test_initial_weights_of_another_network_are_refused(init, error, words):
    with pytest.raises(error, match=words):
        pn.train(RELU, DESCENT, steps=1, step_size=0.1, init=init)


@pytest.mark.slow
def test_increment_is_the_direction_of_the_last_half():
    run = pn.train(RELU, DESCENT, steps=40, step_size=0.1, record=40)
    flat = jax.vmap(RELU.flat)(run.weights)
    moved = flat[39] - flat[19]
    assert np.allclose(
        RELU.flat(run.increment()), moved / np.linalg.norm(moved), rtol=1e-10
    )


def test_records_are_labelled_leaf_by_leaf():
    run = pn.train(RELU, DESCENT, steps=20, step_size=0.1, record=4)
    data = run.to_xarray()
    assert data["weights.0.W"].dims == ("step", "0.W_0", "0.W_1")
    assert data["weights.0.W"].shape == (len(run.steps), 5, 3)
    assert data["weights.1.W"].shape == (len(run.steps), 1, 5)
    assert np.array_equal(data["weights.1.W"][-1], run.weights[1]["W"][-1])
    assert data.margins.shape == (len(run.steps), 8)
    least = np.asarray(RELU.margins(last(run)))
    assert np.allclose(data.margins[-1], least)


# --- sweeps ---


@pytest.mark.slow
def test_lanes_of_a_sweep_are_runs_of_their_own():
    inits = [RELU.start, jax.tree.map(lambda w: 0.5 * w, RELU.start)]
    grid = {"b2": [0.9, 0.99], "init": inits}
    how = {"steps": 100, "step_size": POWER, "record": 4}
    runs = pn.sweep(RELU, pn.optimizers.Adam(eps=0.0), grid=grid, **how)
    assert runs.weights.dims == ("b2", "init", "step", "parameter")
    for i, j in itertools.product(range(2), range(2)):
        optimizer = pn.optimizers.Adam(b2=grid["b2"][i], eps=0.0)
        run = pn.train(RELU, optimizer, init=inits[j], **how)
        lane = runs.isel(b2=i, init=j)
        there = RELU.unflat(jnp.asarray(lane.weights[-1].to_numpy()))
        assert close(there, last(run), rtol=1e-11, atol=1e-12)
        assert np.allclose(lane.log_loss, run.log_loss, rtol=1e-11)


@pytest.mark.slow
def test_lanes_of_loss_based_sweeps_are_runs_of_their_own():
    how = {"steps": 60, "record": 4, "batching": pn.batching.Cyclic(3)}
    steps = pn.schedules.loss_based()
    runs = pn.sweep(RELU, DESCENT, grid={"scale": [0.05, 0.2]}, step_size=steps, **how)
    for scale in (0.05, 0.2):
        run = pn.train(RELU, DESCENT, step_size=pn.schedules.loss_based(scale), **how)
        lane = runs.sel(scale=scale)
        assert np.allclose(lane.log_loss, run.log_loss, rtol=1e-9)


# --- steps that follow the loss ---


def epochs_by_hand(problem, epochs, size, momentum=0.0, scale=0.1):
    """Lyu and Li's rule as one writes it: log-losses and rates after each epoch."""
    n = problem.samples
    log_loss = jax.jit(lambda w: problem.log_loss(w))
    gradient = jax.jit(lambda w, rows: problem.scaled_gradient(w, rows))
    w, rate, F = problem.start, scale, float(log_loss(problem.start))
    out = []
    for _ in range(epochs):
        trial = w
        for at in range(0, n, size):
            g = gradient(trial, jnp.arange(at, min(at + size, n)))
            factor = rate * np.exp(float(g.log_scale) - F)
            trial = jax.tree.map(lambda x, d, f=factor: x - f * d, trial, g.direction)
        G = float(log_loss(trial))
        if -1e12 < G < F:  # where a run rests
            w, F, rate = trial, G, rate * 2**0.2
        else:
            rate /= 2**0.1
        out.append((F, rate))
    return np.array(out)


@pytest.mark.parametrize(
    ("size", "scale"),
    [(4, 0.1), (4, 30.0), pytest.param(8, 0.1, marks=pytest.mark.slow)],
)
def test_loss_based_steps_are_the_rule_of_lyu_and_li(size, scale):
    epoch = 8 // size
    batching = pn.batching.FullBatch() if size == 8 else pn.batching.Cyclic(size)
    run = pn.train(
        SQUARED,
        DESCENT,
        steps=40 * epoch,
        step_size=pn.schedules.loss_based(scale),
        batching=batching,
        record=40 * epoch,
    )
    wanted = epochs_by_hand(SQUARED, 40, size, scale=scale)
    ends = np.asarray(run.log_loss)[epoch - 1 :: epoch]
    assert np.allclose(ends, wanted[:, 0], rtol=1e-8)
    assert np.isclose(run.state.pace.rate, wanted[-1, 1], rtol=1e-12)
    if scale > 1:  # some epochs were undone
        assert (np.diff(np.log(wanted[:, 1])) < 0).any()


@pytest.mark.slow
def test_accepted_losses_never_rise_and_go_deep():
    run = pn.train(
        SQUARED,
        DESCENT,
        steps=1200,
        step_size=pn.schedules.loss_based(),
        batching=pn.batching.Shuffled(4),
        record=1200,
    )
    ends = np.asarray(run.log_loss)[1::2]
    assert (np.diff(ends) <= 0).all()
    assert ends[-1] < -1000
    assert run.outcome is Outcome.COMPLETE
    assert all(np.isfinite(w).all() for w in jax.tree.leaves(run.weights))


def test_at_the_lowest_log_loss_a_run_rests():
    run = pn.train(
        SQUARED, DESCENT, steps=3000, step_size=pn.schedules.loss_based(), record=3
    )
    assert -1.0001e12 < run.log_loss[-1] < -1e9
    assert np.isfinite(run.state.pace.rate)


@pytest.mark.slow
def test_loss_based_steps_with_momentum_never_stand_still():
    problem = pn.datasets.gaussian(20, 40, seed=0).problem()
    least = []
    for momentum in (0.0, 0.9):
        run = pn.train(
            problem,
            pn.optimizers.GradientDescent(momentum),
            steps=2_000,
            step_size=pn.schedules.loss_based(1e-3),
            record=20,
        )
        assert np.all(np.diff(np.asarray(run.log_loss)) <= 0)
        # half of the way later it still moves: a rate driven to 0 would not
        assert float(run.log_loss[-1]) < 1.5 * float(run.log_loss[-5])
        assert float(run.state.pace.rate) > 1e-3
        least.append(float(run.margins[-1].min()))
    assert least[1] > least[0] > 0


@pytest.mark.slow
def test_a_rate_with_an_end_outruns_no_direction():
    # easy data in small batches: a step along one of them may separate them all
    problem = pn.datasets.gaussian(12, 30, seed=1).problem()
    best = float(pn.max_margin(problem, pn.norms.L2()).margin)
    R2 = float(np.square(np.asarray(problem.X)).sum(axis=1).max())
    for batching in (pn.batching.FullBatch(), pn.batching.Shuffled(3)):
        run = pn.train(
            problem,
            pn.optimizers.GradientDescent(0.9),
            steps=8_000,
            step_size=pn.schedules.loss_based(1 / R2, largest=100 / R2),
            batching=batching,
            record=20,
        )
        assert run.outcome is Outcome.COMPLETE
        assert float(run.state.pace.rate) <= 100 / R2 * (1 + 1e-12)
        least = float(run.margins[-1].min()) / float(jnp.linalg.norm(run.last))
        assert least > 0.97 * best


def test_loss_based_steps_are_for_gradient_descent():
    steps = pn.schedules.loss_based()
    with pytest.raises(TypeError, match=r"for GradientDescent.*got Adam"):
        pn.train(RELU, pn.optimizers.Adam(), steps=10, step_size=steps)


@pytest.mark.parametrize(
    "wrong", [{"scale": 0.0}, {"grow": 1.0}, {"shrink": 0.5}, {"scale": np.nan}]
)
def test_loss_based_steps_out_of_range(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        pn.schedules.loss_based(**wrong)


# --- dead units ---


def with_dead_units(problem, dead):
    """Weights whose units `dead` are off on every sample."""
    X = np.abs(np.asarray(problem.X)).sum(axis=1).max()
    w = np.array(problem.start[0]["W"])
    # a feature that is 1 for all samples would do; here, one constant column
    w[dead] = 0.0
    w[dead, -1] = -X
    return [{"W": jnp.asarray(w)}, problem.start[1]]


def constant_feature():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(8, 3))
    X[:, 0] += np.sign(X[:, 0])
    X[:, 2] = 1.0
    network = MLP((3, 5, 1))
    return pn.NetworkClassification(
        network, network.params(0), X, np.sign(X[:, 0]), loss=pn.losses.Logistic()
    )


@pytest.mark.sampled
@pytest.mark.parametrize(
    "optimizer",
    [
        pn.optimizers.Adam(eps=0.0),
        pn.optimizers.Adam(eps=0.0, eps_inside=True, bias_correction=True),
        pn.optimizers.RMSProp(eps=0.0),
        pn.optimizers.AdaGrad(eps=0.0),
    ],
    ids=repr,
)
def test_dead_units_without_eps_stay_where_they_are(optimizer):
    problem = constant_feature()
    init = with_dead_units(problem, [1, 3])
    run = pn.train(problem, optimizer, steps=100, step_size=0.01, init=init, record=3)
    assert run.outcome is Outcome.COMPLETE
    assert all(np.isfinite(w).all() for w in jax.tree.leaves(run.weights))
    for layer, of in ((0, lambda W: W[[1, 3]]), (1, lambda W: W[:, [1, 3]])):
        ends = np.asarray(run.weights[layer]["W"][-1])
        assert np.array_equal(of(ends), of(np.asarray(init[layer]["W"])))
    assert run.log_loss[-1] < problem.log_loss(init)


def test_with_all_units_dead_nothing_moves():
    problem = constant_feature()
    init = with_dead_units(problem, list(range(5)))
    run = pn.train(
        problem, pn.optimizers.Adam(eps=0.0), steps=10, step_size=0.1, init=init
    )
    assert same(last(run), init)
    with pytest.raises(pn.flows.ZeroGradientError, match="every unit may be dead"):
        pn.flows.adaptive_flow(problem, DESCENT, init=init)
    with pytest.raises(pn.flows.ZeroGradientError, match="every unit may be dead"):
        pn.limit(problem, run)


def test_interrupted_networks_return_what_was_reached(monkeypatch):
    calls = itertools.count()
    inner = _train.RecordingRunner.__call__

    def fails(self, state, until):
        if next(calls) == 3:
            raise KeyboardInterrupt
        return inner(self, state, until)

    monkeypatch.setattr(_train.RecordingRunner, "__call__", fails)
    run = pn.train(RELU, DESCENT, steps=100, step_size=0.1, record=10)
    assert run.outcome is Outcome.INTERRUPTED
    assert run.weights[0]["W"].shape == (len(run.steps), 5, 3)
