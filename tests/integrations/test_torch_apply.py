"""Modules as functions of JAX."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

import penchant as pn


def test_values_and_gradients_in_the_weights_too():
    torch.manual_seed(0)
    module = torch.nn.Sequential(
        torch.nn.Linear(3, 5), torch.nn.BatchNorm1d(5), torch.nn.Tanh(),
        torch.nn.Dropout(0.5), torch.nn.Linear(5, 2),
    )  # fmt: skip
    module(torch.randn(20, 3))  # running moments of its own
    apply, w = pn.torch.apply(module)
    x = np.random.default_rng(0).normal(size=(4, 3))
    own = module.double().eval()
    t = torch.tensor(x, requires_grad=True)
    out = own(t)
    np.testing.assert_allclose(apply(w, jnp.asarray(x)), out.detach(), atol=1e-12)
    (out**2).sum().backward()
    square = lambda w, x: jnp.sum(apply(w, x) ** 2)
    dw, dx = jax.jit(jax.grad(square, argnums=(0, 1)))(w, jnp.asarray(x))
    np.testing.assert_allclose(dx, t.grad, atol=1e-10)
    for name, p in own.named_parameters():
        np.testing.assert_allclose(dw[name], p.grad, atol=1e-10)
    with pytest.raises(ValueError, match="must have parameters"):
        pn.torch.apply(torch.nn.ReLU())
