"""A rule of one's own: signs of the gradient, but at most half of the entries move."""

import jax
import jax.numpy as jnp

import penchant as pn


class HalfSigns(pn.optimizers.AbstractOptimizer):
    """The half of the entries with the larger gradients take a step each."""

    def init(self, w):
        return None

    def update(self, gradient, state, w, step_size):
        def step(w, d):
            large = jnp.abs(d) >= jnp.median(jnp.abs(d))
            return w - step_size * jnp.where(large, jnp.sign(d), 0.0)

        return jax.tree.map(step, w, gradient.direction), None

    def character(self):
        # steps are eta long in the max norm at any loss, but not the steepest in it
        return pn.optimizers.Character(pn.norms.Linf(), normalised=True)


@pn.predict.register(HalfSigns)
def half_signs(setting):
    """No theorem: what is known is said, and what it may be."""
    return setting.unknown(
        "Half of the entries are left out of every step, and no theorem covers that.",
        candidates=(pn.norms.Linf(),),
    )
