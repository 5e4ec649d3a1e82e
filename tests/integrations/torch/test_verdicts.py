"""Verdicts on models and runs whose answer is known, or is that there is none."""

import numpy as np
import pytest
import torch
from torch import nn

import penchant as pn
from penchant.diagnosis.probe._growth import margin_growth
from penchant.diagnosis.probe._recording import Recording
from penchant.integrations._numbers import intervention_of
from tests.integrations.torch.cases import digits, loss, train
from tests.integrations.torch.test_failure_modes import letters, of_letters


class CNN(nn.Module):
    """Two convolutions and two layers: of degree 4, but for its biases."""

    def __init__(self):
        super().__init__()
        self.inside = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(8, 16, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(64, 32),
            nn.ReLU(),
            nn.Linear(32, 10),
        )

    def forward(self, x):
        return self.inside(x.reshape(-1, 1, 8, 8))


class Letters(nn.Module):
    """A block of attention with LayerNorm and dropout, of characters."""

    def __init__(self, tokens, dropout):
        super().__init__()
        self.embed = nn.Embedding(tokens, 32)
        self.block = nn.TransformerEncoderLayer(
            32, 4, 64, dropout=dropout, batch_first=True, norm_first=True
        )
        self.out = nn.Linear(32, tokens)

    def forward(self, x):
        mask = nn.Transformer.generate_square_subsequent_mask(x.shape[1])
        return self.out(self.block(self.embed(x), src_mask=mask, is_causal=True))


def transformer(dropout, steps):
    torch.manual_seed(0)
    X, y = letters(256)
    model = Letters(int(max(X.max(), y.max())) + 1, dropout)
    rule = torch.optim.AdamW(model.parameters(), lr=1e-3)
    parts = [(X[i::8], y[i::8]) for i in range(8)]
    train(model, rule, parts, steps, of=of_letters)
    return model, rule, parts


def looked(model, rule, of, parts, readouts):
    watch = pn.torch.watch(model, rule, loss=of, probe_batches=parts, readouts=readouts)
    watch.measure()
    return watch.reading()


@pytest.fixture(scope="module")
def convolutions():
    torch.manual_seed(0)
    torch.set_num_threads(1)
    X, y = digits()
    model = CNN()
    rule = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-3)
    order = torch.randperm(1500, generator=torch.Generator().manual_seed(0))
    train(model, rule, [(X[i], y[i]) for i in order.split(64)], 400)
    parts = [(X[i : i + 64], y[i : i + 64]) for i in range(0, 512, 64)]
    return looked(model, rule, loss, parts, ["memory", "margins"])


def test_the_decay_of_a_real_run_is_not_read_off_its_last_gradient(convolutions):
    said = [str(v) for v in convolutions.verdicts if v.readout == "decay"]
    assert any("not identifiable" in text for text in said)
    assert convolutions.recording.last("gap") > 0.5


def test_the_degree_of_convolutions_is_their_depth(convolutions):
    low, middle, high = convolutions.recording.last("degree")
    assert middle == pytest.approx(4.0, abs=0.25)
    assert 3.0 < low <= middle <= high < 4.6


def test_what_dropout_adds_is_not_a_ridge():
    """Of a transformer: it is a smaller gradient; LayerNorm has no normal margin."""
    model, rule, parts = transformer(0.2, 150)
    says = looked(model, rule, of_letters, parts, ["margins", "intervention"])
    seen, text = says.recording, str(says)
    assert seen.last("intervention_resolved") > 0.5
    share, error = seen.last("intervention_ridge_share")
    assert share + 3 * error < 0.1
    assert seen.last("intervention_gradient")[0] < 0
    assert "not ridge" in text
    assert "A normalised margin is not defined for this model" in text
    low, middle, high = seen.last("degree")
    assert high - low > 0.1 * abs(middle)


def test_a_model_without_masks_says_so():
    X, y = digits()
    model = nn.Linear(64, 10)
    rule = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.warns(pn.torch.ProbeWarning, match="no masks"):
        says = looked(model, rule, loss, [(X[:64], y[:64])], ["intervention"])
    assert says.recording.last("intervention_ridge") is None


def test_an_intervention_that_is_a_ridge_is_one():
    """Blocks of λθ and noise: share 1 and λ, within their errors, 20 times over."""
    made, held = np.random.default_rng(0), []
    for _ in range(20):
        theta, g = made.normal(size=(2, 400))
        blocks = 0.3 * theta + 0.6 * made.normal(size=(8, 400))
        rows = np.vstack([blocks, theta, g])
        found = intervention_of(rows @ rows.T)
        c, e = found["intervention_ridge"]
        share, wide = found["intervention_ridge_share"]
        held.append((abs(c - 0.3) < 2.4 * e, abs(share - 1.0) < 2.4 * wide))
        assert found["intervention_gradient_share"][0] < 0.2
    assert np.mean(held, axis=0).min() >= 0.8


def records(rows):
    """A recording of margins, norms and losses, by step."""
    names = ("loss", "margin_least", "norm_l2", "norm_linf", "norm_spectral")
    lines = []
    for step, row in rows:
        told = dict(zip(names, row, strict=True))
        told["loss"] = [told["loss"], 0.0]
        lines.append({
            "step": step, "tier": "curvature", "group": None, "misclassified": 0.0,
            "degree": [2.0, 2.0, 2.0], **told,
        })  # fmt: skip
    return Recording({"sides": [None]}, lines, [], 0)


def growing(noise, seed=0):
    """Log loss t; ℓ∞ grows slowest, so that its margin grows fastest."""
    draws = np.random.default_rng(seed)
    rows = []
    for step in range(100, 301, 20):
        t = step / 30.0
        wobble = 1.0 + noise * draws.normal(size=4)
        rows.append((
            step,
            (np.exp(-t), t**2 * wobble[0], t**0.9 * wobble[1], t**0.6 * wobble[2],
             t * wobble[3]),
        ))  # fmt: skip
    return records(rows)


def test_the_norm_whose_margin_grows_wins_only_ahead_of_its_error():
    found = margin_growth(growing(1e-4), None, 2.0)
    assert found.winner == "ℓ∞"
    assert [name for name, _ in found.each] == ["ℓ∞", "ℓ2", "spectral"]
    assert margin_growth(growing(0.2), None, 2.0).winner is None
    assert margin_growth(records([]), None, 2.0) is None
    wins = [margin_growth(growing(0.3, seed), None, 2.0).winner for seed in range(40)]
    assert sum(w is not None for w in wins) <= 8  # chance names nobody often
    said = " ".join(map(str, pn.diagnosis.probe._verdicts.verdicts(growing(1e-4))))
    assert "Which norm's margin grows" in said
    assert "that in ℓ∞" in said
