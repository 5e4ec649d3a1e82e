"""Rules of optax and torch, and what each is by its source alone.

A row was written from the library's source before the rule was identified: `source`
has the lines it rests on. `degree` is that of a first step in the gradient, clear of
ε, once any warm-up is over. `constants` are those that the steps give away, by the
names that `identify` has for them; `law` is a word of the recurrence where no pair of
means makes the steps, empty where one does, and None where neither is known.
`decay` stands beside the step, `coupled` goes through the gradient. `unknown` is a word
of the reason why a character can't have the memories, empty where it has them.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import optax
from optax import contrib

ENTRIES, JOINT = "entry-wise", "jointly normalised"
SPECTRAL, CROSS = "unitarily invariant", "row and column factors"

SHAPE = (16, 8)


@dataclasses.dataclass(frozen=True)
class Truth:
    make: Callable[[], Any]
    family: str
    degree: float
    constants: dict[str, float]
    source: str
    law: str | None = ""
    decay: float | None = None
    coupled: float | None = None
    inside: bool | None = None
    unknown: str = ""


def moments(first, second, **more):
    return {"first decay": first, "second decay": second, **more}


ADAM = moments(0.9, 0.999, eps=1e-8)
NO_FIELD = "no field"

OPTAX = {
    "sgd": Truth(lambda: optax.sgd(0.3), ENTRIES, 1, {}, "u = -lr g"),
    "momentum": Truth(
        lambda: optax.sgd(1.0, 0.9), ENTRIES, 1, {"first decay": 0.9}, "m = g + .9 m"
    ),
    "nesterov": Truth(
        lambda: optax.sgd(1.0, 0.8, nesterov=True),
        ENTRIES,
        1,
        {"first decay": 0.8, "mix": 0.64},
        "u = g + .8 (g + .8 m): 1.8 and .64/(1 - .8), of a mean 1 - .64 and .64",
    ),
    "sign_sgd": Truth(lambda: optax.sign_sgd(0.01), ENTRIES, 0, {}, "u = sign g"),
    "lion": Truth(
        lambda: optax.lion(1e-3),
        ENTRIES,
        0,
        {"first decay": 0.99, "mix": 0.9},
        "sign(.9 m + .1 g), then m = .99 m + .01 g; weight_decay=1e-3 before lr",
        decay=1e-3,
    ),
    "adam": Truth(
        lambda: optax.adam(1e-3), ENTRIES, 0, ADAM, "m̂/(√v̂ + eps)", inside=False
    ),
    "adam, eps_root": Truth(
        lambda: optax.adam(1e-3, 0.8, 0.95, eps=0.0, eps_root=1e-6),
        ENTRIES,
        0,
        moments(0.8, 0.95, eps=1e-6),
        "m̂/√(v̂ + eps_root)",
        inside=True,
    ),
    "adamw": Truth(
        lambda: optax.adamw(1e-3),
        ENTRIES,
        0,
        ADAM,
        "Adam, weight_decay=1e-4 added before lr",
        decay=1e-4,
        inside=False,
    ),
    "nadam": Truth(
        lambda: optax.nadam(1e-3),
        ENTRIES,
        0,
        {**ADAM, "mix": 0.81},
        "b1 m̂(t+1) + (1 - b1) ĝ, m the new memory: .9·.9 of the old one",
        inside=False,
    ),
    "nadamw": Truth(
        lambda: optax.nadamw(1e-3),
        ENTRIES,
        0,
        {**ADAM, "mix": 0.81},
        "as nadam, weight_decay=1e-4",
        decay=1e-4,
        inside=False,
    ),
    "rmsprop": Truth(
        lambda: optax.rmsprop(1e-3),
        ENTRIES,
        0,
        {"second decay": 0.9, "eps": 1e-8},
        "g/√(v + eps), v = .9 v + .1 g² from 0, not corrected",
        inside=True,
    ),
    "adagrad": Truth(
        lambda: optax.adagrad(1e-3),
        ENTRIES,
        0,
        {"eps": 0.1 + 1e-7},
        "g/√(Σg² + eps), the sum from .1 on: that is ε = .1 + 1e-7 for good",
        inside=True,
    ),
    "clip": Truth(
        lambda: optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(1.0, 0.9)),
        ENTRIES,
        1,
        {"first decay": 0.9},
        "below length 1 the clip is the identity",
    ),
    "normalize": Truth(
        lambda: optax.chain(optax.normalize_by_update_norm(), optax.sgd(1.0)),
        JOINT,
        0,
        {},
        "g/(‖g‖ + 1e-6)",
    ),
    "signum": Truth(
        lambda: optax.chain(optax.ema(0.9), optax.sign_sgd(1e-3)),
        ENTRIES,
        0,
        {"first decay": 0.9},
        "sign of m̂",
    ),
    "decayed sgd": Truth(
        lambda: optax.chain(optax.add_decayed_weights(0.1), optax.sgd(1.0, 0.9)),
        ENTRIES,
        1,
        {"first decay": 0.9},
        "g + .1 w goes into the momentum",
        coupled=0.1,
    ),
    "adamax": Truth(
        lambda: optax.adamax(1e-3),
        ENTRIES,
        0,
        moments(0.9, 0.999),
        "m̂/v, v = max(|g| + eps, .999 v)",
        law="largest of sizes",
        unknown=NO_FIELD,
    ),
    "adabelief": Truth(
        lambda: optax.adabelief(1e-3),
        ENTRIES,
        0,
        moments(0.9, 0.999),
        "m̂/(√ŝ + eps), s a mean of (g - m)², m the new one",
        law="gradient less its mean",
        unknown=NO_FIELD,
    ),
    "adadelta": Truth(
        lambda: optax.adadelta(1.0),
        ENTRIES,
        0,
        {"second decay": 0.9},
        "√(x + eps)/√(v + eps) g, x a mean of squares of what is stepped",
        law="its own steps",
        unknown=NO_FIELD,
    ),
    "adafactor": Truth(
        lambda: optax.adafactor(1e-3),
        ENTRIES,
        0,
        {"growth": 0.8},
        "below 128 rows not factored; v by 1 - t^-.8, cut to root mean square 1, "
        "times that of the weights",
        law="grows with the steps",
        unknown="as long as the weights",
    ),
    "adan": Truth(
        lambda: optax.adan(1e-3),
        ENTRIES,
        0,
        {"first decay": 0.98, "difference decay": 0.92, "second decay": 0.99},
        "(m̂ + .08 v̂)/√n̂, v a mean of differences, n of (g + .08 diff)²",
        law="differences",
        unknown=NO_FIELD,
    ),
    "amsgrad": Truth(
        lambda: optax.amsgrad(1e-3),
        ENTRIES,
        0,
        moments(0.9, 0.999),
        "the largest of corrected v̂ so far",
        law="largest of debiased means",
        unknown=NO_FIELD,
    ),
    "fromage": Truth(
        lambda: optax.fromage(1e-3),
        JOINT,
        0,
        {},
        "g ‖w‖/‖g‖ and a shrinking of weights by 1/√(1 + lr²): linear in w",
        unknown="as long as the weights",
    ),
    "lamb": Truth(
        lambda: optax.lamb(1e-3),
        ENTRIES,
        0,
        moments(0.9, 0.999),
        "Adam's direction, as long as the weights",
        law="one length",
        unknown="as long as the weights",
    ),
    "lars": Truth(
        lambda: optax.lars(1e-3),
        JOINT,
        0,
        {"first decay": 0.9},
        "g ‖w‖/‖g‖ goes into the momentum .9",
        unknown="as long as the weights",
    ),
    "novograd": Truth(
        lambda: optax.novograd(1e-3),
        JOINT,
        0,
        moments(0.9, 0.25),
        "m = .9 m + g/√v, v = .25 v + .75 ‖g‖², the first v being ‖g‖² itself",
        law="starts at the first",
        unknown=NO_FIELD,
    ),
    "optimistic": Truth(
        lambda: optax.optimistic_gradient_descent(1e-3),
        ENTRIES,
        1,
        {"weight of the change": 1.0},
        "(alpha + beta) g - beta g_before, at first alpha g",
        law="change of the gradient",
        unknown=NO_FIELD,
    ),
    "radam": Truth(
        lambda: optax.radam(1e-3),
        ENTRIES,
        0,
        moments(0.9, 0.999),
        "m̂ up to step 5, then r m̂/√v̂",
        law="variance of that is small",
        unknown=NO_FIELD,
    ),
    "rprop": Truth(
        lambda: optax.rprop(1e-3),
        ENTRIES,
        0,
        {"growth": 1.2, "shrinkage": 0.5},
        "sizes by signs of g g_before; what is returned is the step before",
        law="one step late",
        unknown=NO_FIELD,
    ),
    "rmsprop, momentum": Truth(
        lambda: optax.rmsprop(1e-3, momentum=0.9),
        ENTRIES,
        0,
        moments(0.9, 0.9, eps=1e-8),
        "g/√(v + eps) goes into the momentum",
        unknown="divided before",
    ),
    "rmsprop, centred": Truth(
        lambda: optax.rmsprop(1e-3, centered=True),
        ENTRIES,
        0,
        {"second decay": 0.9},
        "g/√(v - m² + eps), both means of decay .9 from 0",
        law="square of the mean",
        unknown=NO_FIELD,
    ),
    "sm3": Truth(
        lambda: optax.sm3(1e-3),
        ENTRIES,
        0,
        {"first decay": 0.9},
        "g²+ the lesser of row and column maxima; its mean of decay .9",
        law="covers",
        unknown=NO_FIELD,
    ),
    "yogi": Truth(
        lambda: optax.yogi(1e-3),
        ENTRIES,
        0,
        moments(0.9, 0.999),
        "v - .001 sign(v - g²) g²; m and v start at 1e-6, so it moves by itself",
        law="up or down",
        unknown="gradients are 0",
    ),
    "muon": Truth(
        lambda: contrib.muon(1e-3),
        SPECTRAL,
        0,
        {"first decay": 0.95, "mix": 0.9025},
        "Newton-Schulz of .95 m̂(t+1) + .05 ĝ",
    ),
    "simplified_ademamix": Truth(
        lambda: contrib.simplified_ademamix(1e-3),
        ENTRIES,
        0,
        moments(0.99, 0.95, eps=1e-8),
        "m = g + .99 m over √n̂, alpha = 0",
        inside=False,
    ),
    "ademamix": Truth(
        lambda: contrib.ademamix(1e-3),
        ENTRIES,
        0,
        {**moments(0.9, 0.999), "slow decay": 0.9999, "slow gain": 5.0 * 1e-4},
        "(m̂ + 5 m2)/√v̂, m2 of decay .9999 not corrected",
        law="two means",
        unknown=NO_FIELD,
    ),
    "acprop": Truth(
        lambda: contrib.acprop(1e-3),
        ENTRIES,
        0,
        moments(0.9, 0.999),
        "g/√ŝ, s of the step before, of (g - m)² with m of the step before; g at first",
        law="mean before it",
        unknown=NO_FIELD,
    ),
    "dowg": Truth(
        lambda: contrib.dowg(1.0),
        JOINT,
        0,
        {"eps": 1e-4 / 1e-2 / np.sqrt(np.prod(SHAPE))},
        "r²/(r √Σ‖g‖² + eps), r² = 1e-4 where weights stay; v is a mean over entries",
        unknown="where the weights have been",
    ),
    "dog": Truth(
        lambda: contrib.dog(1.0),
        JOINT,
        0,
        {"eps": 1e-8 / np.prod(SHAPE)},
        "r/√(Σ‖g‖² + 1e-8), r the distance from the start, 1e-6 (1 + ‖w‖) at least",
        unknown="depend on the weights",
    ),
    "prodigy": Truth(
        lambda: contrib.prodigy(1.0),
        ENTRIES,
        0,
        moments(0.9, 0.999),
        "m̂/(√v̂ + eps/√(1 - b2^t)) while no distance is covered",
        unknown="where the weights have been",
    ),
    "dadapt_adamw": Truth(
        lambda: contrib.dadapt_adamw(1.0),
        ENTRIES,
        0,
        {},
        "a step size that grows by an inner product of all gradients so far",
        law=None,
        unknown="",
    ),
    "schedule_free_sgd": Truth(
        lambda: contrib.schedule_free_sgd(1.0),
        ENTRIES,
        1,
        {},
        "weights are a mean of a sequence of its own, by 1/t",
        law=None,
        unknown="",
    ),
    "noisy_sgd": Truth(
        lambda: optax.noisy_sgd(1e-3, key=0),
        ENTRIES,
        1,
        {},
        "g and noise of variance .01/t^.55, the same each start; g alone when large",
        unknown="gradients are 0",
    ),
}
"""Forty-three of optax, its contributions among them."""


def torch_rules():
    """Those of `torch.optim` that take dense gradients and no closure; and variants."""
    from torch import optim

    w = {"weight_decay": 0.01}
    return {
        "SGD": Truth(lambda: (optim.SGD, {"lr": 0.1}), ENTRIES, 1, {}, "-lr g"),
        "SGD, momentum": Truth(
            lambda: (optim.SGD, {"lr": 0.1, "momentum": 0.9, **w}),
            ENTRIES,
            1,
            {"first decay": 0.9},
            "g + .01 w, buf = .9 buf + g",
            coupled=0.01,
        ),
        "SGD, nesterov": Truth(
            lambda: (optim.SGD, {"lr": 0.1, "momentum": 0.8, "nesterov": True}),
            ENTRIES,
            1,
            {"first decay": 0.8, "mix": 0.64},
            "g + .8 buf",
        ),
        "SGD, dampened": Truth(
            lambda: (optim.SGD, {"lr": 0.1, "momentum": 0.9, "dampening": 0.4}),
            ENTRIES,
            1,
            {"first decay": 0.9, "damping decay": 0.4},
            "buf = g at first, then .9 buf + .6 g",
            law="whole first gradient",
            unknown=NO_FIELD,
        ),
        "Adam": Truth(
            lambda: optim.Adam, ENTRIES, 0, ADAM, "√v/√(1 - b2^t) + eps", inside=False
        ),
        "Adam, L2": Truth(
            lambda: (optim.Adam, {"lr": 0.1, **w}),
            ENTRIES,
            0,
            ADAM,
            "g + .01 w first",
            coupled=0.01,
            inside=False,
        ),
        "AdamW": Truth(
            lambda: optim.AdamW,
            ENTRIES,
            0,
            ADAM,
            "w (1 - lr·.01)",
            decay=0.01,
            inside=False,
        ),
        "RMSprop": Truth(
            lambda: optim.RMSprop,
            ENTRIES,
            0,
            {"second decay": 0.99, "eps": 1e-8},
            "g/(√v + eps), alpha=.99",
            inside=False,
        ),
        "Adagrad": Truth(
            lambda: optim.Adagrad,
            ENTRIES,
            0,
            {"eps": 1e-10},
            "g/(√Σg² + eps), the sum from 0",
            inside=False,
        ),
        "Muon": Truth(
            lambda: optim.Muon,
            SPECTRAL,
            0,
            {"first decay": 0.95, "mix": 0.9025},
            "Newton-Schulz of .95 buf + .05 g in bfloat16; w (1 - lr·.1)",
            decay=0.1,
        ),
        "Adamax": Truth(
            lambda: optim.Adamax,
            ENTRIES,
            0,
            moments(0.9, 0.999),
            "max(.999 u, |g| + eps)",
            law="largest of sizes",
            unknown=NO_FIELD,
        ),
        "NAdam": Truth(
            lambda: optim.NAdam,
            ENTRIES,
            0,
            {**moments(0.9, 0.999), "momentum rate": 0.004},
            "mu_t = .9 (1 - .5·.96^(.004 t))",
            law="momentum that grows",
            unknown=NO_FIELD,
        ),
        "RAdam": Truth(
            lambda: optim.RAdam,
            ENTRIES,
            0,
            moments(0.9, 0.999),
            "m̂ up to step 5, then r m̂ √(1 - b2^t)/(√v + eps)",
            law="variance of that is small",
            unknown=NO_FIELD,
        ),
        "Rprop": Truth(
            lambda: optim.Rprop,
            ENTRIES,
            0,
            {"growth": 1.2, "shrinkage": 0.5},
            "sizes by 1.2 where g and the last one agree, by .5 and no step where not",
            law="signs agree",
            unknown=NO_FIELD,
        ),
        "Adadelta": Truth(
            lambda: optim.Adadelta,
            ENTRIES,
            0,
            {"second decay": 0.9},
            "√(x + eps)/√(v + eps) g, rho=.9",
            law="its own steps",
            unknown=NO_FIELD,
        ),
        "ASGD": Truth(
            lambda: optim.ASGD,
            ENTRIES,
            1,
            {},
            "w - eta (g + 1e-4 w), eta = lr/(1 + 1e-4 lr t)^.75 falling by 1e-6 a step",
            law=None,
            coupled=1e-4,
            unknown="no form",
        ),
        "Adafactor": Truth(
            lambda: optim.Adafactor,
            CROSS,
            0,
            {"growth": 0.8},
            "rows times columns over the mean of rows, by t^-.8; times that of w",
            law="row and column factors",
            unknown="as long as the weights",
        ),
        "Adam, amsgrad": Truth(
            lambda: (optim.Adam, {"amsgrad": True}),
            ENTRIES,
            0,
            moments(0.9, 0.999),
            "the largest v so far, then over 1 - b2^t",
            law="debiased after",
            unknown=NO_FIELD,
        ),
        "RMSprop, momentum": Truth(
            lambda: (optim.RMSprop, {"momentum": 0.9}),
            ENTRIES,
            0,
            moments(0.9, 0.99, eps=1e-8),
            "buf = .9 buf + g/(√v + eps)",
            unknown="divided before",
        ),
        "RMSprop, centred": Truth(
            lambda: (optim.RMSprop, {"centered": True}),
            ENTRIES,
            0,
            {"second decay": 0.99},
            "g/√(v - m²)",
            law="square of the mean",
            unknown=NO_FIELD,
        ),
    }


def held_out():
    """Constants that nothing was tuned on but Yogi's .97: its search once missed it."""
    return {
        "adam": Truth(
            lambda: optax.adam(7e-3, 0.83, 0.977, eps=3e-7),
            ENTRIES,
            0,
            moments(0.83, 0.977, eps=3e-7),
            "",
            inside=False,
        ),
        "lion": Truth(
            lambda: optax.lion(2e-3, 0.87, 0.96, weight_decay=0.37),
            ENTRIES,
            0,
            {"first decay": 0.96, "mix": 0.87},
            "",
            decay=0.37,
        ),
        "amsgrad": Truth(
            lambda: optax.amsgrad(1e-3, 0.71, 0.953),
            ENTRIES,
            0,
            moments(0.71, 0.953),
            "",
            law="largest of debiased means",
            unknown=NO_FIELD,
        ),
        "ademamix": Truth(
            lambda: contrib.ademamix(1e-3, 0.86, 0.989, 0.9973, 2.3),
            ENTRIES,
            0,
            {**moments(0.86, 0.989), "slow decay": 0.9973, "slow gain": 2.3 * 0.0027},
            "",
            law="two means",
            unknown=NO_FIELD,
        ),
        "rmsprop": Truth(
            lambda: optax.rmsprop(1e-3, 0.93, momentum=0.77, eps=2e-6),
            ENTRIES,
            0,
            moments(0.77, 0.93, eps=2e-6),
            "",
            unknown="divided before",
        ),
        "yogi": Truth(
            lambda: optax.yogi(1e-3, 0.81, 0.97),
            ENTRIES,
            0,
            moments(0.81, 0.97),
            "",
            law="up or down",
            unknown="gradients are 0",
        ),
        "yogi, slower": Truth(
            lambda: optax.yogi(1e-3, 0.77, 0.984),
            ENTRIES,
            0,
            moments(0.77, 0.984),
            "",
            law="up or down",
            unknown="gradients are 0",
        ),
    }
