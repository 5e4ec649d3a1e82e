"""Curvature of small models, against matrices that are written out."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

import penchant as pn
from penchant.integrations.torch._batches import ProbeSet
from penchant.integrations.torch._curvature import Curvature
from penchant.integrations.torch._draws import diagonals
from penchant.integrations.torch._isolated import isolated
from penchant.integrations.torch._outputs import usual_logits
from penchant.integrations.torch._products import Hessian, flat, largest
from penchant.integrations.torch._state import Side
from tests.integrations.torch.cases import digits, loss, train


def small(activation=nn.ReLU, *, steps=0, dtype=torch.float64, n=256):
    torch.manual_seed(0)
    X, y = digits()
    X, y = X[:n].to(dtype), y[:n]
    model = nn.Sequential(nn.Linear(64, 8), activation(), nn.Linear(8, 10)).to(dtype)
    rule = torch.optim.Adam(model.parameters(), lr=1e-2)
    train(model, rule, [(X, y)], steps)
    return model, X, y


def dense(model, X, y):
    """The Hessian and the Gauss-Newton matrix, row by row."""
    parameters = list(model.parameters())
    H = Hessian(lambda b: loss(model, b), [(X, y)], parameters)
    p = H.gradient.numel()
    rows = torch.stack([H(e) for e in torch.eye(p, dtype=X.dtype)])
    logits = model(X)
    chances = torch.softmax(logits, dim=1).detach()
    G = torch.zeros(p, p, dtype=X.dtype)
    for i in range(len(X)):
        J = torch.stack([
            flat(torch.autograd.grad(logits[i, c], parameters, retain_graph=True))
            for c in range(logits.shape[1])
        ])
        middle = torch.diag(chances[i]) - torch.outer(chances[i], chances[i])
        G += J.T @ middle @ J / len(X)
    return rows.numpy(), G.numpy(), H


@pytest.fixture(scope="module")
def relu():
    model, X, y = small(steps=60, n=48)
    return (model, X, y, *dense(model, X, y))


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")
def test_products_are_those_of_functional_derivatives(relu):
    """Double backward and forward over reverse give the same."""
    model, X, y, rows, _, H = relu
    names = dict(model.named_parameters())
    v = torch.randn(H.gradient.numel(), dtype=X.dtype, generator=torch.Generator())
    tangents, at = {}, 0
    for name, p in names.items():
        tangents[name] = v[at : at + p.numel()].reshape(p.shape)
        at += p.numel()

    def of(weights):
        return cross_entropy(torch.func.functional_call(model, weights, (X,)), y)

    _, told = torch.func.jvp(torch.func.grad(of), (names,), (tangents,))
    torch.testing.assert_close(H(v), flat(list(told.values())).detach())
    np.testing.assert_allclose(rows, rows.T, atol=1e-12)


def test_diagonals_of_hessian_and_gauss_newton(relu):
    """The same for a network that is linear by pieces, and only for such."""
    *_, rows, G, _ = relu
    np.testing.assert_allclose(np.diag(rows), np.diag(G), atol=1e-12)
    model, X, y = small(nn.GELU, steps=20, n=32)
    rows, G, _ = dense(model, X, y)
    assert np.abs(np.diag(rows) - np.diag(G)).max() > 1e-4


def test_lanczos_finds_the_largest_eigenvalue(relu):
    *_, rows, _, H = relu
    exact = np.linalg.eigvalsh(rows)[-1]
    start = torch.randn(
        H.gradient.numel(),
        dtype=H.gradient.dtype,
        generator=torch.Generator().manual_seed(1),
    )
    cold = largest(H, start, 12)
    assert cold.value == pytest.approx(exact, rel=1e-3)
    assert cold.value <= exact * (1 + 1e-12)
    assert exact - cold.value <= cold.residual
    warm = largest(H, cold.vector + 0.02 * start / start.norm(), 4)
    assert warm.value == pytest.approx(exact, rel=0.06)
    one = largest(lambda v: 3.0 * v, start, 5)  # ends at once
    assert one.value == pytest.approx(3.0)
    assert one.residual < 1e-9


def test_label_draws_are_unbiased(relu):
    model, X, y, _, G, _ = relu
    exact = np.diag(G)
    parts = [(X[i::4], y[i::4]) for i in range(4)]
    rows, sums, scale = diagonals(
        lambda part: usual_logits(model, part),
        parts,
        list(model.parameters()),
        torch.Generator().manual_seed(0),
        64,
    )
    assert scale == 1.0
    np.testing.assert_allclose(rows.sum(axis=1), sums, rtol=1e-9)
    total = rows.mean(axis=0)
    assert total.sum() == pytest.approx(exact.sum(), rel=0.1)
    live = exact > 1e-9 * exact.max()
    assert np.corrcoef(total[live], exact[live])[0, 1] > 0.95
    assert not total[exact == 0].any()
    # roots of single draws are too small by the factor of Gaussians
    singly = np.mean([
        np.sqrt(
            diagonals(
                lambda part: usual_logits(model, part),
                parts[:1],
                list(model.parameters()),
                torch.Generator().manual_seed(seed),
                1,
            )[0][0]
        ).sum()
        for seed in range(40)
    ])
    assert singly < 0.93 * np.sqrt(rows[0]).sum()


def pooled(model, X, y, seed, *, parts=8, size=32, draws=2):
    order = np.random.default_rng(seed).permutation(len(X))[: parts * size]
    chosen = [(X[i], y[i]) for i in order.reshape(parts, size)]
    rows, _, _ = diagonals(
        lambda part: usual_logits(model, part),
        chosen,
        list(model.parameters()),
        torch.Generator().manual_seed(seed),
        draws,
    )
    return pn.measures.root_trace(rows, draws), np.sqrt(rows).sum(axis=1).mean()


@pytest.mark.slow
def test_the_pooled_jackknife_on_a_fitted_network_and_its_coverage():
    """The hard case of the theory: 40 seeds; a root a part fails the same test."""
    torch.manual_seed(0)
    X, y = digits()
    X = X.double()
    model = nn.Sequential(nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10)).double()
    rule = torch.optim.Adam(model.parameters(), lr=3e-3)
    order = torch.randperm(len(X))
    batches = [(X[i], y[i]) for i in order.split(64)]
    train(model, rule, batches, 1500)
    _, G, _ = dense(model, X, y)
    exact = float(np.sqrt(np.diag(G)).sum())
    found = [pooled(model, X, y, seed) for seed in range(40)]
    mean = np.mean([f.value for f, _ in found]) / exact
    covered = np.mean([f.covers(exact) for f, _ in found])
    each = np.mean([e for _, e in found]) / exact
    assert mean == pytest.approx(1.0, abs=0.1)
    assert covered >= 0.88
    assert each < 0.85


@pytest.mark.slow
def test_the_bracket_holds_the_curvature_of_all_data():
    model, X, y = small(steps=120, n=1797)
    everything = Hessian(lambda b: loss(model, b), [(X, y)], list(model.parameters()))
    start = torch.ones(everything.gradient.numel(), dtype=X.dtype)
    exact = largest(everything, start, 30).value
    held = 0
    for seed in range(20):
        order = np.random.default_rng(seed).permutation(len(X))[:256]
        parts = [(X[i], y[i]) for i in order.reshape(4, 64)]
        rule = torch.optim.SGD(model.parameters(), lr=0.1)
        of = Curvature(
            Side(rule, {}, 0, set()),
            model,
            loss,
            usual_logits,
            ProbeSet(parts, parts[:1], 256, None, 256),
            "eval",
            seed,
        )
        with of.isolated() as bare:
            ((_, values),) = of.edge(bare)
        held += values["largest"]["lower"] <= exact <= values["largest"]["upper"]
    assert held >= 14


def test_a_regression_draws_gaussian_residuals():
    """Of a linear model G is X'X/n, whatever the targets."""
    draws = torch.Generator().manual_seed(0)
    X = torch.randn(64, 3, generator=draws, dtype=torch.float64)
    y = torch.randn(64, 1, generator=draws, dtype=torch.float64)
    model = nn.Linear(3, 1, bias=False).double()
    rows, _, _ = diagonals(
        lambda part: usual_logits(model, part),
        [(X, y)],
        list(model.parameters()),
        torch.Generator().manual_seed(1),
        1500,
    )
    np.testing.assert_allclose(rows[0], (X**2).mean(0).numpy(), rtol=0.15)


def test_margins_and_the_degree_of_a_homogeneous_model():
    from penchant.integrations.torch._margins import margins

    torch.manual_seed(0)
    X, y = digits()
    plain = nn.Sequential(
        nn.Linear(64, 16, bias=False), nn.ReLU(), nn.Linear(16, 10, bias=False)
    )
    parts = [(X[:64], y[:64]), (X[64:128], y[64:128])]
    found = margins(plain, usual_logits, parts, list(plain.parameters()))
    np.testing.assert_allclose(found["degree"], 2.0, rtol=1e-4)
    scores = torch.cat([plain(x) for x, _ in parts]).detach().numpy()
    labels = y[:128].numpy()
    own = scores[np.arange(128), labels]
    scores[np.arange(128), labels] = -np.inf
    assert found["margin_least"] == pytest.approx((own - scores.max(1)).min(), abs=1e-6)
    normed = nn.Sequential(nn.Linear(64, 16), nn.LayerNorm(16), nn.Linear(16, 10))
    low, middle, high = margins(normed, usual_logits, parts, list(normed.parameters()))[
        "degree"
    ]
    assert high - low > 0.1 * abs(middle)


def test_an_exact_ridge_optimum_is_identified():
    """−∇L = λw: the penalty is read off the last gradient to its rounding."""
    made = np.random.default_rng(0)
    X = torch.tensor(made.normal(size=(64, 5)))
    t = torch.tensor(made.normal(size=(64, 1)))
    ridge = 0.05
    A = X.T @ X / 64 + ridge * torch.eye(5, dtype=X.dtype)
    model = nn.Linear(5, 1, bias=False).double()
    model.weight.data = torch.linalg.solve(A, X.T @ t / 64).T.contiguous()
    half = lambda m, b: 0.5 * ((m(b[0]) - b[1]) ** 2).mean()
    rule = torch.optim.SGD(model.parameters(), lr=0.1, weight_decay=ridge)
    watch = pn.torch.watch(model, rule, loss=half, probe_batches=[(X, t)])
    watch.measure()
    says = watch.finish()
    value, error = says.recording.last("endpoint_ridge")
    assert value == pytest.approx(ridge, rel=1e-6)
    assert error < 1e-6
    assert any("ridge penalty of 0.05" in str(v) for v in says.verdicts)


def test_work_in_isolation_swaps_buffers_and_puts_them_back():
    model = nn.Sequential(nn.BatchNorm1d(4), nn.Dropout(0.5)).train()
    before = {k: (v, v.clone()) for k, v in model.named_buffers()}
    with isolated(model, "train", 3) as bare:
        first = bare(torch.ones(8, 4).cumsum(0))
        assert float(bare[0].num_batches_tracked) == 1
    with isolated(model, "train", 3) as bare:
        assert torch.equal(first, bare(torch.ones(8, 4).cumsum(0)))  # the same masks
    for name, buffer in model.named_buffers():
        own, old = before[name]
        assert buffer is own
        assert torch.equal(buffer, old)
    assert model.training


def test_lanczos_ends_where_its_residual_is_small():
    from penchant.integrations.torch._products import largest

    generator = torch.Generator().manual_seed(0)
    values = torch.linspace(0.0, 1.0, 200, dtype=torch.float64) ** 4
    start = torch.randn(200, generator=generator, dtype=torch.float64)
    product = lambda v: values * v
    few = largest(product, start, 2, 40)
    assert 2 < few.products < 40
    assert few.residual <= 0.05 * few.value
    # one product fewer would not have been enough
    assert largest(product, start, few.products - 1).residual > 0.05 * few.value
    assert largest(product, start, 3).products == 3
    again = largest(product, few.vector, 2, 40)
    assert again.products <= few.products
    assert few.value <= 1.0 + 1e-12
