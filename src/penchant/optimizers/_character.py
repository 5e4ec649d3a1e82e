"""What a rule is, in terms that theory has: said once, by the rule itself."""

import dataclasses
import enum
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from penchant._checks import check_instance, is_traced
from penchant._types import Real, Scalar, Tree
from penchant.norms import L2, AbstractNorm


class Evidence(enum.StrEnum):
    """How a part of a character is known."""

    PROVED = "proved"
    MEASURED = "measured"
    UNKNOWN = "unknown"


class Memory(eqx.Module):
    r"""A memory of gradients: $m\leftarrow\beta m+(1-\beta)g$, or with weight 1 of $g$.

    `kind` is "mean" or "sum". `mix` is the weight of the *old* memory in the step's
    direction, against the new gradient's: $\beta$ where the step is along the new
    memory, $\beta^2$ for Nesterov's momentum, a decay of its own for Lion.
    `corrected` means that $m$ is divided by $1-\beta^t$.
    """

    decay: Real
    kind: Literal["mean", "sum"] = eqx.field(default="mean", static=True)
    mix: Real | None = None
    corrected: bool = eqx.field(default=False, static=True)

    @property
    def plain(self) -> bool:
        """Whether steps are along the memory itself."""
        return self.mix is None or _equal(self.mix, self.decay)

    @property
    def nesterov(self) -> bool:
        """Whether steps look one step ahead, along the memory of the next."""
        return self.mix is not None and _equal(self.mix, jnp.square(self.decay))


class Blocks(eqx.Module):
    r"""A partition of the weights: whole numbers in a pytree shaped like them.

    `numbers` is None where every array is a block. Numbers are made consecutive.
    """

    numbers: Tree = None
    count: int = eqx.field(default=0, static=True)

    @classmethod
    def read(cls, blocks: Tree) -> "Blocks":
        """Blocks from what a user may give.

        Raises:
            TypeError: If a number is not whole.
        """
        if isinstance(blocks, Blocks):
            return blocks
        if blocks is None:
            return cls()
        if isinstance(blocks, (list, tuple)) and all(
            isinstance(b, (int, np.integer)) for b in blocks
        ):
            blocks = np.asarray(blocks)  # typed as a list, for weights of one array
        leaves, structure = jax.tree.flatten(blocks)
        arrays = [np.asarray(leaf) for leaf in leaves]
        if not arrays or any(a.dtype.kind not in "iu" for a in arrays):
            kinds = ", ".join(str(a.dtype) for a in arrays) or "nothing"
            raise TypeError(
                "blocks must be whole numbers, in a pytree shaped like the weights, or "
                f"None for a block an array; got {kinds}."
            )
        every = np.concatenate([a.ravel() for a in arrays])
        seen, place = np.unique(every, return_inverse=True)
        cuts = np.cumsum([a.size for a in arrays])[:-1]
        parts = np.split(place, cuts)
        numbers = [
            jnp.asarray(p.reshape(a.shape)) for p, a in zip(parts, arrays, strict=True)
        ]
        return cls(jax.tree.unflatten(structure, numbers), len(seen))

    def check(self, w: Tree) -> int:
        """The number of blocks of weights like `w`.

        Raises:
            ValueError: If the shapes differ.
        """
        if self.numbers is None:
            return len(jax.tree.leaves(w))
        shapes = lambda tree: jax.tree.map(jnp.shape, tree)
        if shapes(self.numbers) != shapes(w):
            raise ValueError(
                f"blocks must be shaped like the weights, {shapes(w)}; got "
                f"{shapes(self.numbers)}."
            )
        return self.count

    def _of(self, like: Tree) -> tuple[list[Array], int]:
        if self.numbers is not None:
            return jax.tree.leaves(self.numbers), self.count
        leaves = jax.tree.leaves(like)
        return [jnp.full(x.shape, i) for i, x in enumerate(leaves)], len(leaves)

    def sums(self, values: Tree) -> Array:
        """The sum over each block, `(count,)`."""
        numbers, count = self._of(values)
        total = jnp.zeros(count)
        for number, x in zip(numbers, jax.tree.leaves(values), strict=True):
            total = total.at[jnp.ravel(number)].add(jnp.ravel(x))
        return total

    def sizes(self, like: Tree) -> Array:
        """The number of entries of each block, `(count,)`."""
        return self.sums(jax.tree.map(jnp.ones_like, like))

    def means(self, values: Tree) -> Array:
        """The mean over each block, `(count,)`."""
        return self.sums(values) / self.sizes(values)

    def spread(self, per_block: Array, like: Tree) -> Tree:
        """A number a block, at each of its entries."""
        numbers, _ = self._of(like)
        structure = jax.tree.structure(like)
        return jax.tree.unflatten(structure, [per_block[b] for b in numbers])

    def __repr__(self) -> str:
        if self.numbers is None:
            return "Blocks(one for each array)"
        return f"Blocks({self.count})"


class Divisor(eqx.Module):
    r"""What a rule divides by: $v^p$ of a memory $v$ of $g^2$, and $\varepsilon$.

    `kind` is "mean", $v\leftarrow\beta v+(1-\beta)g^2$, or "sum", without `decay` (1).
    The divisor is $v^p+\varepsilon$, or $(v+\varepsilon)^p$ with `eps_inside`, $p$ =
    `exponent`. `over` says what a memory is of: single "entries", "blocks" of them
    (which ones: `blocks`), or the two "factors" of a matrix, as Shampoo's, each to the
    power `exponent`.
    """

    kind: Literal["mean", "sum"] = eqx.field(static=True)
    decay: Real
    eps: Real
    eps_inside: bool = eqx.field(default=False, static=True)
    corrected: bool = eqx.field(default=False, static=True)
    exponent: Real = 0.5
    over: Literal["entries", "blocks", "factors"] = eqx.field(
        default="entries", static=True
    )
    blocks: Blocks | None = None

    @property
    def outside(self) -> float:
        r"""$\varepsilon$ as if it stood outside: what $v^p$ is compared with."""
        eps = float(np.asarray(self.eps))
        return eps ** float(np.asarray(self.exponent)) if self.eps_inside else eps

    def log_below(self, log_v: Array, log_time: Array | None = None) -> Array:
        r"""The logarithm of the divisor, entry by entry, at $\log v$.

        $-\infty$ where there is neither memory nor $\varepsilon$. `log_time`, the log
        of the steps made, corrects a bias.
        """
        if self.corrected and log_time is not None:
            gathered = jnp.log(-jnp.expm1(-(1.0 - self.decay) * jnp.exp(log_time)))
            log_v = jnp.where(jnp.isneginf(log_v), log_v, log_v - gathered)
        log_eps = jnp.log(jnp.asarray(self.eps))
        if self.eps_inside:
            return self.exponent * jnp.logaddexp(log_v, log_eps)
        return jnp.logaddexp(self.exponent * log_v, log_eps)

    def share_of_eps(self, log_v: Array) -> Array:
        r"""$\kappa$, the share of $\varepsilon$ in what divides: 0 none, 1 all.

        $\varepsilon/(v^p+\varepsilon)$, or $\varepsilon/(v+\varepsilon)$ inside.
        """
        log_eps = jnp.log(jnp.asarray(self.eps))
        log_root = log_v if self.eps_inside else self.exponent * log_v
        share = jnp.exp(log_eps - jnp.logaddexp(log_eps, log_root))
        return jnp.where(jnp.isneginf(log_eps), 0.0, share)

    def potential(self, v: Array) -> Scalar:
        r"""$\sum_i\phi(v_i)$ with $\phi'=1/\text{divisor}$: AdaGrad's invariant.

        For roots: $2\sqrt{\varepsilon+v}$ inside, else
        $2(\sqrt v-\varepsilon\log(\sqrt v+\varepsilon))$.
        """
        eps = jnp.asarray(self.eps)
        if self.eps_inside:
            return jnp.sum(2.0 * jnp.sqrt(v + eps))
        root = jnp.sqrt(v)
        some = eps > 0
        log = jnp.log(root + jnp.where(some, eps, 1.0))
        return jnp.sum(2.0 * (root - jnp.where(some, eps * log, 0.0)))


FIELDS = ("steps", "normalised", "first", "second", "decay")


class Grades(eqx.Module):
    """The evidence for each field of a character, by name: `grades["steps"]`."""

    steps: Evidence = eqx.field(default=Evidence.PROVED, static=True)
    normalised: Evidence = eqx.field(default=Evidence.PROVED, static=True)
    first: Evidence = eqx.field(default=Evidence.PROVED, static=True)
    second: Evidence = eqx.field(default=Evidence.PROVED, static=True)
    decay: Evidence = eqx.field(default=Evidence.PROVED, static=True)

    @classmethod
    def all(cls, evidence: Evidence) -> "Grades":
        """The same evidence for every field."""
        return cls(*(evidence for _ in FIELDS))

    def __getitem__(self, field: str) -> Evidence:
        if field not in FIELDS:
            raise KeyError(f"no field {field!r}; have: {', '.join(FIELDS)}.")
        return getattr(self, field)


class Character(eqx.Module):
    r"""What an update rule is: the one answer that every other part reads.

    `steps` is the norm in which a step has the length of the step size, `L2()` for
    Euclidean at any shape; None where there is none, or it is unknown. `normalised`
    says that this length does not depend on the scale of gradients (but for an
    $\varepsilon$); gradient descent is Euclidean and not normalised: its steps are the
    gradient's length times the step size. `steepest` says that every step is exactly
    the steepest one in `steps` for the memory of gradients in `first`, as theorems on
    steepest descent ask; Adam's are not.

    `first` is None for a rule without momentum, `second` for one that divides by
    nothing, `decay` the decoupled weight decay, None without. `evidence` grades each
    field, so that None for *none* differs from None for *unknown*.

    >>> import penchant as pn
    >>> adam = pn.optimizers.Adam(b1=0.9, b2=0.95, eps=0.0).character()
    >>> adam.steps, float(adam.first.decay), adam.second.kind
    (Linf(), 0.9, 'mean')
    >>> import optax
    >>> str(pn.optimizers.FromOptax(optax.sgd(1.0)).character().evidence["steps"])
    'unknown'
    """

    steps: AbstractNorm | None = None
    normalised: bool | None = eqx.field(default=None, static=True)
    first: Memory | None = None
    second: Divisor | None = None
    decay: Real | None = None
    steepest: bool = eqx.field(default=False, static=True)
    evidence: Grades = Grades()

    def __check_init__(self):
        kinds = {"steps": AbstractNorm, "first": Memory, "second": Divisor}
        for name, kind in kinds.items():
            value = getattr(self, name)
            if value is not None:
                check_instance(name, value, kind, f"a {kind.__name__} or None")
        check_instance("evidence", self.evidence, Grades, "a Grades")

    @classmethod
    def unknown(cls) -> "Character":
        """Nothing is known, and nothing is assumed."""
        return cls(evidence=Grades.all(Evidence.UNKNOWN))

    @property
    def known(self) -> bool:
        """Whether any field is."""
        return any(self.evidence[field] != Evidence.UNKNOWN for field in FIELDS)

    @property
    def b1(self) -> float:
        """Decay of the first moment; 0 without."""
        return 0.0 if self.first is None else float(np.asarray(self.first.decay))

    @property
    def first_is_sum(self) -> bool:
        """Whether momentum, if there is any, is a sum: heavy-ball, as in torch."""
        return self.first is None or self.first.kind == "sum"

    @property
    def decays(self) -> bool:
        """Whether there is a decoupled decay above 0."""
        return self.decay is not None and float(np.asarray(self.decay)) > 0

    @property
    def adaptive(self) -> Divisor | None:
        """The second moment of single entries under a root, as Adam's; else None."""
        second = self.second
        if second is None or second.over != "entries":
            return None
        return second if float(np.asarray(second.exponent)) == 0.5 else None

    @property
    def limit_norm(self) -> AbstractNorm | None:
        r"""The norm whose margin theory has a rule maximise at infinite time, if any.

        Its own for steepest descent; $\ell_2$ for root-mean-square rules with
        $\varepsilon>0$ and `steps` without; None where the run has to tell (sums of
        squares), where decay keeps weights in a ball, and where nothing is known.
        """
        if self.decays:
            return None
        if self.steepest and self.second is None:
            return self.steps
        if self.adaptive is None or self.adaptive.kind == "sum":
            return None
        return L2() if self.adaptive.outside > 0 else self.steps

    def with_decay(self, decay: Real) -> "Character":
        """The same rule with decoupled decay."""
        return dataclasses.replace(self, decay=decay)

    def __repr__(self) -> str:
        if not self.known:
            return "Character(unknown)"
        parts = [self._steps()]
        if self.first is not None:
            memory = 1.0 / (1.0 - self.b1)
            parts.append(f"memory {memory:.3g} steps (decay {self.b1:g})")
        if self.second is not None:
            parts.append(self.told_second)
        if self.decays:
            parts.append(f"decoupled decay {float(np.asarray(self.decay)):g}")
        grades = {str(self.evidence[field]) for field in FIELDS}
        return f"Character({', '.join(parts)}; {' and '.join(sorted(grades))})"

    def _steps(self) -> str:
        if self.steps is None:
            return "steps in no norm that is known"
        kind = "steepest" if self.steepest else "not steepest"
        length = "normalised" if self.normalised else "as long as the gradient"
        return f"{self.steps.label} steps, {kind}, {length}"

    @property
    def told_second(self) -> str:
        """What the rule divides by, in words; empty without."""
        second = self.second
        if second is None:
            return ""
        eps = float(np.asarray(second.eps))
        told = f"divides by a {second.kind} of squares of {second.over}"
        if second.kind == "mean":
            decay = float(np.asarray(second.decay))
            told += f" over {1.0 / (1.0 - decay):.3g} steps" if decay < 1 else ""
        where = "inside" if second.eps_inside else "outside"
        return told + (f", ε = {eps:g} {where} the root" if eps else ", no ε")


def _equal(a: Real, b: Real) -> bool:
    return float(np.asarray(a)) == float(np.asarray(b))


def as_memory_of(decay: Real, **kind: Any) -> Memory | None:
    """The memory of this decay; None for a decay of 0, which remembers nothing."""
    if not is_traced(decay) and float(np.asarray(decay)) == 0.0:
        return None
    return Memory(decay, **kind)
