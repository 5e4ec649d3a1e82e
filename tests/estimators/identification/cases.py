"""Rules whose character is known, given as black boxes."""

import jax.numpy as jnp
import numpy as np

import penchant as pn
from penchant import norms, optimizers as o

EXACT = 1e-6
"""To what constants are recovered."""

BLOCKS = np.arange(128).reshape(16, 8) // 8 % 4

OURS = (
    o.GradientDescent(),
    o.GradientDescent(0.9),
    o.GradientDescent(0.8, nesterov=True),
    o.SignDescent(),
    o.Signum(0.9),
    o.Lion(),
    o.Lion(0.95, 0.98),
    o.Adam(0.9, 0.95, 1e-6),
    o.Adam(0.8, 0.99, 1e-4, eps_inside=True),
    o.Adam(bias_correction=True),
    o.Adam(eps=0.0),
    o.AdamW(weight_decay=0.1, bias_correction=True),
    o.AdamE(exponent=0.25),
    o.AdamE(b2=0.9, exponent=0.4, bias_correction=True),
    o.AdamMini(),
    o.AdamMini(b2=0.95, blocks=BLOCKS, bias_correction=True),
    o.NAdam(),
    o.NAdam(bias_correction=True),
    o.RMSProp(0.9),
    o.RMSProp(0.99, eps_inside=True, bias_correction=True),
    o.AdaGrad(),
    o.AdaGrad(1e-6, eps_inside=True),
    o.Muon(0.0),
    o.Muon(0.95),
    o.Muon(0.9, nesterov=True),
    o.Muon(0.95, o.NewtonSchulz(5)),
    o.Muon(0.95, o.PolarExpress(6)),
    o.Shampoo(),
    o.Shampoo(0.95, eps=1e-4),
    o.Shampoo(exponent=0.5),
    o.Shampoo(0.0),
    o.SteepestDescent(norms.L1()),
    o.SteepestDescent(norms.Lp(1.5), 0.5),
    o.SteepestDescent(norms.L2(), 0.8),
    o.SteepestDescent(norms.Lp(3.0), 0.9),
    o.SteepestDescent(norms.Linf(), 0.5, normalized=False),
    o.SteepestDescent(norms.Nuclear()),
    o.SteepestDescent(norms.Schatten(1.5)),
    o.SteepestDescent(norms.Schatten(4.0), 0.9),
    o.SteepestDescent(norms.Spectral(), normalized=False),
    o.SteepestDescent(norms.Rowwise(), 0.9),
    o.SteepestDescent(norms.Rowwise(norms.L2(), norms.L1())),
    o.SteepestDescent(norms.Rowwise(norms.Lp(3.0), norms.L2())),
    o.SteepestDescent(norms.Columnwise(norms.Lp(4.0)), 0.5),
    o.WeightDecay(o.Lion(), 0.1),
    o.WeightDecay(o.GradientDescent(0.9), 0.01),
    o.WeightDecay(o.Muon(0.95), 0.1),
)
"""Every rule of ours, in every variant that changes what it is."""


def number(x):
    return float(np.asarray(x))


def near(a, b):
    return abs(number(a) - number(b)) <= EXACT * max(abs(number(b)), 1e-300)


def differences(found, truth):
    """The fields in which a measured character is not the one that is true."""
    wrong = []
    same = (found.steps is None) == (truth.steps is None)
    if same and truth.steps is not None:
        same = found.steps.label == truth.steps.label
    if not same:
        wrong.append(f"steps {found.steps} for {truth.steps}")
    if bool(found.normalised) != bool(truth.normalised):
        wrong.append(f"normalised {found.normalised} for {truth.normalised}")
    if found.steepest != truth.steepest:
        wrong.append(f"steepest {found.steepest} for {truth.steepest}")
    wrong += _first(found.first, truth.first, linear=not truth.normalised)
    wrong += _second(found.second, truth.second)
    decays = found.decay is not None
    if decays != truth.decays or (decays and not near(found.decay, truth.decay)):
        wrong.append(f"decay {found.decay} for {truth.decay}")
    return wrong


def _first(found, truth, *, linear):
    if found is None or truth is None:
        return [] if found is truth else [f"first {found} for {truth}"]
    wrong = []
    if not near(found.decay, truth.decay):
        wrong.append(f"first decay {found.decay} for {truth.decay}")
    mix = lambda m: m.decay if m.mix is None else m.mix
    if not near(mix(found), mix(truth)):
        wrong.append(f"mix {mix(found)} for {mix(truth)}")
    if linear and found.kind != truth.kind:
        wrong.append(f"kind {found.kind} for {truth.kind}")
    return wrong


def _second(found, truth):
    if found is None or truth is None:
        return [] if found is truth else [f"second {found} for {truth}"]
    wrong = []
    for name in ("kind", "over", "corrected"):
        if getattr(found, name) != getattr(truth, name):
            wrong.append(f"{name} {getattr(found, name)} for {getattr(truth, name)}")
    for name in ("decay", "exponent", "eps"):
        if not near(getattr(found, name), getattr(truth, name)):
            wrong.append(f"{name} {getattr(found, name)} for {getattr(truth, name)}")
    if number(truth.eps) > 0 and found.eps_inside != truth.eps_inside:
        wrong.append(f"eps inside: {found.eps_inside}")
    return wrong


# rules of the tests' own making, in NumPy: nothing of them is in the package


def zeros(w):
    return np.zeros_like(w)


def rows(g, m, w):
    """Row-wise normalised, with a mean of ten steps."""
    m = 0.9 * m + 0.1 * g
    return -m / np.linalg.norm(m, axis=1, keepdims=True), m


def schatten_4_with_rows_clipped(g, m, w):
    """Rows are cut to length 1, remembered, and then Schatten-4 steepest."""
    lengths = np.linalg.norm(g, axis=1, keepdims=True)
    g = g * np.minimum(1.0, 1.0 / np.maximum(lengths, 1e-300))
    m = 0.8 * m + 0.2 * g
    U, s, Vt = np.linalg.svd(m, full_matrices=False)
    f = s ** (1.0 / 3.0)
    return -(U * (f / np.sum(f**4) ** 0.25)) @ Vt, m


def block_adam(b1=0.9, b2=0.99, eps=1e-7, columns=2):
    """Adam with one second moment for every two columns, biases corrected."""

    def init(w):
        return zeros(w), np.zeros(w.shape[1] // columns), 0

    def update(g, state, w):
        m, v, t = state
        parts = (g**2).reshape(g.shape[0], -1, columns).mean(axis=(0, 2))
        m, v, t = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * parts, t + 1
        root = np.repeat(np.sqrt(v / (1 - b2**t)), columns)
        return -m / (1 - b1**t) / (root + eps), (m, v, t)

    return init, update


def adamw(b1=0.9, b2=0.999, eps=1e-8, lr=0.01, beside=0.0, through=0.0):
    """AdamW, and what bugs make of it: decay twice, or betas the wrong way round."""

    def init(w):
        return zeros(w), zeros(w), 0

    def update(g, state, w):
        m, v, t = state
        g = g + through * w
        m, v, t = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2, t + 1
        step = m / (1 - b1**t) / (np.sqrt(v / (1 - b2**t)) + eps)
        return -lr * (step + beside * w), (m, v, t)

    return init, update


def soft_polar(share=0.1):
    """Singular values to s/(s + share of the largest): between sizes and signs."""

    def update(g, state, w):
        U, s, Vt = np.linalg.svd(g, full_matrices=False)
        return -(U * (s / (s + share * s[0]))) @ Vt, state

    return update


def in_jax(g, m, w):
    """Signs of a mean, in JAX."""
    m = 0.7 * m + 0.3 * g
    return -0.1 * jnp.sign(m), m


def identify(rule, **more):
    return pn.identify(rule, **more)
