"""With the probe and without it a run is the same, bit for bit."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

import penchant as pn
from tests.integrations.torch.cases import digits, loader, loss, mlp, train

STEPS = 35  # past the first curvature probe and its longest but one lag


def state_of(model, optimizer):
    states = [
        {k: v.clone() if isinstance(v, torch.Tensor) else v for k, v in s.items()}
        for s in optimizer.state.values()
    ]
    return {
        "weights": {k: v.clone() for k, v in model.state_dict().items()},
        "optimizer": states,
        "gradients": [p.grad.clone() for p in model.parameters()],
        "modes": [m.training for m in model.modules()],
        "torch": torch.get_rng_state(),
        "numpy": np.random.get_state()[1].tolist(),  # noqa: NPY002
    }


def differing(a, b):
    return [name for name in a if not same(a[name], b[name])]


def same(a, b):
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


def run(extra, rule, watched, **options):
    digits()  # read before, since reading it may draw
    np.random.seed(0)  # noqa: NPY002 - the global generator is what is tested
    model = mlp(extra=copy.deepcopy(extra))
    optimizer = rule(model.parameters())
    batches = loader()
    watch = None
    if watched:
        watch = pn.torch.watch(
            model, optimizer, loss=loss, batches=batches, overhead=10.0, **options
        )
    train(model, optimizer, batches, STEPS)
    found = state_of(model, optimizer)
    if watch is not None:
        recording = watch.recorder.recording()
        assert not list(recording.happened("failed"))
        assert any(line["tier"] == "curvature" for line in recording.records)
        watch.finish()
        assert not differing(found, state_of(model, optimizer))
    return found


RULES = {
    "adamw": lambda p: torch.optim.AdamW(p, lr=1e-3),
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
}


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("mode", ["eval", "train"])
def test_with_dropout_and_batch_norm(rule, mode):
    extra = [nn.BatchNorm1d(16), nn.Dropout(0.1)]
    with_probe = run(extra, RULES[rule], True, mode=mode)
    assert not differing(with_probe, run(extra, RULES[rule], False))


@pytest.mark.slow
def test_of_a_compiled_model():
    """Training stays compiled; the module inside is probed."""

    def once(watched):
        model = mlp(extra=[nn.Dropout(0.1)])
        compiled = torch.compile(model, backend="aot_eager")
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
        batches = loader()
        if watched:
            watch = pn.torch.watch(
                compiled, optimizer, loss=loss, batches=batches, overhead=10.0
            )
        train(compiled, optimizer, batches, 30)
        if watched:
            assert not list(watch.recorder.recording().happened("failed"))
        return state_of(model, optimizer)

    assert not differing(once(True), once(False))


def test_a_users_graph_stays_valid():
    """A graph that is alive while the probe works can still be gone through."""
    model = mlp(extra=[nn.BatchNorm1d(16)])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    X, y = next(iter(loader()))
    watch = pn.torch.watch(model, optimizer, loss=loss, batches=[(X, y)] * 4)
    value = loss(model, (X, y))
    watch.measure()
    value.backward()
    assert all(p.grad is not None for p in model.parameters())


@pytest.mark.slow
def test_jax_is_not_started_and_pythons_numbers_stay():
    """JAX would take a device's memory, and warn where loaders fork.

    In a process of its own: the checks of types that tests run under draw numbers.
    """
    code = """
import random, torch, penchant as pn
from jax._src import xla_bridge
model = torch.nn.Linear(4, 2)
rule = torch.optim.AdamW(model.parameters())
batch = (torch.randn(8, 4), torch.randint(2, (8,)))
loss = lambda m, b: torch.nn.functional.cross_entropy(m(b[0]), b[1])
watch = pn.torch.watch(model, rule, loss=loss, batches=[batch] * 4, overhead=10.0)
before = random.getstate()
for _ in range(12):
    rule.zero_grad(); loss(model, batch).backward(); rule.step()
says = watch.finish()
print(len(says.recording.records) > 6, xla_bridge.backends_are_initialized())
print(random.getstate() == before)
"""
    import subprocess
    import sys

    told = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert told.stdout.split() == ["True", "False", "True"], told.stderr[-2000:]
