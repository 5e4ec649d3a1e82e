"""Label noise lowers the sharpness that Adam goes down, and the probe sees it."""

import numpy as np
import pytest
import torch
from torch import nn

import penchant as pn
from penchant.integrations.torch._draws import diagonals
from penchant.integrations.torch._outputs import usual_logits
from tests.integrations.torch.cases import digits

LEVEL, STEPS, AT = 0.3, 12_000, (4000, 8000, 12_000)


def data():
    X, y = digits()
    return X[:1000], nn.functional.one_hot(y[:1000], 10).float()


def half_square(model, X, T):
    return 0.5 * ((model(X) - T) ** 2).sum(dim=1).mean()


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 10))


def exact(model, X):
    """tr Diag(G)^½ of half the squares, written out for two layers."""
    W, b, V, _ = (p.detach().double() for p in model.parameters())
    X = X.double()
    h = torch.tanh(X @ W.T + b)
    back = (1.0 - h**2) ** 2 * (V**2).sum(dim=0)
    layers = (
        back.T @ X**2 / len(X),
        back.mean(dim=0),
        (h**2).mean(dim=0).expand(10, -1),
    )
    return float(sum(layer.sqrt().sum() for layer in layers)) + 10.0


def drawn(model, X, T, seed):
    """The same by residuals that are drawn, in eight parts."""
    order = torch.randperm(len(X), generator=torch.Generator().manual_seed(seed))
    parts = [(X[i], T[i]) for i in order.reshape(8, -1)]
    labels = torch.Generator().manual_seed(seed)
    rows, _, _ = diagonals(
        lambda part: usual_logits(model, part),
        parts,
        list(model.parameters()),
        labels,
        8,
    )
    return pn.measures.root_trace(rows, 8)


def run(model, rule, noise, steps, seed=2):
    """Exact values and estimates at three moments of a run in batches of 32."""
    X, T = data()
    draws = torch.Generator().manual_seed(seed)
    found = []
    for step in range(1, steps + 1):
        rows = torch.randint(len(X), (32,), generator=draws)
        labels = T[rows]
        if noise:
            labels = labels + noise * torch.randn(labels.shape, generator=draws)
        rule.zero_grad()
        half_square(model, X[rows], labels).backward()
        rule.step()
        if step in AT:
            found.append((exact(model, X), drawn(model, X, T, step)))
    return found


@pytest.mark.slow
def test_adam_with_label_noise_lowers_its_sharpness_and_sgd_hardly():
    torch.set_num_threads(1)
    X, _ = data()
    fitted = network()
    run(fitted, torch.optim.Adam(fitted.parameters(), lr=1e-3), 0.0, 3000, seed=1)
    begun = exact(fitted, X)
    rules = {
        "adam, noise": (lambda p: torch.optim.Adam(p, lr=3e-3), LEVEL),
        "sgd, noise": (lambda p: torch.optim.SGD(p, lr=0.05), LEVEL),
        "adam": (lambda p: torch.optim.Adam(p, lr=3e-3), 0.0),
    }
    seen = {}
    for name, (make, noise) in rules.items():
        model = network()
        model.load_state_dict(fitted.state_dict())
        seen[name] = run(model, make(model.parameters()), noise, STEPS)
    fall = {name: 1.0 - found[-1][0] / begun for name, found in seen.items()}
    assert fall["adam, noise"] >= 0.25
    assert abs(fall["sgd, noise"]) < 0.12
    assert fall["adam, noise"] > fall["adam"]
    points = [point for found in seen.values() for point in found]
    assert len(points) == 9
    # by eight parts: of 2 standard errors nine calibrated ones would fail half the time
    assert all(told.covers(truth) for truth, told in points), points


@pytest.mark.slow
def test_the_errors_of_drawn_residuals_are_those_of_other_draws():
    torch.set_num_threads(1)
    X, T = data()
    model = network()
    run(model, torch.optim.Adam(model.parameters(), lr=1e-3), 0.0, 3000, seed=1)
    truth = exact(model, X)
    found = [drawn(model, X, T, seed) for seed in range(100, 140)]
    values, errors = (np.array([f.value for f in found]), [f.error for f in found])
    assert abs(values.mean() - truth) < 3 * values.std() / len(values) ** 0.5
    assert np.mean(errors) == pytest.approx(values.std(), rel=0.35)
    assert np.mean([f.covers(truth) for f in found]) >= 0.88
