"""Curvature: exact, estimated with errors that hold, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import penchant as pn
from penchant.measures import _sharpness as inside
from tests.measures.cases import RELU, classes, regression

SEEDS = 40


def dense(problem, w):
    loss = lambda x: problem.batch_loss(problem.unflat(x))
    return np.asarray(jax.hessian(loss)(problem.flat(w)))


@pytest.mark.parametrize(
    "case",
    [regression("tanh"), pytest.param(classes(), marks=pytest.mark.slow)],
    ids=["tanh", "relu"],
)
def test_exact_measures_are_those_of_the_hessian(case):
    problem, w = case
    H = dense(problem, w)
    P = np.random.default_rng(0).uniform(0.1, 2.0, len(H))
    at = pn.measures.sharpness(
        problem, w, preconditioner=problem.unflat(jnp.asarray(P))
    )
    assert np.isclose(at.trace.value, np.trace(H))
    assert np.isclose(at.largest.value, np.linalg.eigvalsh(H)[-1])
    M = H / np.sqrt(P[:, None] * P[None, :])
    assert np.isclose(at.preconditioned.value, np.linalg.eigvalsh(M)[-1])
    assert at.trace.exact
    assert at.trace.error == 0
    v = problem.unflat(jnp.asarray(P))
    Hv = problem.flat(pn.measures.hessian_product(problem, w, v))
    assert np.allclose(np.asarray(Hv), H @ P)


@pytest.mark.slow
def test_gauss_newton_is_the_hessian_of_the_linearised_model():
    for problem, w in (regression("tanh"), classes()):
        x, outputs = problem.flat(w), inside.outputs_of(problem)
        of = lambda x, problem=problem, outputs=outputs: outputs(problem.unflat(x))
        s, J = of(x), jax.jacfwd(of)(x)

        def linear(d, problem=problem, s=s, J=J):
            out = s + J @ d
            if isinstance(problem, pn.Regression):
                return 0.5 * jnp.mean(jnp.sum(out**2, axis=1))
            return jnp.mean(jnp.exp(problem.loss.log_losses(out)))

        G = np.asarray(jax.hessian(linear)(jnp.zeros_like(x)))
        assert np.allclose(pn.measures.gauss_newton(problem, w), G, atol=1e-9)


def test_diagonals_agree_on_networks_linear_by_pieces_and_only_there():
    for (problem, w), equal in (
        (regression("relu"), True),
        (regression("tanh"), False),
    ):
        H = np.diag(np.asarray(pn.measures.hessian(problem, w)))
        G = np.diag(np.asarray(pn.measures.gauss_newton(problem, w)))
        assert np.allclose(H, G, rtol=1e-10, atol=1e-12) == equal


@pytest.mark.slow
def test_block_and_power_traces_meet_at_their_ends():
    problem, w = regression("relu")
    root = pn.measures.sharpness(problem, w).root_trace.value
    single = problem.unflat(jnp.arange(problem.parameters, dtype=float))
    single = jax.tree.map(lambda x: x.astype(int), single)
    one = jax.tree.map(lambda x: jnp.zeros(x.shape, int), single)
    blocks = pn.measures.block_trace(problem, w, single).value
    whole = pn.measures.block_trace(problem, w, one).value
    trace = pn.measures.power_trace(problem, w, 1.0).value
    assert np.isclose(blocks, root)
    assert np.isclose(pn.measures.power_trace(problem, w, 0.5).value, root)
    assert np.isclose(whole, np.sqrt(problem.parameters * trace))
    layers = pn.measures.block_trace(problem, w).value
    assert root < layers < whole  # Cauchy-Schwarz


@pytest.fixture
def large(monkeypatch):
    monkeypatch.setattr(inside, "DENSE", 10)


CASES = {
    "relu, fitted": lambda: regression("relu", steps=1500),
    "tanh, at the start": lambda: regression("tanh", (8, 6, 2), 64, 0),
    "classes": classes,
}


SLOWLY = [
    "relu, fitted",
    *(pytest.param(case, marks=pytest.mark.slow) for case in list(CASES)[1:]),
]


@pytest.mark.slow
@pytest.mark.parametrize("case", SLOWLY)
def test_estimates_cover_what_is_exact(large, case):
    problem, w = CASES[case]()
    H, G = dense(problem, w), np.asarray(pn.measures.gauss_newton(problem, w))
    blocks = jax.tree.map(lambda x: jnp.zeros(x.shape, int), w)
    want = {
        "trace": np.trace(H),
        "gauss_newton": np.trace(G),
        "root_trace": np.sqrt(np.diag(G)).sum(),
        "block": np.sqrt(len(G) * np.trace(G)),
        "power": (np.diag(G) ** 0.75).sum(),
    }
    seen = {name: [] for name in want}
    for seed in range(SEEDS):
        at = pn.measures.sharpness(problem, w, key=seed)
        for name in ("trace", "gauss_newton", "root_trace"):
            seen[name].append(getattr(at, name))
        seen["block"].append(pn.measures.block_trace(problem, w, blocks, key=seed))
        seen["power"].append(pn.measures.power_trace(problem, w, 0.75, key=seed))
    for name, value in want.items():
        covered = np.mean([x.covers(value) for x in seen[name]])
        z = np.array([(x.value - value) / x.error for x in seen[name]])
        assert covered >= 0.85, (name, covered)
        assert 0.7 <= np.sqrt(np.mean(z**2)) <= 1.5, (name, np.sqrt(np.mean(z**2)))
        assert not seen[name][0].exact


def test_the_root_of_one_draw_is_biased_and_the_jackknife_is_not(large):
    problem, w = regression("relu", steps=1500)
    G = np.diag(np.asarray(pn.measures.gauss_newton(problem, w)))
    want = np.sqrt(G).sum()
    x = problem.flat(w)
    keys = [jax.random.key(seed) for seed in range(SEEDS)]
    draws = [inside._draws(problem, x, key) for key in keys]
    plug = np.mean([float(jnp.sum(jnp.sqrt(d[0]))) for d in draws])
    mend = np.mean([
        inside._jackknife(d, lambda h: jnp.sum(jnp.sqrt(h))).value for d in draws
    ])
    assert plug < 0.98 * want
    assert abs(mend / want - 1) < 0.01


def test_the_trace_beats_random_signs_alone(large):
    """By the same 20 products, of which Lanczos takes 12 for the largest eigenvalue."""
    problem, w = regression("relu", steps=1500)
    x, H = problem.flat(w), dense(problem, w)
    want, rng = np.trace(H), np.random.default_rng(0)
    ours = [pn.measures.sharpness(problem, w, key=k).trace.value for k in range(20)]
    signs = rng.choice([-1.0, 1.0], size=(200, 20, x.size))
    alone = np.einsum("kni,ij,knj->kn", signs, H, signs).mean(axis=1)
    rms = lambda values: np.sqrt(np.mean((np.asarray(values) - want) ** 2))
    assert rms(ours) < 0.75 * rms(alone)


@pytest.mark.slow
def test_lanczos_reaches_the_largest_eigenvalue(large):
    problem, w = regression("tanh")
    H = dense(problem, w)
    at = pn.measures.sharpness(problem, w)
    top = np.linalg.eigvalsh(H)[-1]
    assert at.largest.value <= top * (1 + 1e-12)
    assert abs(at.largest.value / top - 1) < 1e-3
    assert abs(at.largest.value - top) <= 3 * at.largest.error + 1e-9
    P = problem.unflat(jnp.ones(len(H)).at[3].set(0.0))
    masked = pn.measures.sharpness(problem, w, preconditioner=P).preconditioned
    keep = np.arange(len(H)) != 3
    want = np.linalg.eigvalsh(H[np.ix_(keep, keep)])[-1]
    assert abs(masked.value / want - 1) < 1e-3
    assert "1 coordinates at P = 0 left out" in masked.how


def test_what_has_no_answer_says_so(large, monkeypatch):
    losses = lambda w, x: (x @ w) ** 2
    problem = pn.Objective(losses, jnp.ones(12), jnp.ones((3, 12)))
    at = pn.measures.sharpness(problem, problem.start)
    assert not at.root_trace.valid
    assert "does not say what its outputs are" in repr(at.root_trace)
    assert abs(at.trace.value - 24.0) < 1e-9  # rank one: all in the basis
    monkeypatch.setattr(inside, "DENSE", 2000)
    saddle = pn.Objective(
        lambda w, x: x * (w[0] ** 2 - w[1] ** 2), jnp.ones(2), jnp.ones(1)
    )
    at = pn.measures.sharpness(saddle, saddle.start)
    assert not at.root_trace.valid
    assert "negative diagonal" in at.root_trace.why
    assert at.trace.value == 0
    with pytest.raises(ValueError, match="preconditioner must be >= 0"):
        pn.measures.sharpness(saddle, saddle.start, preconditioner=-jnp.ones(2))
    with pytest.raises(TypeError, match="problem"):
        pn.measures.sharpness("digits", jnp.ones(2))
    with pytest.raises(ValueError, match="exponent must be > 0"):
        pn.measures.power_trace(saddle, saddle.start, 0.0)


@pytest.mark.slow
def test_noise_of_labels_is_the_hessian_times_its_strength():
    apply = lambda w, X: X @ (w["u"] ** 2 - w["v"] ** 2)
    rng = np.random.default_rng(0)
    X = rng.choice([-1.0, 1.0], size=(4, 7))
    w = {"u": jnp.asarray(rng.uniform(0.5, 1, 7)), "v": jnp.full(7, 0.5)}
    y = apply(w, X)
    problem = pn.Regression(apply, w, X, y, label_noise=0.3)
    on = pn.measures.gradient_noise(problem, w, batch=2)
    assert np.isclose(on.alpha.value, 0.3**2 / 2)
    assert on.misfit < 1e-12
    off = pn.measures.gradient_noise(
        pn.Regression(apply, w, X, y + 1, label_noise=0.3), w
    )
    assert off.misfit > 0.1

    def losses(w, batch, key):
        X, y = batch
        noise = 0.3 * jax.random.normal(key, y.shape)
        return 0.5 * (apply(w, X) - y - noise) ** 2

    free = pn.Objective(losses, w, (X, y), random=True)
    seen = [pn.measures.gradient_noise(free, w, key=k).alpha for k in range(20)]
    assert np.mean([x.covers(0.09) for x in seen]) >= 0.85


def test_a_relu_network_of_any_depth_is_read():
    problem = pn.Regression(
        RELU, regression()[1], np.ones((2, 6)), np.ones((2, 3)), label_noise=0.1
    )
    assert pn.measures.sharpness(problem, problem.start).gauss_newton.value > 0
