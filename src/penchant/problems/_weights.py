"""Weights of other frameworks' linear layers in the shape that a problem has."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from penchant._arrays import numbers
from penchant._types import Weights
from penchant.problems.classification import LinearClassification

_KERNELS = ("weight", "kernel", "coef_", "W", "w")
_BIASES = ("bias", "intercept_", "b")


class Head(eqx.Module):
    """A linear layer as it was found: its matrix or vector, and its bias if any.

    `kernel` is `(d,)`, `(k, d)` as torch and scikit-learn have it, or `(d, k)` as Keras
    has it; `bias` `(k,)` or None; `name` says where they were.
    """

    kernel: np.ndarray
    bias: np.ndarray | None
    name: str = eqx.field(static=True)

    def weights(self, problem: LinearClassification) -> tuple[Weights, tuple[str, ...]]:
        """Weights of the problem's shape, and a sentence on whatever was done to them.

        Two rows for two classes become their difference, one vector for two rows
        (−w, w)/2: the margins are the same. A bias becomes the weight of the feature
        that is 1.

        Raises:
            ValueError: If the shape fits no layer on these data, or there is a bias and
                the problem has none.
        """
        d = problem.X.shape[1] - int(problem.bias)
        k = problem.classes
        W, notes = _rows(self.kernel, d, 2 if problem.binary else k, self.name)
        b = np.zeros(len(W)) if self.bias is None else self.bias
        if b.shape != (len(W),):
            raise ValueError(
                f"{self.name}: the bias must have shape ({len(W)},), one a row of the "
                f"weights; got {b.shape}."
            )
        if not problem.bias and np.any(b != 0):
            raise ValueError(
                f"{self.name} has a bias and the problem none: bias=True (--bias) "
                "appends the feature that is 1, whose weight counts in every norm."
            )
        if problem.bias:
            W = np.hstack([W, b[:, None]])
            if self.bias is None:
                notes.append("The weights have no bias; 0 stands for it.")
        if problem.binary:
            if len(W) == 2:
                notes.append(
                    "Two rows of weights for two classes: their difference is the "
                    "vector whose margins count."
                )
                return jnp.asarray(W[1] - W[0]), tuple(notes)
            return jnp.asarray(W[0]), tuple(notes)
        if len(W) == 1 and k == 2:
            W = np.vstack([-W[0], W[0]]) / 2.0
        return jnp.asarray(W), tuple(notes)


def _rows(
    kernel: np.ndarray, d: int, k: int, name: str
) -> tuple[np.ndarray, list[str]]:
    """The weights with a class a row; one row is the margin of the second class."""
    W = kernel[None, :] if kernel.ndim == 1 else kernel
    heights = {1, 2} if k == 2 else {k}
    fits = W.ndim == 2 and W.shape[1] == d and W.shape[0] in heights
    turned = W.ndim == 2 and W.shape[0] == d and W.shape[1] in heights
    if fits and turned:
        return W, [f"{name}: a square matrix is read with a class a row, as in torch."]
    if fits:
        return W, []
    if turned:
        return W.T, [f"{name}: the weights came with a feature a row, as in Keras."]
    wanted = f"({d},), (1, {d}), (2, {d})" if k == 2 else f"({k}, {d})"
    raise ValueError(
        f"{name}: weights of {d} features and {k} classes must have shape {wanted} or "
        f"be transposed; got {kernel.shape}. Were the data prepared as in training "
        "(columns, scaling)?"
    )


def read_head(weights: object, name: str = "weights") -> Head:
    """The linear layer in an array, a pair, a layer, an estimator or a state dict.

    >>> import numpy as np, penchant as pn
    >>> pn.problems.read_head((np.ones((3, 5)), np.zeros(3))).kernel.shape
    (3, 5)

    Args:
        weights: An array; a pair of weights and bias; a torch `nn.Linear`, a Keras
            `Dense`, a scikit-learn estimator with `coef_`; or a mapping with one such
            layer, such as a `state_dict`.
        name: What messages call it.

    Raises:
        TypeError: If no numbers are found.
        ValueError: If there are several layers, or an entry is not finite.
    """
    if isinstance(weights, Head):
        return weights
    if isinstance(weights, Mapping):
        kernel, bias = _from_mapping(weights, name)
    elif isinstance(weights, (tuple, list)) and _is_pair(weights):
        kernel, bias = weights
    elif hasattr(weights, "coef_"):
        kernel, bias = _attributes(weights, "coef_", "intercept_")
    elif hasattr(weights, "get_weights"):
        kernel, *rest = weights.get_weights()  # type: ignore[attr-defined]
        bias = rest[0] if rest else None
    elif hasattr(weights, "weight"):
        kernel, bias = _attributes(weights, "weight", "bias")
    elif hasattr(weights, "state_dict"):
        kernel, bias = _from_mapping(weights.state_dict(), name)  # type: ignore[attr-defined]
    else:
        kernel, bias = weights, None
    W = numbers(name, kernel)  # type: ignore[arg-type]
    b = None if bias is None else np.atleast_1d(numbers(f"{name}: bias", bias))
    for part in (W, b):
        if part is not None and not np.isfinite(part).all():
            raise ValueError(f"{name} must be finite; got NaN or infinite entries.")
    if b is not None and b.size == 1 and W.ndim == 1:
        b = b.reshape(1)
    if not np.any(W != 0):
        raise ValueError(f"{name} must not be all 0.")
    return Head(W, b, name)


def _attributes(layer: object, kernel: str, bias: str) -> tuple[Any, Any]:
    b = getattr(layer, bias, None)
    if kernel == "coef_" and b is not None and not np.any(np.asarray(b) != 0):
        b = None  # what scikit-learn has without an intercept
    return getattr(layer, kernel), b


def _is_pair(parts: tuple[Any, ...] | list[Any]) -> bool:
    if len(parts) != 2:
        return False
    dims = [np.ndim(getattr(p, "detach", lambda p=p: p)()) for p in parts]
    return dims[0] == dims[1] + 1 or (dims[0] == 2 and parts[1] is None)


def _from_mapping(parts: Mapping[Any, Any], name: str) -> tuple[Any, Any]:
    """The one layer of a mapping: a kernel, and the bias under the same prefix."""
    matrices = [key for key in parts if 1 <= np.ndim(_shape_of(parts[key])) <= 2]
    found = [key for key in matrices if str(key).rpartition(".")[2] in _KERNELS]
    if not found:
        found = [key for key in matrices if np.ndim(_shape_of(parts[key])) == 2]
    if len(found) != 1:
        listing = ", ".join(f"{k} {np.shape(_shape_of(parts[k]))}" for k in parts)
        raise ValueError(
            f"{name} must hold one linear layer; it has {len(found)} that may be: "
            f"{listing or 'nothing'}. Hand in the layer itself (--key)."
        )
    prefix = str(found[0]).rpartition(".")[0]
    biases = [f"{prefix}.{b}" if prefix else b for b in _BIASES]
    return parts[found[0]], next((parts[b] for b in biases if b in parts), None)


def _shape_of(value: object) -> Any:
    """An array of the same shape, whatever the framework."""
    return np.empty(tuple(getattr(value, "shape", np.shape(value))))  # type: ignore[arg-type]


def load_head(path: str | Path, *, key: str | None = None) -> Head:
    """The linear layer in a file: npy, npz, torch's pt and pth, or safetensors.

    torch's files are read by `weights_only`, pickles never, since they can run code.
    torch and safetensors must be installed to read theirs.

    Args:
        path: The file.
        key: Of the layer, or of its weights, where the file holds several.

    Raises:
        ValueError: If it can't be read, or holds no linear layer of this key.
    """
    path = Path(path).expanduser()
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise ValueError(
            f"{path.name}: weights are read from {', '.join(_READERS)}; got "
            f"{path.suffix or 'no extension'!r}."
        )
    if not path.is_file():
        raise ValueError(f"{path} is no file.")
    try:
        found = reader(path)
    except ImportError as error:
        raise ValueError(
            f"{path.name}: {error.name} must be installed to read it."
        ) from None
    except Exception as error:  # noqa: BLE001 - whatever a damaged file makes them raise
        text = str(error).splitlines()
        raise ValueError(
            f"{path.name} can't be read as weights: {text[0] if text else error!r} "
            "(pickles and whole models are never loaded; save a tensor or a "
            "state_dict)."
        ) from None
    if key is not None:
        found = _of_key(found, key, path.name)
    return read_head(found, path.name)


def _of_key(found: object, key: str, name: str) -> Mapping[Any, Any]:
    if not isinstance(found, Mapping):
        raise ValueError(f"{name} holds one array and no keys; got key {key!r}.")
    prefix, _, last = key.rpartition(".")
    if key in found and last in _KERNELS:
        biases = [f"{prefix}.{b}" if prefix else b for b in _BIASES]
        return {k: found[k] for k in (key, *biases) if k in found}
    if key in found:
        return {"weight": found[key]}
    part = {k: v for k, v in found.items() if str(k).startswith(f"{key}.")}
    if not part:
        raise ValueError(
            f"{name} has no layer {key!r}; keys: {', '.join(map(str, found))}."
        )
    return part


def _npy(path: Path) -> object:
    with path.open("rb") as file:
        return np.load(file, allow_pickle=False)


def _npz(path: Path) -> object:
    with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
        return dict(archive)


def _torch(path: Path) -> object:
    import torch

    return torch.load(path, map_location="cpu", weights_only=True)


def _safetensors(path: Path) -> object:
    from safetensors.numpy import load_file

    return load_file(path)


_READERS: dict[str, Callable[[Path], object]] = {
    ".npy": _npy,
    ".npz": _npz,
    ".pt": _torch,
    ".pth": _torch,
    ".safetensors": _safetensors,
}
