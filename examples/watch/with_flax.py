"""A flax network trained by optax, watched: `python with_flax.py [FOLDER]`."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen
from flax.training.train_state import TrainState
from sklearn.datasets import load_digits

import penchant as pn

folder = sys.argv[1] if len(sys.argv) > 1 else "watched"

X, y = load_digits(return_X_y=True)
X = np.asarray(X / 16.0, np.float32)  # penchant switches JAX to 64 bits: say which


class Net(linen.Module):
    @linen.compact
    def __call__(self, x):
        return linen.Dense(10)(linen.tanh(linen.Dense(32)(x)))


def logits(params, batch):
    x, y = batch
    return net.apply(params, x), y


def loss(params, batch):
    scores, y = logits(params, batch)
    return optax.softmax_cross_entropy_with_integer_labels(scores, y).mean()


@jax.jit
def update(state, batch):
    return state.apply_gradients(grads=jax.grad(loss)(state.params, batch))


net, draws = Net(), np.random.default_rng(0)
rule = optax.inject_hyperparams(optax.adamw)(learning_rate=1e-3, weight_decay=0.01)
tx = pn.optax.probe(optax.chain(optax.clip_by_global_norm(1.0), rule))
params = net.init(jax.random.key(0), jnp.asarray(X[:1]))
state = TrainState.create(apply_fn=net.apply, params=params, tx=tx)
some = [(X[i : i + 64], y[i : i + 64]) for i in range(0, 512, 64)]
watch = pn.optax.watch(loss, some, folder, logits=logits, total_steps=200)
for step in range(200):
    at = draws.integers(0, len(X), 64)
    state = update(state, (X[at], y[at]))
    watch(step, state.params, state.opt_state)
print(watch.finish())
