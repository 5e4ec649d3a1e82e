"""Frameworks' defaults: what the libraries themselves say, and their runs."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import penchant as pn
from penchant import optimizers as rules
from tests.cases import multiclass

# our option, and the argument that is the same in the framework
TORCH = {
    "sgd": ("SGD", {"momentum": "momentum", "nesterov": "nesterov"}),
    "adam": ("Adam", {"b1": ("betas", 0), "b2": ("betas", 1), "eps": "eps"}),
    "adamw": (
        "AdamW",
        {
            "b1": ("betas", 0),
            "b2": ("betas", 1),
            "eps": "eps",
            "weight_decay": "weight_decay",
        },
    ),
    "rmsprop": ("RMSprop", {"b2": "alpha", "eps": "eps"}),
    "adagrad": ("Adagrad", {"eps": "eps", "initial": "initial_accumulator_value"}),
    "muon": (
        "Muon",
        {"b1": "momentum", "nesterov": "nesterov", "weight_decay": "weight_decay"},
    ),
}
OPTAX = {
    "sgd": (optax.sgd, {"momentum": "momentum", "nesterov": "nesterov"}),
    "sign": (optax.sign_sgd, {}),
    "adam": (optax.adam, {"b1": "b1", "b2": "b2", "eps": "eps"}),
    "adamw": (
        optax.adamw,
        {"b1": "b1", "b2": "b2", "eps": "eps", "weight_decay": "weight_decay"},
    ),
    "rmsprop": (
        optax.rmsprop,
        {"b2": "decay", "eps": "eps", "eps_inside": "eps_in_sqrt"},
    ),
    "adagrad": (
        optax.adagrad,
        {"eps": "eps", "initial": "initial_accumulator_value"},
    ),
    "lion": (optax.lion, {"b1": "b1", "b2": "b2", "weight_decay": "weight_decay"}),
    "muon": (
        optax.contrib.muon,
        {"b1": "beta", "nesterov": "nesterov", "weight_decay": "weight_decay"},
    ),
}
ABSENT = {"momentum": 0.0, "nesterov": False, "initial": 0.0, "weight_decay": 0.0}


def defaults(callable_):
    parameters = inspect.signature(callable_).parameters.values()
    return {p.name: p.default for p in parameters}


def same(ours, table, theirs):
    for option, name in table.items():
        value = theirs[name[0]][name[1]] if isinstance(name, tuple) else theirs[name]
        value = 0.0 if value is None else value
        assert ours.options.get(option, ABSENT.get(option)) == value, option


@pytest.mark.parametrize("name", TORCH)
def test_torch_says_the_same_defaults(name):
    torch = pytest.importorskip("torch")
    kind, table = TORCH[name]
    theirs = defaults(getattr(torch.optim, kind))
    ours = rules.like("torch", name)
    same(ours, table, theirs)
    assert ours.step_size == theirs["lr"]
    if name == "muon":
        assert ours.options["polar"] == f"ns:{theirs['ns_steps']}"
        np.testing.assert_allclose(
            rules.NewtonSchulz(5).coefficients[0], theirs["ns_coefficients"]
        )


@pytest.mark.parametrize("name", OPTAX)
def test_optax_says_the_same_defaults(name):
    function, table = OPTAX[name]
    theirs = defaults(function)
    ours = rules.like("optax", name)
    same(ours, table, theirs)
    assert ours.step_size is None
    assert theirs["learning_rate"] is inspect.Parameter.empty


START = 0.1 * np.asarray(jax.random.normal(jax.random.key(0), (6, 8)))
# few steps: where gradients cross 0 a small ε amplifies rounding from step to step
STEPS, ETA = 20, 0.003


def ours_after(framework, name):
    problem = multiclass(0, spread=1.0)
    options = rules.like(framework, name).options
    rule = rules.read(name, **options)
    start = START[: problem.weight_shape[0], : problem.weight_shape[1]]
    run = pn.train(problem, rule, steps=STEPS, step_size=ETA, init=start, record=2)
    return problem, start, np.asarray(run.last)


# optax's Muon differs in length and at the start, as its differences say
@pytest.mark.sampled
@pytest.mark.parametrize("name", [name for name in OPTAX if name != "muon"])
def test_runs_as_optax_at_its_defaults(name):
    problem, start, w = ours_after("optax", name)
    with jax.numpy_dtype_promotion("standard"):
        tx = OPTAX[name][0](ETA)
        run = pn.train(
            problem, rules.FromOptax(tx), steps=STEPS, step_size=1.0, init=start
        )
    np.testing.assert_allclose(w, np.asarray(run.last), rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", [name for name in TORCH if name != "muon"])
def test_runs_as_torch_at_its_defaults(name):
    torch = pytest.importorskip("torch")
    problem, start, w = ours_after("torch", name)
    X = torch.tensor(np.asarray(problem.X))
    y = torch.tensor(np.asarray(problem.y), dtype=torch.long)
    v = torch.tensor(start.copy(), requires_grad=True)
    theirs = getattr(torch.optim, TORCH[name][0])([v], lr=ETA)
    for _ in range(STEPS):
        theirs.zero_grad()
        torch.nn.functional.cross_entropy(X @ v.T, y).backward()
        theirs.step()
    np.testing.assert_allclose(w, v.detach().numpy(), rtol=0, atol=1e-9)


def keras_steps(name, problem, w):
    """Keras 3's update formulas, written from its documentation."""
    first, second = np.zeros_like(w), np.zeros_like(w)
    second += 0.1 if name == "adagrad" else 0.0
    for t in range(1, STEPS + 1):
        g = np.asarray(problem.gradient(jnp.asarray(w)))
        decay = {"adamw": 0.004}.get(name, 0.0)
        w = w - ETA * decay * w
        if name in ("adam", "adamw"):
            first += (g - first) * 0.1
            second += (g**2 - second) * 0.001
            alpha = ETA * np.sqrt(1 - 0.999**t) / (1 - 0.9**t)
            w = w - alpha * first / (np.sqrt(second) + 1e-7)
        elif name == "rmsprop":
            second = 0.9 * second + 0.1 * g**2
            w = w - ETA * g / np.sqrt(second + 1e-7)
        elif name == "adagrad":
            second += g**2
            w = w - ETA * g / np.sqrt(second + 1e-7)
        elif name == "lion":
            w = w - ETA * np.sign(0.9 * first + 0.1 * g)
            first = 0.99 * first + 0.01 * g
        else:
            w = w - ETA * g
    return w


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "rmsprop", "adagrad", "lion"])
def test_runs_as_keras_at_its_defaults(name):
    problem, start, w = ours_after("keras", name)
    # Adam's ε is added elsewhere at the start: what is different is said, and small
    tolerance = 1e-4 if name.startswith("adam") else 1e-9
    theirs = keras_steps(name, problem, start)
    np.testing.assert_allclose(w, theirs, rtol=0, atol=tolerance)
    said = any("√(1 − β₂ᵗ)" in text for text in rules.like("keras", name).differences)
    assert said == name.startswith("adam")


def test_what_is_not_there_lists_what_is():
    with pytest.raises(ValueError, match=r"no framework 'jax'; have: torch, optax"):
        rules.like("jax", "adam")
    with pytest.raises(ValueError, match=r"no torch rule 'lion'; have: gd, sgd"):
        rules.like("torch", "lion")


def test_every_entry_is_a_rule_that_can_be_made():
    for framework, table in rules.FRAMEWORKS.items():
        for name in table:
            made = rules.read(name, **rules.like(framework, name).options)
            assert isinstance(made, rules.AbstractOptimizer)


def test_names_in_any_case_and_their_batches():
    assert repr(rules.read("SGD")) == repr(rules.read("gd"))
    assert float(rules.read("momentum").momentum) == 0.9
    assert repr(pn.batching.of_rule("sgd", 20)) == "FullBatch()"
    assert repr(pn.batching.of_rule(rules.read("sgd"), 200)) == "FullBatch()"
    with pytest.raises(ValueError, match="--weight-decay"):
        rules.read("gd", eps=0.1)


def test_weight_decay_goes_with_every_name():
    for name in rules.OPTIMIZERS:
        more = {"norm": "l2"} if name == "steepest" else {}
        rule = rules.read(name, weight_decay=0.25, **more)
        assert rule.character().decays
        assert float(rule.character().decay) == 0.25
