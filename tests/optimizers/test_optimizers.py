"""Every rule against an independent implementation in the ordinary range."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import penchant as pn
from penchant import optimizers as rules
from penchant.problems import ScaledGradient
from tests.cases import multiclass

STEPS = 1_000
ETA = 0.003
# eps of RMSProp is 1e-3 below: at 1e-6 its steps jump in sign once a gradient
# crosses 0, and any two programs then part by 2 ETA, whatever they compute


def signum(b1):
    return optax.chain(optax.ema(b1, debias=False), optax.scale_by_sign())


def scaled(tx):
    """Ascent directions into descent steps of length one."""
    return optax.chain(tx, optax.scale(-1.0))


def powers(b1, b2, eps, exponent, blocks=None):
    """AdamE, or with `blocks` Adam-mini, written as an optax transformation."""

    def mean(g):
        if blocks is None:
            return g**2
        rows = blocks.reshape(-1)[:, None] == blocks.reshape(-1)[None, :]
        return (rows @ (g**2).reshape(-1) / rows.sum(1)).reshape(g.shape)

    def update(g, state, w=None):
        m = b1 * state[0] + (1 - b1) * g
        v = b2 * state[1] + (1 - b2) * mean(g)
        return -m / (v**exponent + eps), (m, v)

    zero = lambda w: (jnp.zeros_like(w), jnp.zeros_like(w))
    return optax.GradientTransformation(zero, update)


PAIRS = {
    "gradient descent": (rules.GradientDescent(), optax.sgd(1.0)),
    "heavy ball": (rules.GradientDescent(0.9), optax.sgd(1.0, momentum=0.9)),
    "Nesterov": (
        rules.GradientDescent(0.9, nesterov=True),
        optax.sgd(1.0, momentum=0.9, nesterov=True),
    ),
    "sign descent": (rules.SignDescent(), scaled(optax.scale_by_sign())),
    "Signum": (rules.Signum(0.9), scaled(signum(0.9))),
    "Signum without memory": (rules.Signum(0.0), scaled(optax.scale_by_sign())),
    "Adam": (
        rules.Adam(0.9, 0.99, 1e-8, bias_correction=True),
        optax.adam(1.0, 0.9, 0.99, eps=1e-8),
    ),
    "Adam, large eps": (
        rules.Adam(0.9, 0.99, 1e-2, bias_correction=True),
        optax.adam(1.0, 0.9, 0.99, eps=1e-2),
    ),
    "Adam, eps inside": (
        rules.Adam(0.9, 0.99, 1e-4, eps_inside=True, bias_correction=True),
        optax.adam(1.0, 0.9, 0.99, eps=0.0, eps_root=1e-4),
    ),
    "AdamE": (rules.AdamE(0.9, 0.99, 1e-4, 0.25), powers(0.9, 0.99, 1e-4, 0.25)),
    "AdamE without division": (
        rules.AdamE(0.9, 0.99, 0.0, 0.0),
        scaled(optax.ema(0.9, debias=False)),
    ),
    "AdamE at a half": (
        rules.AdamE(0.9, 0.99, 1e-8, bias_correction=True),
        optax.adam(1.0, 0.9, 0.99, eps=1e-8),
    ),
    "Adalayer": (
        rules.Adalayer(0.9, 0.99, 1e-4),
        powers(0.9, 0.99, 1e-4, 0.5, np.zeros((4, 6), int)),
    ),
    "NAdam": (
        rules.NAdam(0.9, 0.99, 1e-8, bias_correction=True),
        optax.nadam(1.0, 0.9, 0.99, eps=1e-8),
    ),
    "RMSProp, eps outside": (
        rules.RMSProp(0.95, 1e-3),
        optax.rmsprop(1.0, decay=0.95, eps=1e-3, eps_in_sqrt=False),
    ),
    "RMSProp, eps inside": (
        rules.RMSProp(0.95, 1e-6, eps_inside=True),
        optax.rmsprop(1.0, decay=0.95, eps=1e-6),
    ),
    "RMSProp, corrected": (
        rules.RMSProp(0.95, 1e-3, bias_correction=True),
        optax.adam(1.0, 0.0, 0.95, eps=1e-3),
    ),
    "AdaGrad": (
        rules.AdaGrad(1e-7, eps_inside=True, initial=0.1),
        optax.adagrad(1.0, initial_accumulator_value=0.1, eps=1e-7),
    ),
    "Lion": (rules.Lion(0.9, 0.95), optax.lion(1.0, 0.9, 0.95, weight_decay=0.0)),
    "Muon, Newton-Schulz": (
        rules.Muon(0.9, rules.NewtonSchulz(5)),
        # optax multiplies by the root of the matrix's aspect ratio, here 6 / 4
        optax.contrib.muon(1.5**-0.5, beta=0.9, eps=0.0, nesterov=False, ns_steps=5),
    ),
    "Muon, Polar Express": (
        rules.Muon(0.9, rules.PolarExpress(6)),
        optax.contrib.muon(
            1.5**-0.5,
            beta=0.9,
            eps=0.0,
            nesterov=False,
            ns_steps=6,
            ns_coeffs=np.array(rules.PolarExpress(6).coefficients),
        ),
    ),
    "AdamW": (
        rules.WeightDecay(rules.Adam(0.9, 0.99, 1e-8, bias_correction=True), 0.3),
        optax.adamw(1.0, 0.9, 0.99, eps=1e-8, weight_decay=0.3),
    ),
}


def run(optimizer, problem):
    @jax.jit
    def loop(w):
        def step(carry, _):
            w, state = carry
            gradient = problem.scaled_gradient(w)
            return optimizer.update(gradient, state, w, jnp.asarray(ETA)), None

        return jax.lax.scan(step, (w, optimizer.init(w)), None, length=STEPS)[0][0]

    return loop(0.1 * jax.random.normal(jax.random.key(0), problem.weight_shape))


@pytest.mark.sampled
@pytest.mark.parametrize("case", PAIRS, ids=str)
def test_agrees_with_optax_over_a_thousand_steps(case):
    ours, theirs = PAIRS[case]
    problem = multiclass(0, spread=1.0)  # losses of order one: the ordinary range
    w = run(ours, problem)
    with jax.numpy_dtype_promotion("standard"):  # optax counts steps in int32
        v = run(rules.FromOptax(theirs), problem)
    assert jnp.max(jnp.abs(w - v)) <= 1e-10 * jnp.max(jnp.abs(v))


def test_nesterov_is_the_one_of_torch():
    # optax corrects its Nesterov mean for the start, torch computes in bfloat16: the
    # formula of torch.optim.Muon in numpy
    problem = multiclass(0, spread=1.0)
    X, y = np.asarray(problem.X), np.asarray(problem.y)
    w = 0.1 * np.asarray(jax.random.normal(jax.random.key(0), problem.weight_shape))
    ours = run(rules.Muon(0.9, rules.NewtonSchulz(5), nesterov=True), problem)
    buffer = np.zeros_like(w)
    for _ in range(STEPS):
        P = np.exp(X @ w.T)
        P /= P.sum(1, keepdims=True)
        P[np.arange(len(y)), y] -= 1.0
        g = P.T @ X / len(y)
        buffer += (1 - 0.9) * (g - buffer)
        Z = g + 0.9 * (buffer - g)
        Z /= np.linalg.norm(Z)
        for _ in range(5):
            A = Z @ Z.T
            Z = 3.4445 * Z + (-4.7750 * A + 2.0315 * A @ A) @ Z
        w = w - ETA * Z
    assert np.max(np.abs(np.asarray(ours) - w)) <= 1e-10 * np.max(np.abs(w))


TORCH = {
    "Adam": (
        rules.Adam(0.9, 0.99, 1e-8, bias_correction=True),
        lambda torch, w: torch.optim.Adam([w], lr=ETA, betas=(0.9, 0.99), eps=1e-8),
    ),
    "RMSProp": (
        rules.RMSProp(0.95, 1e-3),
        lambda torch, w: torch.optim.RMSprop([w], lr=ETA, alpha=0.95, eps=1e-3),
    ),
    "AdaGrad": (
        rules.AdaGrad(1e-10),
        lambda torch, w: torch.optim.Adagrad([w], lr=ETA, eps=1e-10),
    ),
    "SGD": (
        rules.GradientDescent(0.9),
        lambda torch, w: torch.optim.SGD([w], lr=ETA, momentum=0.9),
    ),
    "SGD, Nesterov": (
        rules.GradientDescent(0.9, nesterov=True),
        lambda torch, w: torch.optim.SGD([w], lr=ETA, momentum=0.9, nesterov=True),
    ),
}


@pytest.mark.parametrize(
    "case",
    ["Adam", "SGD", "SGD, Nesterov"]
    + [pytest.param(c, marks=pytest.mark.slow) for c in ("RMSProp", "AdaGrad")],
)
def test_agrees_with_torch_over_a_thousand_steps(case):
    torch = pytest.importorskip("torch")
    ours, make = TORCH[case]
    problem = multiclass(0, spread=1.0)
    w = run(ours, problem)
    X = torch.tensor(np.asarray(problem.X))
    y = torch.tensor(np.asarray(problem.y), dtype=torch.long)
    start = 0.1 * jax.random.normal(jax.random.key(0), problem.weight_shape)
    v = torch.tensor(np.asarray(start), requires_grad=True)
    theirs = make(torch, v)
    for _ in range(STEPS):
        theirs.zero_grad()
        torch.nn.functional.cross_entropy(X @ v.T, y).backward()
        theirs.step()
    v = v.detach().numpy()
    assert np.max(np.abs(np.asarray(w) - v)) <= 1e-10 * np.max(np.abs(v))


# rules of which nobody else has an implementation to compare with
OWN = (
    rules.SteepestDescent(pn.norms.Lp(3.0), 0.9),
    rules.SteepestDescent(pn.norms.L2(), normalized=False),
    rules.Adam(0.9, 0.99, 0.0),
    rules.RMSProp(0.9, 0.0),
    rules.AdaGrad(0.0),
    rules.Muon(0.0, rules.CubicNewtonSchulz(8)),
    rules.Muon(0.9, rules.PolarExpress(8)),
    rules.Shampoo(0.9),
    rules.Shampoo(0.0),
    rules.Shampoo(0.9, 1e-3, 0.5),
    rules.AdamE(0.9, 0.99, 0.0, 0.75),
    rules.NAdam(0.9, 0.99, 0.0),
    rules.Adalayer(0.9, 0.99, 0.0),
)
EVERY = (*(ours for ours, _ in PAIRS.values()), *OWN)


def scale_free(rule):
    what = rule.character()
    without_eps = what.second is None or what.second.outside == 0.0
    return bool(what.normalised) and without_eps


SCALE_FREE = tuple(rule for rule in EVERY if scale_free(rule))
every_rule = pytest.mark.parametrize("rule", EVERY, ids=repr)


def follow(rule, gradients, log_scales, w):
    state = rule.init(w)
    for d, s in zip(gradients, log_scales, strict=True):
        gradient = ScaledGradient(d, jnp.asarray(s))
        w, state = rule.update(gradient, state, w, jnp.asarray(0.1))
    return w


@pytest.mark.sampled
@pytest.mark.parametrize("rule", SCALE_FREE, ids=repr)
@pytest.mark.parametrize("shift", [-1e6, -800.0, 500.0])
def test_scale_free_rules_never_see_the_scale(rule, shift):
    gradients = jax.random.normal(jax.random.key(0), (12, 2, 3))
    log_scales = np.random.default_rng(0).uniform(-4, 0, size=12)
    w = follow(rule, gradients, log_scales, jnp.zeros((2, 3)))
    moved = follow(rule, gradients, log_scales + shift, jnp.zeros((2, 3)))
    # a shift of 1e6 leaves the differences of scales ten digits
    assert jnp.allclose(moved, w, rtol=1e-8, atol=1e-9)


@every_rule
def test_how_a_gradient_is_split_does_not_matter(rule):
    gradients = jax.random.normal(jax.random.key(1), (12, 2, 3))
    log_scales = np.random.default_rng(1).uniform(-4, 0, size=12)
    w = follow(rule, gradients, log_scales, jnp.zeros((2, 3)))
    split = np.random.default_rng(2).uniform(-3, 3, size=12)
    again = follow(
        rule,
        gradients * jnp.exp(jnp.asarray(split))[:, None, None],
        log_scales - split,
        jnp.zeros((2, 3)),
    )
    assert jnp.allclose(again, w, rtol=1e-10, atol=1e-12)


@every_rule
def test_a_gradient_that_is_zero_moves_nothing_and_makes_no_nan(rule):
    w = follow(rule, jnp.zeros((3, 2, 3)), [-5.0, -5.0, -5.0], jnp.ones((2, 3)))
    decay = rule.character().decay
    left = 1.0 if decay is None else (1.0 - 0.1 * float(decay)) ** 3
    assert jnp.allclose(w, left, rtol=1e-14, atol=0)


@pytest.mark.parametrize(
    ("eps", "inside"), [(1e-8, False), (1e-16, True), (1e-300, False), (0.1, False)]
)
def test_eps_is_met_exactly_at_any_scale(eps, inside):
    # one step of Adam from rest, in exact arithmetic by logarithms
    d = np.array([1.0, -2.0, 0.5])
    b1, b2 = 0.9, 0.99
    rule = rules.Adam(b1, b2, eps, eps_inside=inside)
    for log_scale in (0.0, -10.0, -18.4, -30.0, -300.0, -690.0, -1500.0, -1e5):
        w = follow(rule, jnp.asarray(d)[None], [log_scale], jnp.zeros(3))
        log_m = np.log(1 - b1) + np.log(np.abs(d)) + log_scale
        log_v = np.log(1 - b2) + 2 * (np.log(np.abs(d)) + log_scale)
        if inside:
            log_below = 0.5 * np.logaddexp(log_v, np.log(eps))
        else:
            log_below = np.logaddexp(0.5 * log_v, np.log(eps))
        wanted = -0.1 * np.sign(d) * np.exp(log_m - log_below)
        assert np.allclose(w, wanted, rtol=1e-11, atol=1e-290)


def test_memories_decay_through_a_sudden_drop_of_the_gradient():
    # after a large gradient, tiny ones: m/sqrt(v) falls like (b1/sqrt b2)^t exactly
    b1, b2 = 0.9, 0.99
    rule = rules.Adam(b1, b2, 0.0)
    w, state = jnp.zeros(2), rule.init(jnp.zeros(2))
    one = jnp.ones(2)
    ratios = []
    for s in [0.0, *[-2000.0] * 50]:
        before = w
        w, state = rule.update(
            ScaledGradient(one, jnp.asarray(s)), state, w, jnp.ones(())
        )
        ratios.append(float((before - w)[0]))
    first = (1 - b1) / np.sqrt(1 - b2)
    wanted = first * (b1 / np.sqrt(b2)) ** np.arange(51)
    assert np.allclose(ratios, wanted, rtol=1e-10)


def test_special_cases_within_the_general():
    gradients = jax.random.normal(jax.random.key(3), (9, 2, 3))
    scales = np.linspace(0, -3, 9)
    pairs = [
        (rules.Signum(0.8), rules.SteepestDescent(pn.norms.Linf(), 0.8)),
        (rules.Muon(0.8), rules.SteepestDescent(pn.norms.Spectral(), 0.8)),
        (rules.Lion(0.8, 0.8), rules.Signum(0.8)),
        (rules.RMSProp(0.9, 1e-3), rules.Adam(0.0, 0.9, 1e-3)),
        (rules.Adam(0.0, 0.0, 0.0), rules.SignDescent()),
        (rules.Muon(0.7, rules.CubicNewtonSchulz(40)), rules.Muon(0.7)),
        (rules.Muon(0.7, rules.PolarExpress(14, 1e-5)), rules.Muon(0.7)),
        (rules.Shampoo(0.0), rules.Muon(0.0)),
        (rules.WeightDecay(rules.Lion(0.9, 0.99), 0.0), rules.Lion(0.9, 0.99)),
        (
            rules.SteepestDescent(pn.norms.L2(), normalized=False),
            rules.GradientDescent(),
        ),
    ]
    for a, b in pairs:
        w = follow(a, gradients, scales, jnp.zeros((2, 3)))
        v = follow(b, gradients, scales, jnp.zeros((2, 3)))
        assert jnp.allclose(w, v, rtol=1e-9, atol=1e-10), (a, b)


def test_polar_factors():
    M = jax.random.normal(jax.random.key(0), (4, 7))
    U, _, Vt = np.linalg.svd(np.asarray(M), full_matrices=False)
    for X in (M, M.T, 1e-150 * M):
        exact = rules.ExactPolar()(X)
        polar = U @ Vt
        assert jnp.allclose(exact, polar if X.shape == M.shape else polar.T, atol=1e-12)
        assert jnp.allclose(rules.CubicNewtonSchulz(30)(X), exact, atol=1e-10)
        s = jnp.linalg.svd(rules.NewtonSchulz(5)(X), compute_uv=False)
        assert jnp.all((s > 0.6) & (s < 1.25))
    per_step = [(3.4445, -4.7750, 2.0315)] * 3
    assert jnp.array_equal(rules.NewtonSchulz(3, per_step)(M), rules.NewtonSchulz(3)(M))
    v = jnp.array([3.0, 4.0])
    assert jnp.allclose(rules.ExactPolar()(v), v / 5)


@pytest.mark.parametrize("least", [0.3, 1e-2, 1e-3, 1e-6])
def test_quintics_of_polar_express_are_the_best(least):
    # Chebyshev's criterion: as many alternations as there are coefficients, and one
    low, high = least, 1.0
    polar = rules.PolarExpress(9, least)
    errors = []
    for a, b, c in polar.coefficients:
        x = np.geomspace(low, high, 200_001)
        deviation = 1 - (a * x + b * x**3 + c * x**5)
        error = np.abs(deviation).max()
        if high - low > 1e-3:  # narrower ones are the limit's, not the exchange's
            at_peaks = deviation[np.abs(deviation) > (1 - 1e-4) * error]
            flips = np.flatnonzero(np.diff(np.sign(at_peaks)))
            assert len(flips) == 3
        errors.append(error)
        low, high = 1 - error, 1 + error
    assert np.all(np.diff(errors) < 1e-15)
    assert abs(polar.error - errors[-1]) <= 1e-3 * errors[-1] + 1e-15
    # no triple near them does better on the first interval
    x = np.geomspace(least, 1.0, 20_001)
    powers = np.stack([x, x**3, x**5])
    rng = np.random.default_rng(0)
    first = np.array(polar.coefficients[0])
    for _ in range(200):
        other = first * (1 + 0.01 * rng.normal(size=3))
        assert np.abs(1 - other @ powers).max() > errors[0]


def test_polar_express_keeps_its_promise_on_matrices():
    rng = np.random.default_rng(0)
    U, _ = np.linalg.qr(rng.normal(size=(5, 5)))
    V, _ = np.linalg.qr(rng.normal(size=(9, 5)))
    s = np.array([1.0, 0.3, 0.04, 0.002, 0.0])
    for steps in (3, 5, 6, 7, 8):
        polar = rules.PolarExpress(steps, 1e-3)
        for M in (U * s @ V.T, (U * s @ V.T).T):
            seen = np.linalg.svd(np.asarray(polar(jnp.asarray(M))), compute_uv=False)
            assert np.abs(seen[:4] - 1).max() <= polar.error + 1e-12
            assert seen[4] < 1e-9  # a null direction stays one
    # the usual five steps leave the same matrix within 1 +- .3
    usual = rules.NewtonSchulz(5)(jnp.asarray(U * s @ V.T))
    seen = np.linalg.svd(np.asarray(usual), compute_uv=False)
    assert np.abs(seen[:4] - 1).max() > 0.15


def test_shampoo_is_the_formula():
    # with a pseudo-inverse by scipy, in the ordinary range, over rank-deficient steps
    from scipy.linalg import eigh

    def root(M):
        values, U = eigh(M)
        keep = values > 1e-12 * values[-1]
        return (U[:, keep] * values[keep] ** -0.25) @ U[:, keep].T

    rng = np.random.default_rng(0)
    w, L, R = np.zeros((3, 5)), np.zeros((3, 3)), np.zeros((5, 5))
    gradients = rng.normal(size=(12, 3, 5))
    gradients -= gradients.mean(axis=1, keepdims=True)  # rank 2, as cross-entropy's
    for g in gradients:
        L, R = 0.8 * L + 0.2 * g @ g.T, 0.8 * R + 0.2 * g.T @ g
        w = w - 0.1 * root(L) @ g @ root(R)
    ours = follow(
        rules.Shampoo(0.8), jnp.asarray(gradients), np.zeros(12), jnp.zeros((3, 5))
    )
    assert np.abs(np.asarray(ours) - w).max() <= 1e-8 * np.abs(w).max()
    assert np.abs(np.asarray(ours).sum(axis=0)).max() <= 1e-9


@pytest.mark.parametrize(("power", "eps"), [(0.5, 1e-3), (0.25, 1e-2), (0.5, 0.0)])
def test_shampoo_at_other_powers_in_plain_numpy(power, eps):
    rng = np.random.default_rng(1)
    w, L, R = np.zeros((2, 3)), np.zeros((2, 2)), np.zeros((3, 3))
    gradients = rng.normal(size=(9, 2, 3))
    for g in gradients:
        L, R = 0.8 * L + 0.2 * g @ g.T, 0.8 * R + 0.2 * g.T @ g
        parts = []
        for M in (L, R):
            values, U = np.linalg.eigh(M + eps * np.eye(len(M)))
            keep = values > 1e-12 * values[-1]
            parts.append((U[:, keep] * values[keep] ** -power) @ U[:, keep].T)
        w = w - 0.1 * parts[0] @ g @ parts[1]
    rule = rules.Shampoo(0.8, eps, power)
    ours = follow(rule, jnp.asarray(gradients), np.zeros(9), jnp.zeros((2, 3)))
    assert np.abs(np.asarray(ours) - w).max() <= 1e-8 * np.abs(w).max()


def test_adam_mini_between_adam_and_one_block():
    problem = multiclass(0, spread=1.0)
    shape = problem.weight_shape
    single = np.arange(np.prod(shape)).reshape(shape)
    adam = run(rules.Adam(0.9, 0.99, 1e-4), problem)
    assert jnp.allclose(
        run(rules.AdamMini(0.9, 0.99, 1e-4, single), problem), adam, rtol=1e-12
    )
    rows = single // shape[1] * 7 - 3  # numbers need not be consecutive
    ours = run(rules.AdamMini(0.9, 0.99, 1e-4, rows), problem)
    theirs = run(rules.FromOptax(powers(0.9, 0.99, 1e-4, 0.5, rows)), problem)
    assert jnp.allclose(ours, theirs, rtol=1e-10)
    assert not jnp.allclose(ours, adam, rtol=1e-3)


def test_blocks_must_fit_the_weights():
    with pytest.raises(ValueError, match=r"blocks must be shaped like the weights"):
        rules.AdamMini(blocks=[0, 1]).init(jnp.ones(3))
    with pytest.raises(TypeError, match="blocks must be whole numbers"):
        rules.AdamMini(blocks=np.array([0.0, 1.0]))


def test_decayed_steps_stay_in_their_ball():
    decay = 0.5
    norm = pn.norms.Linf()
    rule = rules.WeightDecay(rules.Signum(0.9), decay)
    run = pn.train(multiclass(0), rule, steps=2000, step_size=0.05)
    lengths = np.asarray(jax.vmap(norm)(run.weights))
    assert lengths.max() <= 1 / decay + 1e-12
    assert lengths[-1] > 0.99 / decay  # and come to its edge


def test_rules_take_pytrees():
    w = {"a": jnp.ones((2, 3)), "b": [jnp.ones(4)]}
    g = jax.tree.map(lambda x: 0.5 * x, w)
    for rule in EVERY:
        state = rule.init(w)
        gradient = ScaledGradient(g, jnp.asarray(-1.0))
        v, _ = rule.update(gradient, state, w, jnp.asarray(0.1))
        assert jax.tree.structure(v) == jax.tree.structure(w)
        assert all(jnp.all(jnp.isfinite(x)) for x in jax.tree.leaves(v))


def test_hyper_parameters_are_leaves_that_vmap():
    betas = jnp.array([0.5, 0.9])
    batch = eqx.tree_at(lambda r: r.b1, rules.Adam(0.0, 0.99, 0.0), betas)
    gradients = jax.random.normal(jax.random.key(0), (5, 3))
    none = jax.tree.map(lambda _: None, batch)
    axes = eqx.tree_at(lambda r: r.b1, none, 0, is_leaf=lambda x: x is None)
    both = jax.vmap(
        lambda r: follow(r, gradients, [0.0] * 5, jnp.zeros(3)), in_axes=(axes,)
    )(batch)
    for b, w in zip([0.5, 0.9], both, strict=True):
        alone = follow(rules.Adam(b, 0.99, 0.0), gradients, [0.0] * 5, jnp.zeros(3))
        assert jnp.allclose(w, alone)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: rules.Adam(b1=1.0), r"b1 must be >= 0 and < 1; got 1.0"),
        (lambda: rules.Adam(b2=-0.1), "b2"),
        (lambda: rules.Adam(eps=-1e-8), "eps must be >= 0"),
        (lambda: rules.RMSProp(b2=float("nan")), "NaN"),
        (lambda: rules.GradientDescent(1.5), "momentum"),
        (lambda: rules.AdaGrad(initial=-1.0), "initial"),
        (lambda: rules.NewtonSchulz(0), "steps must be at least 1"),
        (lambda: rules.NewtonSchulz(5, (1.0, 2.0)), "one such triple a step"),
        (lambda: rules.PolarExpress(5, 1.0), "least must be > 0 and < 1; got 1.0"),
        (lambda: rules.PolarExpress(0), "steps must be at least 1"),
        (lambda: rules.AdamE(exponent=1.0), "exponent must be >= 0 and < 1; got 1.0"),
        (lambda: rules.NAdam(b1=1.0), "b1 must be"),
        (lambda: rules.Shampoo(exponent=0.0), "exponent must be > 0"),
        (lambda: rules.Shampoo(1.0), "b2 must be >= 0 and < 1"),
        (lambda: rules.WeightDecay(rules.Adam(), -0.1), "decay must be >= 0"),
    ],
)
def test_values_out_of_range_are_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()


@pytest.mark.parametrize(
    "make",
    [
        lambda: rules.SteepestDescent("linf"),
        lambda: rules.Muon(polar="exact"),
        lambda: rules.FromOptax(3),
        lambda: rules.WeightDecay("adam", 0.1),
        lambda: rules.Adam(b1="large"),
    ],
)
def test_wrong_kinds_are_refused(make):
    with pytest.raises(TypeError):
        make()
