"""Problems of whose minimisers much is known in closed form, and plain runs."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

import penchant as pn
from penchant.flows.slow import _manifold as manifolds, _projection as projections
from penchant.optimizers import Adam, AdamE, AdamMini, GradientDescent


def product(powers):
    """h(w) = prod w_j^a_j, one output."""
    return lambda w, X: jnp.prod(w ** jnp.asarray(powers, float))[None] + 0 * X[:, 0]


@functools.cache
def monomial(powers, start):
    """Fitted to 1; the start is moved on to the manifold by its last entry."""
    w = np.array(start, float)
    rest = np.prod(w[:-1] ** np.array(powers[:-1]))
    w[-1] = rest ** (-1 / powers[-1])
    return pn.Regression(product(powers), jnp.asarray(w), [[1.0]], [1.0])


def two_outputs():
    def apply(w, X):
        x, y, z = w
        return jnp.array([[x**2 * y, y**2 * z]]) + 0 * X

    return pn.Regression(apply, jnp.ones(3), jnp.ones((1, 2)), jnp.ones((1, 2)))


def diagonal(d=40, n=18, k=3, seed=2):
    """A diagonal network u^2 - v^2 on sparse recovery, at 0.3 everywhere."""
    rng = np.random.default_rng(seed)
    X = rng.choice([-1.0, 1.0], size=(n, d))
    truth = np.zeros(d)
    truth[:k] = 1.0
    apply = lambda w, X: X @ (w["u"] ** 2 - w["v"] ** 2)
    w = {"u": jnp.full(d, 0.3), "v": jnp.full(d, 0.3)}
    return pn.Regression(apply, w, X, X @ truth), truth


RULES = {
    "sgd": (GradientDescent(), (0.6769, 0.9573, 1.1725)),
    "adam": (Adam(0.9, 0.999, 0.0), (1.0, 1.0, 1.0)),
    "adame, 1/4": (AdamE(0.9, 0.999, 0.0, 0.25), (0.7710, 0.9713, 1.1119)),
    "adame, 3/4": (AdamE(0.9, 0.999, 0.0, 0.75), (2.1822, 1.0911, 0.7274)),
    "adam-mini": (AdamMini(0.9, 0.999, 0.0, [0, 0, 1]), (0.8050, 1.1385, 0.9859)),
}


def runs(problem, rule, eta, steps, delta, seeds, second, records=20):
    """Projected weights of runs with label noise: `(records, seeds, p)`.

    A loop of its own. The second moment starts at `second`, as theory has it.
    """
    return _paths(problem, rule, eta, steps, delta, seeds, second, records)[0]


def mean_of_runs(problem, rule, eta, steps, delta, seeds, second, records=20):
    r"""The mean of such runs, and its standard error, both `(records, p)`.

    Sums of the past times fresh noise have mean 0 whatever the run, and carry nearly
    all of the spread: off the manifold by $u$, a run moves along it by about $u^2$,
    and $u_{t+1}=au_t+b\xi_t$ makes $\sum(u_t^2-Eu^2)$ a sum of $u_t\xi_t$ and
    $\xi_t^2-1$. Each half of the seeds is corrected by a regression on them that the
    other half was fitted by, which leaves the mean as it is.
    """
    x, sums = _paths(problem, rule, eta, steps, delta, seeds, second, records)
    means, errors = [], []
    for k in range(records):
        known = np.moveaxis(sums[: k + 1], 0, 1).reshape(seeds, -1)
        known = known[:, known.std(axis=0) > 0]
        halves = np.arange(seeds) % 2 == 0
        rest = np.empty_like(x[k])
        for fit, use in ((halves, ~halves), (~halves, halves)):
            design = np.column_stack([np.ones(fit.sum()), known[fit]])
            slopes = np.linalg.lstsq(design, x[k][fit], rcond=None)[0][1:]
            rest[use] = x[k][use] - known[use] @ slopes
        means.append(rest.mean(axis=0))
        errors.append(rest.std(axis=0, ddof=1) / np.sqrt(seeds))
    return np.array(means), np.array(errors)


def _paths(problem, rule, eta, steps, delta, seeds, second, records):
    noisy = pn.Regression(
        problem.apply, problem.params, problem.X, problem.y, label_noise=delta
    )
    x0 = problem.start
    manifold = manifolds.manifold_of(problem, problem.flat(x0))
    state = rule.init(x0)
    if second is not None:
        fields = {"second": second, "log_frame": jnp.zeros(())}
        state = type(state)(**{
            **{name: getattr(state, name) for name in vars(state)},
            **fields,
        })

    def momentum(state):
        """The first moment, where a rule has one."""
        if second is None:
            return jnp.zeros(problem.parameters)
        return problem.flat(state.first) * jnp.exp(state.log_frame)

    @jax.jit
    def path(key):
        def one(carry, t):
            w, state, sums = carry
            key_t = jax.random.fold_in(key, t)
            g = noisy.scaled_gradient(w, None, None, key_t)
            xi = jax.random.normal(key_t, problem.y.shape)
            heavy = problem.unflat(momentum(state))
            r, pushed = jax.jvp(problem.residuals, (w,), (heavy,))
            more = [jnp.sum(r * xi), jnp.sum(pushed * xi), jnp.sum(xi**2 - 1.0)]
            w, state = rule.update(g, state, w, jnp.asarray(eta))
            return (w, state, sums + jnp.stack(more)), None

        def stretch(carry, block):
            start = (*carry, jnp.zeros(3))
            (w, state, sums), _ = jax.lax.scan(one, start, block)
            x, S = problem.flat(w), jnp.ones(problem.parameters)
            if second is not None:
                v = problem.flat(rule.log_second(state))
                S = jnp.exp(-jnp.asarray(rule.character().second.exponent) * v)
            return (w, state), (projections.near(manifold, x, S)[0], sums)

        blocks = jnp.arange(steps).reshape(records, -1)
        return jax.lax.scan(stretch, (x0, state), blocks)[1]

    keys = jax.random.split(jax.random.key(7), seeds)
    x, sums = jax.vmap(path)(keys)
    return np.swapaxes(np.asarray(x), 0, 1), np.swapaxes(np.asarray(sums), 0, 1)
