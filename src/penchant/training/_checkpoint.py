"""Files that survive a crash: numbers only, replaced atomically."""

import hashlib
import json
import lzma
import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import numpy as np

from penchant._places import Place, place
from penchant._types import Tree
from penchant.problems import ScaledGradient
from penchant.training._loop import Rule
from penchant.training.schedules import Constant, Power, table

FORMAT = 1

# what numpy and zipfile raise on damaged bytes; RuntimeError where a flag is hit
UNREADABLE = (
    OSError,
    ArithmeticError,
    MemoryError,
    SyntaxError,
    RecursionError,
    lzma.LZMAError,
    tokenize.TokenError,
    EOFError,
    KeyError,
    TypeError,
    ValueError,
    RuntimeError,
    zipfile.BadZipFile,
    zlib.error,
)


def fingerprint(rule: Rule, initial: Tree) -> dict[str, str]:
    """What makes two runs the same: a digest for each part."""
    schedule: Any = rule.schedule
    if not isinstance(schedule, (Constant, Power)):
        # any function of the step: known by its values
        schedule = [
            np.asarray(table(rule.schedule, jax.numpy.asarray(t), 64))
            for t in (0, 1_000, 1_000_000)
        ]
    return {
        "problem": f"{_digest(rule.problem.identity(initial))} {rule.problem.about}",
        "optimizer": f"{rule.optimizer!r} {_digest(_behaviour(rule, initial))}",
        "step_size": f"{rule.schedule!r} {_digest(schedule)}"
        if eqx.is_array(schedule) or isinstance(schedule, (Constant, Power))
        else _digest(schedule),
        "batching": repr(rule.batching),
        "key": _digest(jax.random.key_data(rule.key)),
        "init": _digest(initial),
    }


def _behaviour(rule: Rule, w: Tree) -> Any:
    """A rule's numbers; an optax rule is code, so known by what it does."""
    optimizer = rule.optimizer
    if not optimizer.opaque:
        return optimizer
    state = optimizer.init(w)
    square = lambda w: sum(jax.numpy.sum(x**2) for x in jax.tree.leaves(w))
    more = {"loss": square} if optimizer.needs_loss else {}
    for log_scale in (0.0, -3.0):
        g = jax.tree.map(
            lambda x: jax.numpy.cos(jax.numpy.arange(1.0, x.size + 1)).reshape(x.shape),
            w,
        )
        gradient = ScaledGradient(g, jax.numpy.asarray(log_scale))
        w, state = optimizer.update(gradient, state, w, jax.numpy.ones(()), **more)
    return w, state


def _digest(tree: Tree) -> str:
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(eqx.filter(tree, eqx.is_array_like)):
        array = np.asarray(leaf)
        digest.update(f"{array.shape}{array.dtype}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]


def differing(seen: dict[str, str], wanted: dict[str, str]) -> str | None:
    """The first part in which two fingerprints differ."""
    return next((part for part in wanted if seen.get(part) != wanted[part]), None)


def save(path: Path | Place, meta: dict[str, Any], arrays: dict[str, Any]) -> None:
    """Write `meta` and `arrays` so that a reader sees the old file or the new one.

    Raises:
        OSError: If it can't be written; the old file is then as it was.
    """
    numbers: dict[str, Any] = {k: np.asarray(v) for k, v in arrays.items()}
    about = {"format": FORMAT, **meta}
    about["digest"] = _digest_of(about, numbers)
    text = np.frombuffer(json.dumps(about).encode(), np.uint8)
    with _place(path).replacing() as file:
        np.savez(file, meta=text, **numbers)


def _place(path: Path | Place) -> Place:
    return place("", path) if isinstance(path, Path) else path


def load(path: Path | Place) -> tuple[dict[str, Any], dict[str, np.ndarray]] | None:
    """What `save` wrote; None where there is nothing.

    Raises:
        ValueError: If the file is damaged, was edited, or is not one of these.
    """
    if not _place(path).exists():
        return None
    try:
        with _place(path).opened() as raw, np.load(raw, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        meta = json.loads(arrays.pop("meta").tobytes())
    except UNREADABLE as error:
        raise ValueError(f"{path} is no readable checkpoint: {error}.") from None
    written = meta.get("format") if isinstance(meta, dict) else None
    if written != FORMAT:
        raise ValueError(
            f"{path} was written by another version of penchant "
            f"(format {written}, this one reads {FORMAT})."
        )
    digest = meta.pop("digest", None)
    if digest is not None and digest != _digest_of(meta, arrays):
        raise ValueError(
            f"{path} is no readable checkpoint: it is not as it was written. Delete "
            "it to start anew."
        )
    return meta, arrays


def _digest_of(meta: dict[str, Any], arrays: dict[str, np.ndarray]) -> str:
    text = json.dumps(meta, sort_keys=True) + repr(sorted(arrays))
    values = [arrays[name] for name in sorted(arrays)]
    return hashlib.sha256(f"{text}{_digest(values)}".encode()).hexdigest()


def leaves_of(name: str, tree: Tree) -> dict[str, Any]:
    """The leaves of a pytree under numbered names."""
    return {f"{name}{i}": leaf for i, leaf in enumerate(jax.tree.leaves(tree))}


def tree_of(
    name: str, arrays: dict[str, np.ndarray], like: Tree, records: int | None = None
) -> Any:
    """A pytree in the structure of `like` from arrays that `leaves_of` named.

    Args:
        name: Of the arrays.
        arrays: What a checkpoint holds.
        like: Its shapes and types.
        records: How many of these follow one another; None for one, without the axis.

    Raises:
        ValueError: If the arrays are not those of such a pytree.
    """
    leaves, structure = jax.tree.flatten(like)
    read = []
    for i, leaf in enumerate(leaves):
        key = f"{name}{i}"
        if key not in arrays:
            raise ValueError(f"no readable checkpoint: it lacks {key!r}.")
        one, seen = np.asarray(leaf), arrays[key]
        wanted = one.shape if records is None else (records, *one.shape)
        if seen.shape != wanted or seen.dtype != one.dtype:
            raise ValueError(
                f"no readable checkpoint: {key!r} has shape {seen.shape} and type "
                f"{seen.dtype}; expected {wanted} and {one.dtype}."
            )
        read.append(jax.numpy.asarray(seen))
    return jax.tree.unflatten(structure, read)
