"""Read-outs of rules with matrices, memory and signs, against what they must be."""

import math

import numpy as np
import pytest
import torch
from torch import nn

import penchant as pn
from penchant.integrations._numbers import spectrum_of
from tests.integrations.torch.cases import (
    endless,
    flat,
    loader,
    loss,
    mlp,
    named,
    train,
)


class Lion(torch.optim.Optimizer):
    """As its paper writes it, with the state's usual names."""

    def __init__(self, parameters, lr=1e-4, betas=(0.9, 0.99), weight_decay=0.0):
        options = {"lr": lr, "betas": betas, "weight_decay": weight_decay}
        super().__init__(parameters, options)

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            b1, b2 = group["betas"]
            for p in group["params"]:
                state = self.state[p]
                m = state.setdefault("exp_avg", torch.zeros_like(p))
                p.mul_(1.0 - group["lr"] * group["weight_decay"])
                p.add_((b1 * m + (1.0 - b1) * p.grad).sign(), alpha=-group["lr"])
                m.lerp_(p.grad, 1.0 - b2)


class Signed(torch.optim.Optimizer):
    """A stranger: heavy-ball momentum under names of its own."""

    def __init__(self, parameters, lr=0.05, friction=0.9):
        super().__init__(parameters, {"lr": lr, "friction": friction})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                kept = self.state[p]
                kept["speed"] = group["friction"] * kept.get("speed", 0.0) + p.grad
                p.add_(kept["speed"], alpha=-group["lr"])


def measured(model, optimizer, batches, steps, **options):
    """A run that is looked at once, at its end."""
    watch = pn.torch.watch(model, optimizer, loss=loss, batches=batches, **options)
    watch.plan.steps, watch.plan.made = (10**9,), True
    for _, batch in zip(range(steps), endless(batches), strict=False):
        watch.batch(batch)
        optimizer.zero_grad()
        loss(model, batch).backward()
        optimizer.step()
    watch.measure(with_edge="edge" in options.get("readouts", ()))
    return watch.reading()


def test_the_spectrum_of_a_step_is_its_singular_values():
    made = np.random.default_rng(0)
    U, _, V = np.linalg.svd(made.normal(size=(6, 4)), full_matrices=False)
    step = U @ np.diag([1.2, 0.9, 0.8, 0.1]) @ V
    found = spectrum_of(2.0 * step, np.outer(np.ones(6), np.ones(4)), 2.0)
    assert found["update_singular"] == pytest.approx([0.1, 0.85, 1.2])
    assert found["update_below_half"] == 0.25
    assert found["momentum_rank"] == pytest.approx(1.0)
    free = spectrum_of(7.0 * step, None, None)["update_singular"]
    size = math.sqrt((1.2**2 + 0.9**2 + 0.8**2 + 0.1**2) / 4)
    assert free == pytest.approx([0.1 / size, 0.85 / size, 1.2 / size])


def test_matrices_are_decomposed_ever_more_rarely():
    from penchant.integrations.torch._state import spectrum_due

    due = [step for step in range(1, 1000) if spectrum_due(step)]
    assert due == [*range(1, 11), 20, 40, 80, 160, 320, 640]


@pytest.mark.parametrize("adjust", ["original", "match_rms_adamw"])
def test_the_step_of_muon_from_weights_before_and_after(adjust):
    """Five Newton-Schulz steps do not give 1; the buffer has few directions."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(64, 48, bias=False), nn.ReLU(), nn.Linear(48, 10, bias=False)
    )
    rule = torch.optim.Muon(
        model.parameters(), lr=0.01, weight_decay=0.1, adjust_lr_fn=adjust
    )
    watch = pn.torch.watch(model, rule)
    before, batches = [], loader()
    for step, batch in enumerate(batches, 1):
        rule.zero_grad()
        loss(model, batch).backward()
        before.append(model[0].weight.detach().double().numpy().copy())
        rule.step()
        if step == 5:
            break
    says = watch.reading()
    name = says.recording.groups[0]
    after = model[0].weight.detach().double().numpy()
    unit = 0.2 * math.sqrt(64) if adjust == "match_rms_adamw" else 1.0
    s = np.linalg.svd((0.999 * before[-1] - after) / (0.01 * unit), compute_uv=False)
    least, median, largest = says.recording.last("update_singular", name)
    # the fifth step is the last that is looked at
    assert median == pytest.approx(np.median(s), rel=1e-3)
    assert largest == pytest.approx(s[0], rel=1e-3)
    assert 0.5 < median < 1.0 < largest < 1.25
    assert 0.0 < least < 0.5
    assert 0.0 < says.recording.last("update_below_half", name) < 0.5
    buffer = rule.state[model[0].weight]["momentum_buffer"].double().numpy()
    rank = np.linalg.norm(buffer) ** 2 / np.linalg.norm(buffer, 2) ** 2
    assert says.recording.last("momentum_rank", name) == pytest.approx(rank)
    assert rank < 5
    assert "the step moves along all of them alike" in str(says)


def test_an_unknown_rule_with_polar_steps_is_seen_to_be_one():
    """Scale-free: in units of the root mean square of its singular values."""

    class Polar(torch.optim.Optimizer):
        @torch.no_grad()
        def step(self, closure=None):
            for group in self.param_groups:
                for p in group["params"]:
                    if p.ndim == 2:
                        U, _, V = torch.linalg.svd(p.grad, full_matrices=False)
                        p.add_(U @ V, alpha=-3.0 * group["lr"])

    model = mlp(dtype=torch.float64)
    rule = Polar(model.parameters(), {"lr": 1e-2})
    watch = pn.torch.watch(model, rule)
    train(model, rule, [(x.double(), y) for x, y in loader()], 2)
    (name,) = watch.reading().recording.groups
    values = watch.reading().recording.last("update_singular", name)
    assert values == pytest.approx([1.0, 1.0, 1.0], abs=1e-9)


RULES = {
    "heavy ball": lambda p: torch.optim.SGD(p, 1e-3, 0.9, weight_decay=0.1),
    "damped": lambda p: torch.optim.SGD(p, 1e-3, 0.8, 0.3),
    "adam": lambda p: torch.optim.Adam(p, 1e-4, weight_decay=0.1),
    "adamw": lambda p: torch.optim.AdamW(p, 1e-4, weight_decay=0.1),
}


@pytest.mark.parametrize("name", RULES)
def test_momentum_is_that_of_gradients_of_now_where_weights_stand_still(name):
    """At a step size of next to nothing; what is left is the memory's oldest 1 %."""
    model = mlp(dtype=torch.float64)
    rule = RULES[name](model.parameters())
    for group in rule.param_groups:
        group["lr"] = 1e-12
    batches = [(x.double(), y) for x, y in loader(n=256)]
    seen = measured(model, rule, batches, 60, readouts=["memory"]).recording
    assert seen.last("memory_moved") < 0.02
    fresh = mlp(dtype=torch.float64)
    rule = RULES[name](fresh.parameters())
    for group in rule.param_groups:
        group["lr"] = 1e-12
    seen = measured(fresh, rule, batches, 9, readouts=["memory"]).recording
    assert seen.last("memory_moved") < 1e-8  # all of it is here


def test_the_first_order_term_foretells_what_memory_is_off_by():
    """Small steps of full batches: then it is an expansion, and right."""
    model = mlp(dtype=torch.float64, activation=nn.Tanh)
    (x, y), *_ = loader(n=128, batch=128)
    rule = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
    says = measured(model, rule, [(x.double(), y)], 80, readouts=["memory"])
    moved = says.recording.last("memory_moved")
    cosine, size = says.recording.last("memory_foretold")
    assert 0.0 < moved < 0.1
    assert cosine > 0.99
    assert size == pytest.approx(1.0, abs=0.1)
    # V^m goes by the probe's gradient, and by a memory that is one step fresher
    assert 1.0 < moved / says.recording.last("validity_first") < 1.5
    assert "momentum differs from that of the same batches" in str(says)


def test_a_batch_that_is_missing_leaves_memory_unsaid():
    model, batches = mlp(), list(loader(n=128))
    rule = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
    watch = pn.torch.watch(model, rule, loss=loss, batches=batches, readouts=["memory"])
    for step in range(12):
        if step != 7:
            watch.batch(batches[step % 4])
        train(model, rule, [batches[step % 4]], 1)
    watch.measure()
    assert watch.reading().recording.last("memory_moved") is None


def test_a_step_that_is_a_sign_has_no_first_order_term():
    model, batches = mlp(), list(loader(n=256))
    rule = Lion(model.parameters(), lr=1e-3, weight_decay=0.1)
    says = measured(model, rule, batches, 20)
    seen, name = says.recording, says.recording.groups[0]
    assert "Memory's first-order term is 0" in str(says)
    assert seen.last("share_valid") is None
    # pixels that were always 0 do not move
    live = np.mean([
        float((rule.state[p]["exp_avg"] != 0).double().mean())
        for p in model.parameters()
        for _ in range(p.numel())
    ])
    assert seen.last("sign_likeness", name) == pytest.approx(live**0.5, abs=0.01)
    assert seen.last("applied_decay", name)[0] == pytest.approx(0.1, rel=0.02)


def test_step_sizes_that_fall_lengthen_the_path_of_memory():
    """The same last step size, another past: its memory reaches further back."""

    def first(rates):
        model = mlp(dtype=torch.float64, activation=nn.Tanh)
        batches = [(x.double(), y) for x, y in loader(n=256)]
        rule = torch.optim.SGD(model.parameters(), lr=1.0, momentum=0.9)
        watch = pn.torch.watch(
            model, rule, loss=loss, batches=batches, readouts=["state", "memory"]
        )
        watch.plan.steps, watch.plan.made = (10**9,), True
        for t in range(41):
            rule.param_groups[0]["lr"] = rates(t)
            train(model, rule, [batches[t % 8]], 1)
        watch.measure()
        return watch, watch.reading().recording.last("validity_first")

    watch, falling = first(lambda t: 1e-4 * (2.0 - t / 40))
    _, level = first(lambda t: 1e-4)
    past = [1e-4 * (2.0 - t / 40) for t in range(41)]
    longer = pn.estimators.path_since(0.9, past)
    ratio = longer / pn.estimators.path_since(0.9, [1e-4] * 41)
    assert ratio > 1.1
    assert falling / level == pytest.approx(ratio, rel=0.02)
    assert len(watch.sides[0].rates) == 6


@pytest.fixture(scope="module")
def stranger():
    return pn.identify((Signed, {"lr": 0.05, "friction": 0.9}))


def test_an_optimizer_that_was_identified_has_its_threshold(stranger):
    """Of a stranger's heavy ball all that its decays say, marked as measured."""
    batches = list(loader(n=256))
    told = {"readouts": ["state", "edge", "memory"], "rule": stranger}
    model = mlp(seed=1)
    says = measured(model, Signed(model.parameters()), batches, 20, **told)
    other = mlp(seed=1)
    own = torch.optim.SGD(other.parameters(), 0.05, 0.9)
    known = measured(other, own, batches, 20, **told)
    assert np.array_equal(flat(model), flat(other))
    for name in ("threshold", "share_valid", "validity_first", "correction_ratio"):
        a, b = says.recording.last(name), known.recording.last(name)
        assert a is b is None or a == pytest.approx(b, rel=1e-6)
    assert says.recording.last("validity_first") > 0
    assert says.table[0].optimizer == "Signed (measured)"
    assert "measured: by the rule that was identified" in str(says)
    assert any("identified (measured)" in why for _, why in says.not_measured)
    assert known.table[0].optimizer == "SGD"  # a row of the table is not overruled
    model = mlp()
    rule = Signed(model.parameters())
    watch = pn.torch.watch(model, rule)
    train(model, rule, batches, 2)
    bare = watch.reading()
    assert bare.table[0].optimizer == "Signed"
    with pytest.raises(TypeError, match="rule"):
        pn.torch.watch(model, Signed(model.parameters()), rule="Signed")


def test_what_an_identified_rule_does_not_say_is_not_assumed():
    """An unknown field is not none: no threshold of a rule that nobody knows."""
    model, batches = mlp(), list(loader(n=256))
    unknown = pn.optimizers.Character.unknown()
    says = measured(
        model, Signed(model.parameters()), batches, 12,
        readouts=["edge", "memory"], rule=unknown,
    )  # fmt: skip
    assert says.recording.last("threshold") is None
    assert says.recording.last("share_valid") is None
    assert not named(says.recording, "memory_why")
