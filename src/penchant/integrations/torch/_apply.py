"""A torch module as a function of JAX: values and gradients by callbacks."""

import copy
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from jaxtyping import Array
from torch.overrides import TorchFunctionMode

from penchant._checks import check_instance
from penchant._types import Tree

Weights = dict[str, Array]

HINGES = frozenset({
    torch.relu,
    torch.relu_,
    torch.Tensor.relu,
    torch.Tensor.relu_,
    torch.nn.functional.relu,
    torch.nn.functional.relu_,
})
"""What `max(z, 0)` is called there."""


class TorchApply:
    """`apply(w, X)` of a module, in float64 and in its evaluation mode.

    Differentiable in both arguments, once. It runs in torch, a call from a compiled
    function and back: right for audits and for measuring, slow for training.
    """

    def __init__(self, module: torch.nn.Module, gain: float | None = None):
        self.module, self.gain = module, gain
        self._called = _callable(self)

    def __call__(self, w: Weights, X: Array) -> Array:
        return self._called(w, X)

    def smoothed(self, gain: float) -> "TorchApply":
        """The same with a softplus for every ReLU, for an attack's gradients."""
        return TorchApply(self.module, gain)

    def run(self, w: dict[str, torch.Tensor], X: torch.Tensor) -> torch.Tensor:
        """What the module returns of tensors."""
        if self.gain is None:
            out = torch.func.functional_call(self.module, w, (X,))
        else:
            with _Smooth(self.gain):
                out = torch.func.functional_call(self.module, w, (X,))
        if not isinstance(out, torch.Tensor):
            raise TypeError(
                "module must return one tensor of scores; got "
                f"{type(out).__name__}. Wrap it so that it does."
            )
        return out

    def __repr__(self) -> str:
        return f"TorchApply({type(self.module).__name__})"


def apply(module: torch.nn.Module) -> tuple[TorchApply, Weights]:
    r"""A module as `(apply, w)`, for audits and whatever takes a function of JAX.

    The module is copied, in float64 and evaluation mode (no dropout, batch norm by its
    running moments), so that the one given stays as it is. `w` are its parameters by
    name.

    >>> import torch
    >>> module = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU())
    >>> function, w = apply(module)
    >>> sorted(w), function(w, jnp.ones((2, 3))).shape
    (['0.bias', '0.weight'], (2, 4))

    Args:
        module: Any module on a batch of examples that returns one tensor.

    Raises:
        TypeError: If it is no module.
        ValueError: If it has no parameters, or one that is not real.
    """
    check_instance("module", module, torch.nn.Module, "a torch.nn.Module")
    own = copy.deepcopy(module).cpu().double().eval()
    found = dict(own.named_parameters())
    if not found:
        raise ValueError("module must have parameters; it has none.")
    odd = [name for name, p in found.items() if not p.is_floating_point()]
    if odd:
        raise ValueError(
            f"module must have real parameters; {odd[0]} is {found[odd[0]].dtype}."
        )
    w = {name: jnp.asarray(p.detach().numpy()) for name, p in found.items()}
    return TorchApply(own), w


class _Smooth(TorchFunctionMode):
    """Within it every ReLU is a softplus, as sharp as what it sees is large."""

    def __init__(self, gain: float):
        super().__init__()
        self.gain = gain

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if func not in HINGES:
            return func(*args, **(kwargs or {}))
        z = args[0] if args else kwargs["input"]
        size = z.detach().abs().mean()
        size = torch.where(size > 0, size, torch.ones_like(size)) / self.gain
        return torch.nn.functional.softplus(z / size) * size


def _callable(owner: TorchApply) -> Any:
    shapes: dict[tuple[int, ...], tuple[int, ...]] = {}

    def shape_of(w: Weights, X: Array) -> jax.ShapeDtypeStruct:
        shape = tuple(X.shape)
        if shape not in shapes:
            zeros = {name: torch.zeros(x.shape).double() for name, x in w.items()}
            with torch.no_grad():
                out = owner.run(zeros, torch.zeros(shape).double())
            shapes[shape] = tuple(out.shape)
        return jax.ShapeDtypeStruct(shapes[shape], jnp.float64)

    def forward(w: Tree, X: Tree) -> np.ndarray:
        with torch.no_grad():
            out = owner.run({k: _tensor(v) for k, v in w.items()}, _tensor(X))
        return out.double().numpy()

    def backward(w: Tree, X: Tree, pull: Any) -> Any:
        names = list(w)
        tensors = [_tensor(w[name]).requires_grad_() for name in names]
        x = _tensor(X).requires_grad_()
        with torch.enable_grad():
            out = owner.run(dict(zip(names, tensors, strict=True)), x)
        grads = torch.autograd.grad(
            out, [*tensors, x], _tensor(pull).to(out.dtype), allow_unused=True
        )
        full = [
            (torch.zeros_like(t) if g is None else g).double().numpy()
            for t, g in zip([*tensors, x], grads, strict=True)
        ]
        return dict(zip(names, full[:-1], strict=True)), full[-1]

    @jax.custom_vjp
    def call(w: Weights, X: Array) -> Array:
        out = shape_of(w, X)
        return jax.pure_callback(forward, out, w, X, vmap_method="sequential")

    def save(w: Weights, X: Array) -> Any:
        return call(w, X), (w, X)

    def pull_back(saved: Any, pull: Array) -> Any:
        w, X = saved
        like = lambda x: jax.ShapeDtypeStruct(x.shape, jnp.float64)
        out = ({name: like(x) for name, x in w.items()}, like(X))
        return jax.pure_callback(backward, out, w, X, pull, vmap_method="sequential")

    call.defvjp(save, pull_back)
    return call


def _tensor(x: Tree) -> torch.Tensor:
    # a copy: what a callback is given must not be written to
    return torch.tensor(np.asarray(x, dtype=float))
