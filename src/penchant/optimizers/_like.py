"""What a rule is by default in other people's frameworks."""

from typing import Any

import equinox as eqx

from penchant._words import look_up

_COUPLED = (
    "torch adds weight_decay to the gradient in {}; here it is decoupled, as in AdamW. "
    "The two differ as soon as one is given."
)
_HAT = (
    "Keras's epsilon is added to the uncorrected √v: in the first 1/(1 − β₂) steps it "
    "acts as ε/√(1 − β₂ᵗ) does here; after these they are the same."
)
_LONG = (
    "{} makes Muon's steps √max(1, d/k) times longer for a k × d weight matrix; "
    "multiply the step size by that to have its steps."
)
_NO_STEP = "optax has no default learning rate: the step size is penchant's, or --lr."

_ADAM = {"b1": 0.9, "b2": 0.999, "bias_correction": True}
_MUON = {"b1": 0.95, "nesterov": True}

Entry = tuple[dict[str, Any], float | None, tuple[str, ...]]

_TORCH: dict[str, Entry] = {
    "gd": ({}, 1e-3, (_COUPLED.format("SGD"),)),
    "sgd": ({}, 1e-3, (_COUPLED.format("SGD"),)),
    "momentum": ({}, 1e-3, (_COUPLED.format("SGD"),)),
    "adam": ({**_ADAM, "eps": 1e-8}, 1e-3, (_COUPLED.format("Adam"),)),
    "adamw": ({**_ADAM, "eps": 1e-8, "weight_decay": 0.01}, 1e-3, ()),
    "rmsprop": ({"b2": 0.99, "eps": 1e-8}, 1e-2, (_COUPLED.format("RMSprop"),)),
    "adagrad": ({"eps": 1e-10}, 1e-2, (_COUPLED.format("Adagrad"),)),
    "muon": (
        {**_MUON, "polar": "ns:5", "weight_decay": 0.1},
        1e-3,
        (
            "torch orthogonalises in bfloat16, here in float64, and takes matrices "
            "only: weights of two classes are a vector here.",
        ),
    ),
}
_OPTAX: dict[str, Entry] = {
    "gd": ({}, None, (_NO_STEP,)),
    "sgd": ({}, None, (_NO_STEP,)),
    "momentum": ({}, None, (_NO_STEP,)),
    "sign": ({}, None, (_NO_STEP,)),
    "adam": ({**_ADAM, "eps": 1e-8}, None, (_NO_STEP,)),
    "adamw": ({**_ADAM, "eps": 1e-8, "weight_decay": 1e-4}, None, (_NO_STEP,)),
    "rmsprop": ({"b2": 0.9, "eps": 1e-8, "eps_inside": True}, None, (_NO_STEP,)),
    "adagrad": (
        {"eps": 1e-7, "eps_inside": True, "initial": 0.1},
        None,
        (_NO_STEP,),
    ),
    "lion": ({"b1": 0.9, "b2": 0.99, "weight_decay": 1e-3}, None, (_NO_STEP,)),
    "muon": (
        {**_MUON, "polar": "ns:5"},
        None,
        (
            _NO_STEP,
            _LONG.format("optax"),
            "optax corrects the bias of memory and gradient apart before it looks "
            "ahead, which changes the first 1/(1 − β) steps.",
        ),
    ),
}
_KERAS: dict[str, Entry] = {
    "gd": ({}, 1e-2, ()),
    "sgd": ({}, 1e-2, ()),
    "momentum": ({}, 1e-2, ()),
    "adam": ({**_ADAM, "eps": 1e-7}, 1e-3, (_HAT,)),
    "adamw": ({**_ADAM, "eps": 1e-7, "weight_decay": 0.004}, 1e-3, (_HAT,)),
    "rmsprop": ({"b2": 0.9, "eps": 1e-7, "eps_inside": True}, 1e-3, ()),
    "adagrad": ({"eps": 1e-7, "eps_inside": True, "initial": 0.1}, 1e-3, ()),
    "lion": ({"b1": 0.9, "b2": 0.99}, 1e-3, ()),
    "muon": (
        {**_MUON, "polar": "ns:6", "weight_decay": 0.1},
        1e-3,
        (
            _LONG.format("Keras"),
            "Keras asks for AdamW in the output layer, which a linear classifier is.",
        ),
    ),
}

FRAMEWORKS = {"torch": _TORCH, "optax": _OPTAX, "keras": _KERAS}
"""Options, step size and differences of each rule in each framework.

torch 2.13 and optax 0.2.8 are held against the libraries by `tests/optimizers`; Keras 3
is by its documentation and source.
"""


class Framework(eqx.Module):
    """A rule as a framework has it by default.

    `options` are those of [`read`][penchant.optimizers.read], `step_size` the default
    learning rate, None where it has none, and `differences` what stays different, a
    sentence each.
    """

    name: str = eqx.field(static=True)
    rule: str = eqx.field(static=True)
    options: dict[str, Any] = eqx.field(static=True)
    step_size: float | None = eqx.field(static=True)
    differences: tuple[str, ...] = eqx.field(static=True)

    def __repr__(self) -> str:
        given = [f"{key}={value}" for key, value in self.options.items()]
        if self.step_size is not None:
            given.append(f"step_size={self.step_size:g}")
        return f"{self.rule} as in {self.name}: {', '.join(given) or 'no options'}"


def like(framework: str, rule: str) -> Framework:
    """The defaults of a rule in torch, optax or Keras.

    >>> import penchant as pn
    >>> pn.optimizers.like("keras", "rmsprop")
    rmsprop as in keras: b2=0.9, eps=1e-07, eps_inside=True, step_size=0.001

    Args:
        framework: `torch`, `optax` or `keras`.
        rule: A rule by the name that [`read`][penchant.optimizers.read] takes.

    Raises:
        ValueError: If there is no such framework, or no such rule in it.
    """
    table = look_up("framework", framework, FRAMEWORKS)
    options, step_size, differences = look_up(f"{framework} rule", rule, table)
    return Framework(
        framework.strip().lower(),
        rule.strip().lower(),
        dict(options),
        step_size,
        differences,
    )
