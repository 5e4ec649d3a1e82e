"""What a row says of an optimizer is what the optimizer does."""

import numpy as np
import pytest
import torch

import penchant as pn
from penchant.integrations.torch._adapters import ROWS, UNKNOWN, adapter_of
from penchant.integrations.torch._state import Side, numbers_of
from tests.integrations.torch.cases import loader, loss, mlp, train

RULES = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.05, weight_decay=0.01),
    "momentum": lambda p: torch.optim.SGD(p, 0.05, 0.9, weight_decay=0.01),
    "damped": lambda p: torch.optim.SGD(p, 0.05, 0.9, 0.3, weight_decay=0.01),
    "nesterov": lambda p: torch.optim.SGD(p, 0.05, 0.9, nesterov=True),
    "adam": lambda p: torch.optim.Adam(p, 1e-3, weight_decay=0.01),
    "amsgrad": lambda p: torch.optim.Adam(p, 1e-3, amsgrad=True),
    "adamw": lambda p: torch.optim.AdamW(p, 1e-3, weight_decay=0.01),
    "maximize": lambda p: torch.optim.AdamW(p, 1e-3, maximize=True),
    "nadam": lambda p: torch.optim.NAdam(p, 1e-3, weight_decay=0.01),
    "nadamw": lambda p: torch.optim.NAdam(
        p, 1e-3, weight_decay=0.01, decoupled_weight_decay=True
    ),
    "radam": lambda p: torch.optim.RAdam(p, 1e-3, weight_decay=0.01),
    "rmsprop": lambda p: torch.optim.RMSprop(p, 1e-3, weight_decay=0.01),
    "centered": lambda p: torch.optim.RMSprop(p, 1e-3, centered=True, momentum=0.5),
    "adagrad": lambda p: torch.optim.Adagrad(p, 0.01, lr_decay=0.1, weight_decay=0.01),
}


def looked(rule, steps=7, dtype=torch.float64):
    """A side after some steps, and the samples about the next."""
    model = mlp(dtype=dtype)
    optimizer = rule(model.parameters())
    side = Side(optimizer, {}, 0, set())
    batches = [(x.to(dtype), y) for x, y in loader()]
    train(model, optimizer, batches, steps)
    side.step = steps
    optimizer.zero_grad()
    loss(model, batches[-1]).backward()
    side.look()
    optimizer.step()
    side.step += 1
    return side, side._seen(side.groups[0])


@pytest.mark.parametrize("name", RULES)
def test_the_step_is_what_the_row_says(name):
    side, pairs = looked(RULES[name])
    row = side.adapter
    assert row is not UNKNOWN
    for _, seen in pairs:
        told = row.moments(seen).step
        before = seen.before
        if row.decoupled(seen.group):
            before = before * (1.0 - seen.step_size * seen.decay)
        np.testing.assert_allclose(
            before - seen.step_size * told, seen.after, rtol=0, atol=1e-13
        )


@pytest.mark.parametrize("name", [n for n in RULES if n not in ("rmsprop", "adagrad")])
def test_the_decay_applied_is_the_one_asked_for(name):
    side, pairs = looked(RULES[name])
    found = numbers_of(side.adapter, pairs)
    if name == "centered":  # nothing tells its decay from its gradient
        assert "applied_decay" not in found
        return
    value, error = found["applied_decay"]
    asked = side.optimizer.param_groups[0]["weight_decay"]
    assert value == pytest.approx(asked, abs=1e-9)
    assert error < 1e-9


def test_coupled_decay_in_single_precision():
    for rule in (
        lambda p: torch.optim.Adam(p, 1e-3, weight_decay=5e-4),
        lambda p: torch.optim.SGD(p, 0.05, 0.9, weight_decay=5e-4),
    ):
        side, pairs = looked(rule, dtype=torch.float32)
        value, error = numbers_of(side.adapter, pairs)["applied_decay"]
        assert abs(value - 5e-4) <= max(3 * error, 5e-4 * 1e-5)
        assert error < 1e-8


class Own(torch.optim.AdamW):
    """The steps of another rule under a known name."""

    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                p.data.add_(p.grad.sign(), alpha=-group["lr"])


def test_a_subclass_with_a_step_of_its_own_is_unknown():
    model = mlp()
    assert adapter_of(Own(model.parameters())) is UNKNOWN

    class Same(torch.optim.AdamW):
        pass

    assert adapter_of(Same(model.parameters())) is ROWS[torch.optim.AdamW]
    side, pairs = looked(lambda p: Own(p, lr=1e-3), dtype=torch.float64)
    found = numbers_of(side.adapter, pairs)
    assert "signal" not in found
    assert found["sign_likeness"] == pytest.approx(1.0, abs=0.2)
    assert 0 < found["cosine"] <= 1


def test_factored_second_moments_are_read_where_they_are():
    side, pairs = looked(lambda p: torch.optim.Adafactor(p, 0.01), dtype=torch.float32)
    found = numbers_of(side.adapter, pairs)
    assert found["median_root"] > 0
    matrix = side.groups[0].tensors[0].tensor
    state = side.optimizer.state[matrix]
    full = state["row_var"] @ state["col_var"] / state["row_var"].mean(-2, True)
    at = side.groups[0].tensors[0].index.numpy()
    sample = pairs[0][1].state["variance"]
    np.testing.assert_allclose(sample[: len(at)], full.numpy().ravel()[at], rtol=1e-5)


QUADRATICS = {
    "gd": lambda p: torch.optim.SGD(p, 0.1),
    "decay": lambda p: torch.optim.SGD(p, 0.1, weight_decay=0.5),
    "heavy ball": lambda p: torch.optim.SGD(p, 0.1, 0.9),
    "damped": lambda p: torch.optim.SGD(p, 0.1, 0.9, 0.3),
    "nesterov": lambda p: torch.optim.SGD(p, 0.1, 0.9, nesterov=True),
}


@pytest.mark.parametrize("name", QUADRATICS)
def test_thresholds_are_where_steps_begin_to_grow(name):
    for side, grows in ((0.97, False), (1.03, True)):
        w = torch.nn.Parameter(torch.ones(1, dtype=torch.float64))
        optimizer = QUADRATICS[name]([w])
        h = side * adapter_of(optimizer).threshold(optimizer.param_groups[0])
        for _ in range(1000):
            w.grad = h * w.detach()
            optimizer.step()
        assert (abs(float(w.detach())) > 1) is grows


@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("name", ["adamw", "nadam", "rmsprop", "rmsprop momentum"])
def test_thresholds_of_divided_steps(name, decay):
    """A second moment that stands still is the geometry the threshold is told in."""
    rules = {
        "adamw": lambda p: torch.optim.AdamW(p, 1e-2, weight_decay=decay),
        "nadam": lambda p: torch.optim.NAdam(
            p, 1e-2, weight_decay=decay, decoupled_weight_decay=True
        ),
        "rmsprop": lambda p: torch.optim.RMSprop(p, 1e-2),
        "rmsprop momentum": lambda p: torch.optim.RMSprop(p, 1e-2, momentum=0.9),
    }
    row = adapter_of(rules[name]([torch.nn.Parameter(torch.ones(1))]))
    start = 1e-9
    for side, grows in ((0.97, False), (1.03, True)):
        w = torch.nn.Parameter(torch.full((1,), start, dtype=torch.float64))
        optimizer = rules[name]([w])
        group = optimizer.param_groups[0]
        w.grad = torch.zeros_like(w)
        for _ in range(100):  # the correction of the first moment's bias is over
            optimizer.step()
        w.data.fill_(start)
        h = side * row.threshold(group, 1e5)
        if "nadam" in name:  # as after so many steps: its momentum has risen
            optimizer.state[w]["step"].fill_(1e5)
        for _ in range(600):
            w.grad = h * w.detach()
            state = optimizer.state[w]
            n, b2 = float(state["step"]) + 1, row.decays(group)[1]
            # v̂ stays 1, so that the divisor is 1 + ε
            left = 1.0 if name.startswith("rms") else 1 - b2**n
            state[row.second].fill_((left - (1 - b2) * float(w.grad) ** 2) / b2)
            optimizer.step()
            if abs(float(w.detach())) > 1e3 * start:
                break
        assert (abs(float(w.detach())) > start) is grows


def test_rules_without_a_threshold_say_so():
    w = torch.nn.Parameter(torch.ones(2, 2))
    for rule in (torch.optim.Adafactor([w]), torch.optim.Muon([w])):
        assert adapter_of(rule).threshold(rule.param_groups[0]) is None
    with pytest.raises(ValueError, match="step_size must be > 0"):
        pn.estimators.edge_threshold(0.0)
