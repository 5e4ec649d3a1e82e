"""The probe in the Trainer of transformers: a small GPT-2, text of the library."""

import inspect
import textwrap

import pytest

import penchant as pn
from tests.integrations.alike import assert_same, lines, plan  # noqa: F401

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytest.importorskip("accelerate")

from tests.integrations.torch.conftest import one_thread  # noqa: E402, F401

pytestmark = [
    pytest.mark.usefixtures("plan", "one_thread"),
    pytest.mark.filterwarnings("ignore"),
]  # of transformers' own settings

STEPS, CONTEXT = 24, 24
OPTIONS = {"probe_size": 16, "overhead": 10.0}


def text():
    """Rows of characters from the source of a module of the library."""
    codes = torch.tensor([min(ord(c), 127) for c in inspect.getsource(textwrap)])
    rows = codes[: 256 * CONTEXT].reshape(-1, CONTEXT)
    return [{"input_ids": row, "labels": row} for row in rows]


def gpt2(dropout=0.0):
    torch.manual_seed(0)
    size = {"vocab_size": 128, "n_positions": CONTEXT, "n_embd": 16}
    drop = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), dropout)
    config = transformers.GPT2Config(
        **size, **drop, n_layer=2, n_head=2, bos_token_id=0, eos_token_id=0
    )
    return transformers.GPT2LMHeadModel(config)


class InOrder(transformers.Trainer):
    """Examples as they come, so that a loop by hand sees the same ones."""

    def _get_train_sampler(self, train_dataset=None):
        return torch.utils.data.SequentialSampler(self.train_dataset)


class Failing(InOrder):
    def training_step(self, *args, **kwargs):
        if self.state.global_step >= 12:
            raise RuntimeError("out of text")
        return super().training_step(*args, **kwargs)


def trainer_of(model, folder, *callbacks, kind=InOrder, steps=STEPS, **settings):
    args = transformers.TrainingArguments(
        output_dir=str(folder),
        max_steps=steps,
        per_device_train_batch_size=8,
        learning_rate=1e-3,
        weight_decay=0.1,
        lr_scheduler_type="constant",
        max_grad_norm=0.5,
        use_cpu=True,
        report_to=[],
        disable_tqdm=True,
        seed=1,
        **{
            "optim": "adamw_torch",
            "save_strategy": "no",
            "logging_strategy": "no",
            **settings,
        },
    )
    return kind(model=model, args=args, train_dataset=text(), callbacks=list(callbacks))


def by_hand(folder, micro=1):
    model = gpt2()
    optimizer = trainer_of(model, folder).create_optimizer()
    loader = torch.utils.data.DataLoader(
        text(), batch_size=8, collate_fn=transformers.default_data_collator
    )
    model.train()
    watch = pn.torch.watch(
        model, optimizer, loss=lambda model, batch: model(**batch).loss,
        batches=loader, total_steps=STEPS, **OPTIONS,
    )  # fmt: skip
    batches = (batch for _ in range(STEPS) for batch in loader)
    for _ in range(STEPS):
        some = [next(batches) for _ in range(micro)]
        # the sum over the tokens of a step's batches, by their number: as the Trainer
        tokens = sum(batch["labels"].numel() for batch in some)
        for batch in some:
            model(**batch, num_items_in_batch=torch.tensor(tokens)).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        optimizer.step()
        optimizer.zero_grad()
    watch._leave(last=True)
    return lines(watch.recorder.recording())


@pytest.mark.sampled
@pytest.mark.parametrize("micro", [1, 2])
def test_it_records_what_a_loop_by_hand_records(tmp_path, micro):
    probe = pn.huggingface.Probe(**OPTIONS)
    trainer_of(gpt2(), tmp_path, probe, gradient_accumulation_steps=micro).train()
    found = lines(probe.says.recording)
    assert {"state", "curvature"} == {line["tier"] for line in found}
    assert len([line for line in found if "trace" in line and not line["group"]]) == 2
    assert_same(found, by_hand(tmp_path, micro))
    # decay is on matrices alone, and each group has its own
    told = {g["name"]: g["decay"] for g in probe.says.recording.run["groups"]}
    assert sorted(told.values()) == [0.0, 0.1]


@pytest.mark.slow
def test_weights_are_the_same_with_and_without_it(tmp_path):
    probed, plain = gpt2(0.1), gpt2(0.1)
    trainer_of(probed, tmp_path, pn.huggingface.Probe(**OPTIONS)).train()
    after = torch.get_rng_state()
    trainer_of(plain, tmp_path).train()
    assert all(
        map(torch.equal, probed.state_dict().values(), plain.state_dict().values())
    )
    assert torch.equal(after, torch.get_rng_state())


@pytest.mark.slow
@pytest.mark.parametrize("rule", ["adamw_torch", "sgd"])
def test_a_training_that_goes_on_counts_on(tmp_path, rule):
    folder = tmp_path / "probe"
    options = {**OPTIONS, "folder": folder, "readouts": ["state"]}
    saved = {"save_strategy": "steps", "save_steps": 20, "optim": rule}
    first = pn.huggingface.Probe(**options)
    trainer_of(gpt2(), tmp_path, first, steps=20, **saved).train()
    second = pn.huggingface.Probe(**options)
    trainer = trainer_of(gpt2(), tmp_path, second, steps=40, **saved)
    trainer.train(resume_from_checkpoint=str(tmp_path / "checkpoint-20"))
    seen = second.says.recording
    steps = [line["step"] for line in seen.records if line["tier"] == "state"]
    assert sorted(set(steps)) == [1, 2, 5, 10, 20, 40]
    (resumed,) = seen.happened("resumed")
    assert resumed["step"] == 20
    assert not list(seen.happened("gap"))


@pytest.mark.slow
def test_a_training_that_fails_is_finished_in_a_context(tmp_path):
    folder = tmp_path / "probe"
    with (
        pytest.raises(RuntimeError, match="out of text"),
        pn.huggingface.Probe(folder=folder, **OPTIONS) as probe,
    ):
        trainer_of(gpt2(), tmp_path, probe, kind=Failing).train()
    (event,) = probe.says.recording.happened("ended")
    assert "out of text" in event["why"]
    assert (folder / "report.html").is_file()
    # and without one the folder can be read all the same
    other = pn.huggingface.Probe(folder=tmp_path / "other", **OPTIONS)
    with pytest.raises(RuntimeError, match="out of text"):
        trainer_of(gpt2(), tmp_path, other, kind=Failing).train()
    assert pn.diagnosis.read_recording(tmp_path / "other").records
    other.end()


def test_a_loss_that_is_not_the_models_own_is_asked_for(tmp_path):
    trainer = trainer_of(
        gpt2(), tmp_path, pn.huggingface.Probe(), label_smoothing_factor=0.1
    )
    with pytest.raises(
        ValueError, match="loss must be given where the trainer smooths"
    ):
        trainer.train()
    with pytest.raises(TypeError, match="overheat"):
        pn.huggingface.Probe(overheat=1)
