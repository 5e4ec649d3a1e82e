"""An equinox network trained by optax, watched: `python with_equinox.py [FOLDER]`."""

import sys

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from sklearn.datasets import load_digits

import penchant as pn

folder = sys.argv[1] if len(sys.argv) > 1 else "watched"

X, y = load_digits(return_X_y=True)
X = np.asarray(X / 16.0, np.float32)  # penchant switches JAX to 64 bits: say which
net = eqx.nn.MLP(64, 10, 32, 1, activation=jnp.tanh, key=jax.random.key(0))
params, rest = eqx.partition(net, eqx.is_inexact_array)
params = jax.tree.map(lambda w: w.astype(jnp.float32), params)


def logits(params, batch):
    x, y = batch
    return jax.vmap(eqx.combine(params, rest))(x), y


def loss(params, batch):
    scores, y = logits(params, batch)
    return optax.softmax_cross_entropy_with_integer_labels(scores, y).mean()


@jax.jit
def update(params, state, batch):
    updates, state = tx.update(jax.grad(loss)(params, batch), state, params)
    return eqx.apply_updates(params, updates), state


draws = np.random.default_rng(0)
tx = pn.optax.probe(optax.rmsprop(1e-3, decay=0.99))
settings = {"learning_rate": 1e-3, "decay": 0.99, "eps": 1e-8}
state = tx.init(params)
some = [(X[i : i + 64], y[i : i + 64]) for i in range(0, 512, 64)]
watch = pn.optax.watch(
    loss, some, folder, logits=logits, settings=settings, total_steps=200
)
for step in range(200):
    at = draws.integers(0, len(X), 64)
    params, state = update(params, state, (X[at], y[at]))
    watch(step, params, state)
print(watch.finish())
