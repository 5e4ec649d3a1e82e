"""Ways in which loops differ: each is seen for what it is, or said not to be."""

import inspect
import textwrap
import warnings

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

import penchant as pn
from tests.integrations.torch.cases import digits, loader, loss, mlp, named, train


def with_scaler(fused, *, infinite=()):
    model = mlp()
    rule = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=fused)
    scaler = torch.amp.GradScaler("cpu", init_scale=65536.0)
    watch = pn.torch.watch(model, rule)
    batches = [b for _, b in zip(range(12), loader(), strict=False)]
    for i, batch in enumerate(batches):
        rule.zero_grad()
        scaler.scale(loss(model, batch)).backward()
        if i in infinite:
            model[0].weight.grad[0, 0] = torch.inf
        scaler.step(rule)
        scaler.update()
    return watch


def test_a_scaler_is_undone_also_where_the_step_does_it():
    plain, fused = with_scaler(False), with_scaler(True)
    a, b = (
        named(w.recorder.recording(), "gradient_rms", "all") for w in (plain, fused)
    )
    assert len(a) == len(b) == 4
    np.testing.assert_allclose(a, b, rtol=1e-5)
    assert max(a) < 1.0  # scaled they would be 65 536 times as large


@pytest.mark.parametrize("fused", [False, True])
def test_a_step_that_a_scaler_skips_is_in_no_record(fused):
    watch = with_scaler(fused, infinite={1, 4})
    seen = watch.recorder.recording()
    assert watch.now == 10
    assert watch.sides[0].counted() == 10
    assert np.isfinite(named(seen, "gradient_rms", "all")).all()
    assert [r["step"] for r in seen.records] == [1, 2, 5, 10]
    assert len(list(seen.happened("skipped"))) == (2 if fused else 0)


def test_clipped_gradients_are_seen_as_the_step_sees_them():
    model = mlp()
    rule = torch.optim.SGD(model.parameters(), lr=0.1)
    watch = pn.torch.watch(model, rule)
    value = loss(model, next(iter(loader())))
    value.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1e-3)
    rule.step()
    (rms,) = named(watch.recorder.recording(), "gradient_rms", "all")
    p = sum(p.numel() for p in model.parameters())
    assert rms == pytest.approx(1e-3 / np.sqrt(p), rel=1e-4)


class Attention(nn.Module):
    """A character model of one layer, with the fused kernel."""

    def __init__(self, letters, width=16, tied=False):
        super().__init__()
        self.embed = nn.Embedding(letters, width)
        self.mix = nn.Linear(width, 3 * width)
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, letters, bias=False)
        if tied:
            self.out.weight = self.embed.weight

    def forward(self, x):
        h = self.embed(x)
        q, k, v = self.mix(h).unsqueeze(1).chunk(3, dim=-1)
        h = h + nn.functional.scaled_dot_product_attention(
            q, k, v, is_causal=True
        ).squeeze(1)
        return self.out(self.norm(h))


def letters(n=64, length=12):
    code = [ord(c) % 64 for c in inspect.getsource(textwrap)[: n + length]]
    X = torch.tensor([code[i : i + length + 1] for i in range(n)])
    return X[:, :-1], X[:, 1:]


def of_letters(model, batch):
    x, y = batch
    return cross_entropy(model(x).flatten(0, 1), y.flatten())


@pytest.mark.parametrize("tied", [False, True])
def test_fused_attention_unused_rows_and_tied_weights(tied):
    """Half of the embeddings never occur: P leaves them out."""
    torch.manual_seed(0)
    X, y = letters()
    model = Attention(256, tied=tied)
    rule = torch.optim.AdamW(model.parameters(), lr=1e-3)
    parts = [(X[i::4], y[i::4]) for i in range(4)]
    watch = pn.torch.watch(
        model, rule, loss=of_letters, probe_batches=parts, overhead=10.0
    )
    train(model, rule, parts, 12, of=of_letters)
    says = watch.finish()
    assert not list(says.recording.happened("failed"))
    assert says.recording.last("largest")["upper"] > 0
    assert says.recording.last("root_trace")[0] > 0
    count = sum(p.numel() for p in model.parameters())
    assert says.recording.run["parameters"] == count
    if not tied:
        assert says.recording.last("dead", says.recording.groups[0])[0] > 0.2
    assert any("normalised margin is not defined" in str(v) for v in says.verdicts)


def test_autocast_within_the_loss_gives_the_curvature_of_single_precision():
    X, y = digits()
    parts = [(X[i:128:4], y[i:128:4]) for i in range(4)]

    def halved(model, batch):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = model(batch[0])
        return cross_entropy(logits.float(), batch[1])

    tops = []
    for of in (loss, halved):
        model = mlp()
        rule = torch.optim.SGD(model.parameters(), lr=0.1)
        watch = pn.torch.watch(
            model, rule, loss=of, probe_batches=parts, readouts=["edge"]
        )
        watch.measure()
        tops.append(watch.recorder.recording().last("largest")["upper"])
    assert tops[1] == pytest.approx(tops[0], rel=0.03)


def test_dictionaries_and_lists_are_batches():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = mlp()

        def forward(self, x, labels=None):
            return self.inner(x)

    X, y = digits()
    of = lambda m, b: cross_entropy(m(b["x"]), b["labels"])
    found = []
    for kind in ("dictionary", "list"):
        torch.manual_seed(0)
        model = Model()
        rule = torch.optim.SGD(model.parameters(), lr=0.1)
        cut = [(X[i:64:4], y[i:64:4]) for i in range(4)]
        if kind == "dictionary":
            parts = [{"x": a, "labels": b} for a, b in cut]
        else:
            parts = [[a, b] for a, b in cut]
        watch = pn.torch.watch(
            model,
            rule,
            loss=of if kind == "dictionary" else loss,
            probe_batches=parts,
        )
        watch.measure()
        seen = watch.recorder.recording()
        assert not list(seen.happened("failed"))
        found.append(seen.last("trace"))
    assert found[0] == found[1]


def test_frozen_weights_are_no_group_and_no_curvature():
    model = mlp()
    for p in model[0].parameters():
        p.requires_grad_(False)
    rule = torch.optim.SGD(model.parameters(), lr=0.1)
    batches = loader()
    watch = pn.torch.watch(model, rule, loss=loss, batches=batches, overhead=10.0)
    train(model, rule, batches, 12)
    says = watch.finish()
    assert says.table[0].parameters == sum(p.numel() for p in model[2].parameters())
    assert not list(says.recording.happened("failed"))


def test_several_optimizers_have_losses_of_their_own():
    made, judge = mlp(seed=1), mlp(seed=2)
    both = nn.ModuleDict({"made": made, "judge": judge})
    rules = [
        torch.optim.AdamW(made.parameters(), lr=1e-3),
        torch.optim.SGD(judge.parameters(), lr=0.1),
    ]
    losses = {
        rules[0]: lambda m, b: loss(m["made"], b),
        rules[1]: lambda m, b: 3.0 * loss(m["judge"], b),
    }
    batches = loader()
    watch = pn.torch.watch(both, rules, loss=losses, batches=batches, overhead=10.0)
    for rule in rules:
        train(both, rule, batches, 12, of=losses[rule])
    says = watch.finish()
    seen = says.recording
    assert seen.run["sides"] == ["0: AdamW", "1: SGD"]
    assert [row.name for row in says.table] == ["made", "judge"]
    assert seen.last("threshold", "1: SGD") == pytest.approx(20.0)
    assert seen.last("loss", "1: SGD")[0] > 2 * seen.last("loss", "0: AdamW")[0]
    with pytest.raises(ValueError, match="every optimizer"):
        pn.torch.watch(both, rules, loss={rules[0]: loss}, batches=batches)


def test_a_loss_that_is_not_of_the_logits_has_no_label_draws():
    model = mlp()
    rule = torch.optim.SGD(model.parameters(), lr=0.1)
    smooth = lambda m, b: cross_entropy(m(b[0]), b[1], label_smoothing=0.1)
    watch = pn.torch.watch(model, rule, loss=smooth, batches=loader())
    watch.measure()
    says = watch.reading()
    why = dict(says.not_measured)["tr G and tr Diag(G)^½"]
    assert "is not the cross-entropy of the logits" in why
    assert says.recording.last("largest") is not None


def test_accumulated_micro_batches_are_one_step():
    model = mlp()
    rule = torch.optim.SGD(model.parameters(), lr=0.1)
    watch = pn.torch.watch(model, rule)
    batches = list(loader())
    for pair in (batches[:2], batches[2:4]):
        rule.zero_grad()
        for batch in pair:
            (0.5 * loss(model, batch)).backward()
        rule.step()
    assert watch.now == 2


class Foreign:
    """An optimizer of another make: groups, a state, and no hooks."""

    def __init__(self, parameters):
        self.param_groups = [{"params": list(parameters), "lr": 0.1}]
        self.state = {}
        self.defaults = {}

    def step(self):
        for p in self.param_groups[0]["params"]:
            p.data.add_(p.grad, alpha=-0.1)


def test_an_optimizer_without_hooks_is_stepped_by_hand():
    model, batches = mlp(), list(loader())
    rule = Foreign(model.parameters())
    watch = pn.torch.watch(model, rule, loss=loss, batches=loader(), overhead=10.0)
    for batch in batches[:11]:
        model.zero_grad()
        loss(model, batch).backward()
        rule.step()
        watch.step()
    seen = watch.reading().recording
    assert watch.now == 11
    assert seen.last("root_trace") is not None


def test_tied_weights_in_two_optimizers_are_decayed_twice_and_said():
    torch.manual_seed(0)
    X, y = letters()
    model = Attention(64, tied=True)
    inner = [p for n, p in model.named_parameters() if n != "embed.weight"]
    rules = [
        torch.optim.AdamW([model.embed.weight], lr=1e-3, weight_decay=0.1),
        torch.optim.AdamW([*inner, model.out.weight], lr=1e-3, weight_decay=0.2),
    ]
    watch = pn.torch.watch(model, rules)
    for _ in range(12):
        for rule in rules:
            rule.zero_grad()
        of_letters(model, (X, y)).backward()
        for rule in rules:
            rule.step()
    worst = watch.finish().findings[0]
    assert worst.kind == "decay"
    assert "embed.weight is stepped by groups" in worst.headline
    assert "2 times, 0.1 and 0.2" in worst.headline


def test_tied_weights_in_one_group_are_stepped_once():
    model = Attention(64, tied=True)
    watch = pn.torch.watch(model, torch.optim.AdamW(model.parameters(), lr=1e-3))
    assert watch.recorder.recording().run["shared"] == []


def watched_classes(model, *rules, steps=34, X=None):
    X = (
        torch.randn(64, 8, generator=torch.Generator().manual_seed(3))
        if X is None
        else X
    )
    y = torch.arange(64) % 3
    loss = lambda m, b: torch.nn.functional.cross_entropy(m(b[0]), b[1])
    watch = pn.torch.watch(
        model,
        list(rules),
        loss=loss,
        batches=[(X, y)],
        total_steps=steps,
        overhead=10.0,
    )
    for _ in range(steps):
        for rule in rules:
            rule.zero_grad()
        loss(model, (X, y)).backward()
        for rule in rules:
            rule.step()
    return watch


def small():
    torch.manual_seed(1)
    layers = torch.nn.Linear(8, 16), torch.nn.Tanh(), torch.nn.Linear(16, 3)
    return torch.nn.Sequential(*layers)


def test_a_loss_that_rises_is_a_finding():
    model = small()
    rule = torch.optim.SGD(model.parameters(), lr=0.3, maximize=True)
    found = watched_classes(model, rule).finish().findings
    (rose,) = [f for f in found if f.kind == "diverged"]
    assert "rose from" in rose.headline
    model = small()
    rule = torch.optim.SGD(model.parameters(), lr=0.1)
    kinds = [f.kind for f in watched_classes(model, rule).finish().findings]
    assert "diverged" not in kinds


def test_weights_that_the_model_does_not_have_are_said():
    model = small()
    rule = torch.optim.AdamW(model.parameters(), lr=1e-3)
    model[2] = torch.nn.Linear(16, 3)  # after the optimizer was made
    found = [f for f in watched_classes(model, rule).finish().findings]
    (orphan,) = [f for f in found if f.kind == "orphan"]
    assert "2 tensors, group 0's of shape (3, 16) among them," in orphan.headline
    whole = small()
    rule = torch.optim.AdamW(whole.parameters(), lr=1e-3)
    assert not watched_classes(whole, rule).recorder.recording().run["orphans"]


def test_sparse_gradients_are_said_at_the_start_and_fail_nothing():
    torch.manual_seed(0)
    embed = torch.nn.Embedding(50, 8, sparse=True)
    model = torch.nn.Sequential(embed, torch.nn.Flatten(), torch.nn.Linear(32, 3))
    rows = torch.randint(0, 50, (64, 4))
    rules = (
        torch.optim.SparseAdam(embed.parameters()),
        torch.optim.AdamW(model[2].parameters()),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        watch = watched_classes(model, *rules, X=rows)
    says = watch.finish()
    assert "sparse" in says.recording.run["missing"]["sharpness"]
    assert says.recording.last("applied_decay", "2") is not None
