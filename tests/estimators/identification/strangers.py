"""Rules of optax and torch, and what is known of each from its source.

A row: how to make it, its family, and the constants that a character has fields for;
None for memories of a form that none has.
"""

import optax
from optax import contrib

ADAM = {"b1": 0.9, "b2": 0.999, "eps": 1e-8, "inside": False}
NONE = {"b1": None, "b2": None}
UNKNOWN = None

ENTRIES, JOINT = "entry-wise", "jointly normalised"
SPECTRAL = "unitarily invariant"

OPTAX = {
    "sgd": (lambda: optax.sgd(0.3), ENTRIES, NONE),
    "momentum": (lambda: optax.sgd(1.0, 0.9), ENTRIES, {"b1": 0.9, "b2": None}),
    "nesterov": (
        lambda: optax.sgd(1.0, 0.8, nesterov=True),
        ENTRIES,
        {"b1": 0.8, "b2": None, "mix": 0.64},
    ),
    "sign_sgd": (lambda: optax.sign_sgd(0.01), ENTRIES, NONE),
    "lion": (
        lambda: optax.lion(1e-3),
        ENTRIES,
        {"b1": 0.99, "b2": None, "mix": 0.9, "decay": 1e-3},
    ),
    "adam": (lambda: optax.adam(1e-3), ENTRIES, ADAM),
    "adam, eps_root": (
        lambda: optax.adam(1e-3, 0.8, 0.95, eps=0.0, eps_root=1e-6),
        ENTRIES,
        {"b1": 0.8, "b2": 0.95, "eps": 1e-6, "inside": True},
    ),
    "adamw": (lambda: optax.adamw(1e-3), ENTRIES, {**ADAM, "decay": 1e-4}),
    "nadam": (lambda: optax.nadam(1e-3), ENTRIES, {**ADAM, "mix": 0.81}),
    "nadamw": (
        lambda: optax.nadamw(1e-3),
        ENTRIES,
        {**ADAM, "mix": 0.81, "decay": 1e-4},
    ),
    "rmsprop": (
        lambda: optax.rmsprop(1e-3),
        ENTRIES,
        {"b1": None, "b2": 0.9, "eps": 1e-8, "inside": True},
    ),
    "adagrad": (
        lambda: optax.adagrad(1e-3),
        ENTRIES,
        # the accumulator starts at 0.1, which is ε = 0.1 + 1e-7 for good
        {"b1": None, "b2": 1.0, "eps": 0.1 + 1e-7, "inside": True},
    ),
    "clip": (
        lambda: optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(1.0, 0.9)),
        ENTRIES,
        {"b1": 0.9, "b2": None},
    ),
    "normalize": (
        lambda: optax.chain(optax.normalize_by_update_norm(), optax.sgd(1.0)),
        JOINT,
        NONE,
    ),
    "signum": (
        lambda: optax.chain(optax.ema(0.9), optax.sign_sgd(1e-3)),
        ENTRIES,
        {"b1": 0.9, "b2": None},
    ),
    "decayed sgd": (
        lambda: optax.chain(optax.add_decayed_weights(0.1), optax.sgd(1.0, 0.9)),
        ENTRIES,
        {"b1": 0.9, "b2": None, "coupled": 0.1},
    ),
    "adamax": (lambda: optax.adamax(1e-3), ENTRIES, UNKNOWN),
    "adabelief": (lambda: optax.adabelief(1e-3), ENTRIES, UNKNOWN),
    "adadelta": (lambda: optax.adadelta(1.0), ENTRIES, UNKNOWN),
    "adafactor": (lambda: optax.adafactor(1e-3), ENTRIES, UNKNOWN),
    "adan": (lambda: optax.adan(1e-3), ENTRIES, UNKNOWN),
    "amsgrad": (lambda: optax.amsgrad(1e-3), ENTRIES, UNKNOWN),
    "fromage": (lambda: optax.fromage(1e-3), JOINT, UNKNOWN),
    "lamb": (lambda: optax.lamb(1e-3), ENTRIES, UNKNOWN),
    "lars": (lambda: optax.lars(1e-3), ENTRIES, UNKNOWN),
    "novograd": (lambda: optax.novograd(1e-3), JOINT, UNKNOWN),
    "optimistic": (
        lambda: optax.optimistic_gradient_descent(1e-3),
        ENTRIES,
        UNKNOWN,
    ),
    "radam": (lambda: optax.radam(1e-3), ENTRIES, UNKNOWN),
    "rprop": (lambda: optax.rprop(1e-3), ENTRIES, UNKNOWN),
    "rmsprop, momentum": (
        lambda: optax.rmsprop(1e-3, momentum=0.9),
        ENTRIES,
        UNKNOWN,
    ),
    "rmsprop, centred": (lambda: optax.rmsprop(1e-3, centered=True), ENTRIES, UNKNOWN),
    "sm3": (lambda: optax.sm3(1e-3), ENTRIES, UNKNOWN),
    "yogi": (lambda: optax.yogi(1e-3), ENTRIES, UNKNOWN),
    "muon": (
        lambda: contrib.muon(1e-3),
        SPECTRAL,
        {"b1": 0.95, "b2": None, "mix": 0.9025},
    ),
    "simplified_ademamix": (
        lambda: contrib.simplified_ademamix(1e-3),
        ENTRIES,
        {"b1": 0.99, "b2": 0.95, "eps": 1e-8, "inside": False},
    ),
    "ademamix": (lambda: contrib.ademamix(1e-3), ENTRIES, UNKNOWN),
    "acprop": (lambda: contrib.acprop(1e-3), ENTRIES, UNKNOWN),
    "dowg": (lambda: contrib.dowg(1.0), JOINT, UNKNOWN),
    "dog": (lambda: contrib.dog(1.0), JOINT, UNKNOWN),
    "prodigy": (lambda: contrib.prodigy(1.0), ENTRIES, UNKNOWN),
    "dadapt_adamw": (lambda: contrib.dadapt_adamw(1.0), ENTRIES, UNKNOWN),
    "schedule_free_sgd": (lambda: contrib.schedule_free_sgd(1.0), ENTRIES, UNKNOWN),
}
"""Forty-two of optax, its contributions among them."""


def torch_rules():
    """Those of `torch.optim` that take dense gradients and no closure; and variants."""
    from torch import optim

    w = {"weight_decay": 0.01}
    return {
        "SGD": ((optim.SGD, {"lr": 0.1}), ENTRIES, NONE),
        "SGD, momentum": (
            (optim.SGD, {"lr": 0.1, "momentum": 0.9, **w}),
            ENTRIES,
            {"b1": 0.9, "b2": None, "coupled": 0.01},
        ),
        "SGD, nesterov": (
            (optim.SGD, {"lr": 0.1, "momentum": 0.8, "nesterov": True}),
            ENTRIES,
            {"b1": 0.8, "b2": None, "mix": 0.64},
        ),
        "Adam": (optim.Adam, ENTRIES, ADAM),
        "Adam, L2": (
            (optim.Adam, {"lr": 0.1, **w}),
            ENTRIES,
            {**ADAM, "coupled": 0.01},
        ),
        "AdamW": (optim.AdamW, ENTRIES, {**ADAM, "decay": 0.01}),
        "RMSprop": (
            optim.RMSprop,
            ENTRIES,
            {"b1": None, "b2": 0.99, "eps": 1e-8, "inside": False},
        ),
        "Adagrad": (
            optim.Adagrad,
            ENTRIES,
            {"b1": None, "b2": 1.0, "eps": 1e-10, "inside": False},
        ),
        "Muon": (
            optim.Muon,
            SPECTRAL,
            {"b1": 0.95, "b2": None, "mix": 0.9025, "decay": 0.1},
        ),
        "Adamax": (optim.Adamax, ENTRIES, UNKNOWN),
        "NAdam": (optim.NAdam, ENTRIES, UNKNOWN),
        "RAdam": (optim.RAdam, ENTRIES, UNKNOWN),
        "Rprop": (optim.Rprop, ENTRIES, UNKNOWN),
        "Adadelta": (optim.Adadelta, ENTRIES, UNKNOWN),
        "ASGD": (optim.ASGD, ENTRIES, UNKNOWN),
        "Adafactor": (optim.Adafactor, "row and column factors", UNKNOWN),
        "Adam, amsgrad": ((optim.Adam, {"amsgrad": True}), ENTRIES, UNKNOWN),
        "RMSprop, momentum": ((optim.RMSprop, {"momentum": 0.9}), ENTRIES, UNKNOWN),
        "RMSprop, centred": ((optim.RMSprop, {"centered": True}), ENTRIES, UNKNOWN),
    }
