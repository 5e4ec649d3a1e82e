"""The probe in Lightning's Trainer: the same records as in a loop by hand."""

import json
import logging

import numpy as np
import pytest

import penchant as pn
from tests.integrations.alike import assert_same, lines, plan  # noqa: F401

torch = pytest.importorskip("torch")
lightning = pytest.importorskip("pytorch_lightning")

from torch import nn  # noqa: E402

from tests.integrations.torch import cases  # noqa: E402
from tests.integrations.torch.conftest import one_thread  # noqa: E402, F401

pytestmark = [
    pytest.mark.usefixtures("plan", "one_thread"),
    pytest.mark.filterwarnings("ignore"),
]  # Lightning's own, of its settings

STEPS = 24
OPTIONS = {"probe_size": 64, "overhead": 10.0}


@pytest.fixture(autouse=True)
def quiet():
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)


class Digits(lightning.LightningModule):
    """A classifier of the digits; after `fails` steps it raises."""

    def __init__(self, net, rule, fails=None):
        super().__init__()
        self.net, self.rule, self.fails = net, rule, fails

    def forward(self, x):
        return self.net(x)

    def training_step(self, batch, i):
        if self.fails is not None and self.global_step >= self.fails:
            raise RuntimeError("out of digits")
        return cases.loss(self, batch)

    def configure_optimizers(self):
        return self.rule(self.parameters())


def adamw(parameters):
    return torch.optim.AdamW(parameters, lr=1e-3, weight_decay=0.1)


def sgd(parameters):
    return torch.optim.SGD(parameters, lr=0.05, momentum=0.9)


def in_order():
    """Batches as they lie: how often a trainer asks for an order is its own."""
    return torch.utils.data.DataLoader(cases.loader().dataset, batch_size=32)


def net():
    return cases.mlp(extra=(nn.Dropout(0.1),))


def fit(module, steps, *callbacks, resume=None, **settings):
    torch.manual_seed(1)
    trainer = lightning.Trainer(
        max_steps=steps,
        accelerator="cpu",
        callbacks=list(callbacks),
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **settings,
    )
    trainer.fit(module, in_order(), ckpt_path=resume)
    return trainer


def by_hand(rule, *, folder=None, autocast=False, micro=1, clip=None):
    """The loop that Lightning runs."""
    model = Digits(net(), rule)
    optimizer, loader = rule(model.parameters()), in_order()
    half = torch.autocast("cpu", torch.bfloat16, enabled=autocast)

    def loss(model, batch):
        with half:
            return cases.loss(model, batch)

    torch.manual_seed(1)
    watch = pn.torch.watch(
        model, optimizer, loss=loss, batches=loader, total_steps=STEPS, folder=folder,
        **OPTIONS,
    )  # fmt: skip
    batches = cases.endless(loader)
    for _ in range(STEPS):
        optimizer.zero_grad()
        for _ in range(micro):
            (loss(model, next(batches)) / micro).backward()
        if clip is not None:
            nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimizer.step()
    watch._leave(last=True)
    return lines(watch.recorder.recording())


@pytest.mark.parametrize(
    ("rule", "settings", "loop"),
    [
        (adamw, {}, {}),
        (sgd, {"gradient_clip_val": 0.5}, {"clip": 0.5}),
        pytest.param(
            adamw,
            {"precision": "bf16-mixed", "accumulate_grad_batches": 2},
            {"autocast": True, "micro": 2},
            marks=pytest.mark.slow,
        ),
    ],
    ids=["plain", "clipped", "autocast and accumulation"],
)
def test_it_records_what_a_loop_by_hand_records(rule, settings, loop):
    probe = pn.lightning.Probe(loss=cases.loss, **OPTIONS)
    fit(Digits(net(), rule), STEPS, probe, **settings)
    found, wanted = lines(probe.says.recording), by_hand(rule, **loop)
    assert {"state", "curvature"} == {line["tier"] for line in found}
    assert (
        len([line for line in found if "largest_hessian" in line or "largest" in line])
        == 2
    )
    assert_same(found, wanted)
    # gradients are those of the step, though the backward pass is inside of it
    assert all(line["gradient_rms"] > 0 for line in found if "gradient_rms" in line)


def test_weights_are_the_same_with_and_without_it():
    probed, plain = Digits(net(), adamw), Digits(net(), adamw)
    fit(probed, STEPS, pn.lightning.Probe(loss=cases.loss, **OPTIONS))
    after = torch.get_rng_state()
    fit(plain, STEPS)
    assert all(
        map(torch.equal, probed.state_dict().values(), plain.state_dict().values())
    )
    assert torch.equal(after, torch.get_rng_state())


@pytest.mark.slow
@pytest.mark.parametrize("rule", [adamw, sgd])
def test_a_fit_that_goes_on_counts_on(tmp_path, rule):
    folder, kept = tmp_path / "probe", tmp_path / "kept.ckpt"
    first = pn.lightning.Probe(loss=cases.loss, folder=folder, **OPTIONS)
    fit(Digits(net(), rule), 20, first).save_checkpoint(kept)
    second = pn.lightning.Probe(loss=cases.loss, folder=folder, **OPTIONS)
    fit(Digits(net(), rule), 40, second, resume=kept)
    seen = second.says.recording
    steps = [line["step"] for line in seen.records if line["tier"] == "state"]
    assert steps == [1, 2, 5, 10, 20, 40]
    (resumed,) = seen.happened("resumed")
    assert resumed["step"] == 20
    assert not list(seen.happened("gap"))


@pytest.mark.slow
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_fit_that_fails_is_finished(tmp_path, error):
    module = Digits(net(), adamw, fails=12)
    probe = pn.lightning.Probe(loss=cases.loss, folder=tmp_path, **OPTIONS)
    if error is KeyboardInterrupt:  # Lightning ends the process by itself then
        module.training_step = lambda *_: (_ for _ in ()).throw(error)
    with pytest.raises((RuntimeError, SystemExit, KeyboardInterrupt)):
        fit(module, STEPS, probe)
    (event,) = probe.says.recording.happened("ended")
    assert error.__name__ in event["why"]
    assert (tmp_path / "report.html").is_file()
    assert probe.watch is None
    assert "last_step" in json.loads((tmp_path / "run.json").read_text())


def test_without_a_loss_the_state_is_read_and_the_rest_said_to_be_missing():
    probe = pn.lightning.Probe()
    fit(Digits(net(), adamw), 5, probe)
    assert {line["tier"] for line in probe.says.recording.records} == {"state"}
    assert "no loss was given" in str(probe.says)


def test_what_is_wrong_is_said_before_the_fit():
    with pytest.raises(TypeError, match="overheat"):
        pn.lightning.Probe(overheat=1)
    with pytest.raises(TypeError, match="writer must have add_scalar"):
        pn.lightning.Probe(writer=np.zeros(3))
