"""What is written, read and said; and that nothing of it can end a training."""

import json
import time
import warnings

import numpy as np
import pytest
import torch
from torch import nn
from typer.testing import CliRunner

import penchant as pn
from penchant.cli import app
from tests.integrations.torch.cases import flat, loader, loss, mlp, named, train


def watched(folder=None, *, steps=65, rule=None, at=(), **options):
    model = mlp()
    make = rule or (lambda p: torch.optim.AdamW(p, lr=1e-3, weight_decay=0.1))
    optimizer = make(model.parameters())
    batches = loader()
    usual = {"loss": loss, "batches": batches, "overhead": 10.0, "state_every": 20}
    options = usual | options
    watch = pn.torch.watch(model, optimizer, folder=folder, **options)
    if at:  # curvature there, whatever it costs on this machine
        watch.plan.steps = watch.plan.edge = at
        watch.plan.made = True
    train(model, optimizer, batches, steps)
    return watch, model


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("probe")
    watch, _ = watched(folder, at=(10, 30, 65))
    watch.note("mine", 3.0)
    return folder, watch.finish()


def test_a_folder_has_all_that_a_reading_needs(made):
    folder, says = made
    names = {path.name for path in folder.iterdir()}
    assert names >= {
        "run.json", "records.jsonl", "events.jsonl", "report.html", "result.json",
        "reading.zarr",
    }  # fmt: skip
    run = json.loads((folder / "run.json").read_text())
    (group,) = run["groups"]
    assert (group["known"], group["weights"], group["state"]) == (
        "AdamW", "float32", "float32",
    )  # fmt: skip
    assert run["last_step"] == 65
    assert len(run["probe_hash"]) == 16
    states = [r["step"] for r in says.recording.records if r["tier"] == "state"]
    assert states == [1, 2, 5, 10, 20, 40, 60]
    curved = {r["step"] for r in says.recording.records if "root_trace" in r}
    assert curved == {10, 30, 65}
    assert named(says.recording, "mine") == [3.0]


def test_the_records_have_their_names(made):
    _, says = made
    seen = says.recording
    group = seen.groups[0]
    for name in ("applied_decay", "swallowed", "throttled", "signal", "kept_decay"):
        assert seen.late(name, group) is not None, name
    for name in ("trace", "root_trace", "batch_sharpness", "loss"):
        value, error = seen.last(name)
        assert value > 0
        assert error > 0
    largest = seen.last("largest")
    assert 0 < largest["lower"] < largest["upper"]
    assert seen.last("threshold") == pytest.approx(
        1.9 * (2 - 1e-4) / (1e-3 * 0.1), rel=1e-9
    )
    for lag, first in ((1, 10), (3, 10), (10, 10), (30, 30)):
        # a probe takes the place of the one before, whose longest lag is yet to come
        assert seen.series(f"stale_{lag}")[0].tolist()[0] == first


def test_a_reading_from_the_folder_is_the_same(made):
    folder, says = made
    again = pn.diagnosis.reading(folder)
    assert again.to_dict() == says.to_dict()
    assert repr(again) == repr(says)
    saved = json.loads((folder / "result.json").read_text())
    assert saved["kind"] == "probe"
    assert {"headline", "warnings", "verdicts", "table", "not_measured"} <= set(saved)
    (row,) = says.table
    assert row.applied_decay == pytest.approx(0.1, rel=1e-3)


def test_the_store_has_every_number(made):
    import xarray

    folder, says = made
    with xarray.open_zarr(folder / "reading.zarr", consolidated=False) as stored:
        group = stored.attrs["groups"].index("")
        steps, values, errors = says.recording.series("root_trace")
        at = stored["root_trace"].sel(step=steps).values[group]
        np.testing.assert_array_equal(at, values)
        found = stored["root_trace_error"].sel(step=steps).values[group]
        np.testing.assert_array_equal(found, errors)


def test_the_page_needs_nothing_else_and_says_what_is_missing(made):
    folder, _ = made
    page = (folder / "report.html").read_text()
    assert "<script" not in page
    assert "http" not in page.replace("http://www.w3.org", "")
    for part in ("findings", "groups", "verdicts", "panels", "missing", "provenance"):
        assert f'id="{part}"' in page
    alone, _ = watched(loss=None, batches=None, steps=5)
    page = alone.finish().page()
    assert "no loss was given" in page


def test_the_command_reads_a_folder_and_compares_two(made, tmp_path):
    folder, says = made
    (folder / "report.html").unlink()
    told = CliRunner().invoke(app, ["probe", str(folder)])
    assert told.exit_code == 0
    assert (folder / "report.html").exists()
    assert says.headline.split(":")[0] in told.stdout.replace("\n", " ")
    other = tmp_path / "b"
    watch, _ = watched(
        other,
        rule=lambda p: torch.optim.AdamW(p, lr=1e-5, weight_decay=1e-3),
        steps=12,
        loss=None,
    )
    watch.recorder.close()  # as a run that was killed leaves it
    told = CliRunner().invoke(app, ["probe", str(folder), str(other), "--json"])
    found = {
        one["what"]: (one["first"], one["second"]) for one in json.loads(told.stdout)
    }
    assert found["all: step size"] == ("0.001", "1e-05")
    assert found["finding: decay"] == ("no", "yes")
    assert not pn.diagnosis.differences(says, says)
    told = CliRunner().invoke(app, ["probe", str(tmp_path / "nothing")])
    assert told.exit_code == 2
    assert "run.json" in told.stderr


def test_a_small_step_size_has_no_decay(tmp_path):
    """ηλ = 1e-8 is none in float32, and the reading says so first."""
    watch, _ = watched(
        rule=lambda p: torch.optim.AdamW(p, lr=1e-5, weight_decay=1e-3), loss=None
    )
    says = watch.finish()
    (worst, *_) = says.warnings
    assert worst.kind == "decay"
    assert worst.number.value == 0.0
    assert "decay" in str(worst)
    (row,) = says.table
    assert abs(row.applied_decay) < 1e-4


def test_half_precision_weights_and_moments_are_found():
    torch.manual_seed(0)
    model = mlp(dtype=torch.bfloat16)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.1)
    batches = [(x.bfloat16(), y) for x, y in loader()]
    watch = pn.torch.watch(model, optimizer, loss=loss, batches=batches)
    train(model, optimizer, batches, 45)
    says = watch.finish()
    told = " ".join(map(str, says.warnings))
    for words in ("decay", "swallowed", "second moment"):
        assert words in told
    swallowed = says.recording.late("swallowed", says.recording.groups[0])
    unmoved = says.recording.late("unmoved", says.recording.groups[0])
    # of the same weights: those that memory moves too
    assert swallowed.value == pytest.approx(unmoved.value, abs=0.02)
    assert any("bfloat16" in why for _, why in says.not_measured)


def test_eps_that_throttles_is_found():
    watch, _ = watched(rule=lambda p: torch.optim.Adam(p, lr=1e-3, eps=1.0), loss=None)
    says = watch.finish()
    assert says.warnings[0].kind == "eps"
    assert says.warnings[0].number.value > 0.9


def test_a_change_in_the_run_is_an_event():
    model = mlp()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.1)
    watch = pn.torch.watch(model, optimizer)
    batches = loader()
    train(model, optimizer, batches, 25)
    optimizer.param_groups[0]["weight_decay"] = 0.2
    optimizer.param_groups[0]["lr"] = 5e-4  # what every schedule does
    train(model, optimizer, batches, 25)
    says = watch.finish()
    (change,) = says.recording.happened("changed")
    assert (change["what"], change["before"], change["now"]) == ("decay", 0.1, 0.2)
    assert "changed" in {str(w.kind) for w in says.warnings}


def test_a_group_is_a_row_named_by_what_it_shares():
    model = nn.ModuleDict({"body": mlp(), "head": nn.Linear(10, 10)})
    groups = [
        {"params": model["body"].parameters()},
        {"params": model["head"].parameters(), "weight_decay": 0.0, "lr": 1e-2},
    ]
    optimizer = torch.optim.AdamW(groups, lr=1e-3, weight_decay=0.1)
    of = lambda m, b: loss(nn.Sequential(m["body"], m["head"]), b)
    batches = loader()
    watch = pn.torch.watch(model, optimizer, loss=of, batches=batches, overhead=10.0)
    train(model, optimizer, batches, 12, of=of)
    says = watch.finish()
    assert [row.name for row in says.table] == ["body", "head"]
    assert says.table[1].applied_decay == pytest.approx(0.0, abs=1e-3)
    assert not list(says.recording.happened("failed"))


def test_what_fails_is_switched_off_and_training_goes_on(monkeypatch):
    from penchant.integrations.torch import _curvature, _state

    def broken(*_, **__):
        raise RuntimeError("no more")

    _, clean = watched(loss=None, batches=None)
    monkeypatch.setattr(_curvature.Curvature, "edge", broken)
    monkeypatch.setattr(_state.Side, "records", broken)
    with pytest.warns(pn.torch.ProbeWarning) as told:
        watch, model = watched()
    assert len(told) == 2  # one a read-out, however often it would have failed
    assert np.array_equal(flat(model), flat(clean))
    says = watch.finish()
    events = {e["what"]: e for e in says.recording.happened("failed")}
    assert set(events) == {"edge", "state"}
    assert "no more" in events["edge"]["traceback"]
    assert any("no more" in why for _, why in says.not_measured)
    assert says.recording.last("root_trace") is not None
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a warning must not end a training either
        watched()


def test_an_exception_of_the_run_is_raised_and_its_report_written(tmp_path):
    model = mlp()
    optimizer = torch.optim.AdamW(model.parameters())
    batches = loader()
    watch = pn.torch.watch(model, optimizer, folder=tmp_path)

    def loop():
        with watch:
            train(model, optimizer, batches, 11)
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        loop()
    assert (tmp_path / "report.html").exists()
    (ended,) = watch.finish().recording.happened("ended")
    assert "mine" in ended["why"]
    # hooks have gone
    train(model, optimizer, batches, 11)
    assert watch.now == 11


def test_a_torn_line_is_left_out_and_a_run_goes_on(tmp_path):
    watch, model = watched(tmp_path, steps=12)
    hash_, plan = watch.recorder.run["probe_hash"], watch.plan
    watch.recorder.close()  # as if it had been killed
    with (tmp_path / "records.jsonl").open("a") as file:
        file.write('{"step": 12, "gro')
    assert pn.diagnosis.read_recording(tmp_path).torn == 1
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for p in model.parameters():
        zeros = torch.zeros_like(p)
        optimizer.state[p] = {
            "step": torch.tensor(12.0), "exp_avg": zeros, "exp_avg_sq": zeros.clone(),
        }  # fmt: skip
    for hooks in watch._hooks:
        hooks.remove()
    again = pn.torch.watch(
        model, optimizer, loss=loss, batches=loader(), folder=tmp_path, overhead=10.0
    )
    assert again.now == 12
    assert again.plan.steps[:6] == plan.steps[:6]
    train(model, optimizer, loader(), 10)
    says = again.reading()
    again.recorder.close()
    assert list(says.recording.happened("resumed"))
    assert says.recording.run["probe_hash"] == hash_
    steps = says.recording.series("lr", says.recording.groups[0])[0]
    assert steps.tolist() == [1, 2, 5, 10, 20]


def test_of_a_step_written_twice_the_last_counts():
    lines = [
        {"step": 1, "group": None, "x": 1.0},
        {"step": 2, "group": None, "x": 2.0},
        {"step": 1, "group": None, "x": [3.0, 0.5]},
    ]
    steps, values, errors = pn.diagnosis.Recording({}, lines, []).series("x")
    assert steps.tolist() == [1, 2]
    assert values.tolist() == [3.0, 2.0]
    assert errors[0] == 0.5


def test_a_plan_is_said_before_the_first_step_and_its_costs_after_the_first_probe():
    model, batches = mlp(), loader()
    rule = torch.optim.AdamW(model.parameters())
    watch = pn.torch.watch(
        model, rule, loss=loss, batches=batches, total_steps=40, overhead=10.0
    )
    (said,) = watch.recorder.events
    assert (said["event"], said["step"]) == ("planned", 0)
    assert "10, 30, 40 steps on 128 to 512 examples" in said["how"]
    assert watch.recorder.run["plan"]["made"] is False
    train(model, rule, batches, 40)
    told = [e for e in watch.recorder.events if "share" in e]
    assert [e["step"] for e in told] == [10]
    plan = watch.recorder.run["plan"]
    assert plan["made"]
    assert plan["share"] == pytest.approx(told[0]["share"])
    assert plan["state_every"] >= 20
    seen = watch.recorder.recording()
    curved = sorted({r["step"] for r in seen.records if "loss" in r})
    assert curved == plan["steps"]


def test_a_short_run_has_its_start_middle_and_end_and_is_told_what_they_cost():
    model, batches = mlp(), loader()
    rule = torch.optim.AdamW(model.parameters())
    watch = pn.torch.watch(
        model, rule, loss=loss, batches=batches, total_steps=100, overhead=0.001
    )
    train(model, rule, batches, 100)
    seen = watch.finish().recording
    assert seen.run["probe_examples"] == 64  # two of the run's batches
    steps = sorted({r["step"] for r in seen.records if "loss" in r})
    assert len(steps) == 3
    assert (steps[0], steps[-1]) == (10, 100)
    (told,) = [e for e in seen.happened("planned") if "share" in e]
    assert "the run is short for what a probe costs" in told["how"]
    assert told["share"] > 0.001
    assert f"about {100 * told['share']:.0f} % of its time" in told["how"]
    assert seen.last("largest") is None
    assert "the run is short for it" in str(
        dict(pn.diagnosis.reading(seen).not_measured)
    )


def test_looks_are_rarer_where_they_are_dear(monkeypatch):
    from penchant.integrations.torch import _state

    real = _state.Side.records

    def slow(side):
        begun = time.perf_counter()
        while time.perf_counter() < begun + 0.05:
            pass
        return real(side)

    monkeypatch.setattr(_state.Side, "records", slow)
    model, batches = mlp(), loader()
    rule = torch.optim.AdamW(model.parameters())
    watch = pn.torch.watch(model, rule)
    train(model, rule, batches, 85)
    assert watch.plan.every > 80
    assert watch.recorder.run["plan"]["state_every"] == watch.plan.every
    steps = [r["step"] for r in watch.recorder.records]
    assert steps == [1, 2, 5, 10, 20, 40, 80]
    assert any("a look takes" in e["how"] for e in watch.recorder.events)


def test_a_list_of_batches_is_cut_and_given_ones_are_not():
    model, X = mlp(), list(loader(batch=64))
    rule = torch.optim.AdamW(model.parameters())
    watch = pn.torch.watch(model, rule, loss=loss, batches=X)
    probe = watch.curvatures[0].probe
    assert [len(y) for _, y in probe.parts] == [16] * 8
    assert [len(y) for _, y in probe.training] == [64] * 6
    assert torch.equal(probe.parts[3][0], X[3][0][:16])
    grown = probe.grow(512)
    assert [len(y) for _, y in grown.parts] == [64] * 8
    watch = pn.torch.watch(model, rule, loss=loss, probe_batches=X)
    assert watch.curvatures[0].probe.examples == 512
    # what is no row an example stays whole
    masked = [{"x": (x, y), "z": torch.ones(3, 3)} for x, y in X]
    of = lambda m, b: loss(m, b["x"])
    watch = pn.torch.watch(model, rule, loss=of, batches=masked)
    assert watch.curvatures[0].probe.examples == 512


def test_two_processes_do_not_write_one_folder(tmp_path):
    first, _ = watched(tmp_path, steps=2)
    with pytest.raises(ValueError, match="in use"):
        watched(tmp_path, steps=1)
    first.recorder.close()


class Scalars:
    def __init__(self):
        self.seen = []

    def add_scalar(self, name, x, step):
        self.seen.append((name, x, step))


class Logs:
    def log(self, numbers, step):
        raise OSError("full")


def test_loggers_get_every_number_and_may_fail():
    model, batches, writer = mlp(), loader(), Scalars()
    optimizer = torch.optim.AdamW(model.parameters())
    watch = pn.torch.watch(model, optimizer).to(writer).to(Logs())
    with pytest.warns(pn.torch.ProbeWarning, match="full"):
        train(model, optimizer, batches, 2)
    assert ("probe/all/lr", 0.001, 1) in writer.seen
    with pytest.raises(TypeError, match="add_scalar"):
        watch.to(object())


def test_snapshots_are_the_weights(tmp_path):
    watch, model = watched(tmp_path, steps=20, snapshots=5, loss=None)
    with np.load(tmp_path / "snapshots" / "20.npz") as stored:
        for name, p in model.named_parameters():
            np.testing.assert_array_equal(stored[name], p.detach().numpy())
    watch.recorder.close()


BAD = {
    "closure": (dict(rule=lambda p: torch.optim.LBFGS(p)), "closure"),
    "overhead": (dict(overhead=0.0), "overhead must be"),
    "readouts": (dict(readouts=["all"]), "readouts must be of state"),
    "mode": (dict(mode="test"), "'eval' or 'train'"),
    "probe size": (dict(probe_size=0), "probe_size must be at least 1"),
    "snapshots": (dict(snapshots=3), "snapshots need a folder"),
    "loss": (dict(loss=lambda m, b: m(b[0])), "one number"),
    "batches": (dict(batches=[]), "at least one batch"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused_at_the_door(name):
    options, words = BAD[name]
    with pytest.raises(ValueError, match=words):
        watched(steps=0, **options)


def test_things_of_another_kind_are_refused():
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(TypeError, match="model"):
        pn.torch.watch(loss, optimizer)
    with pytest.raises(TypeError, match="optimizer"):
        pn.torch.watch(model, model)
    with pytest.raises(TypeError, match="loss"):
        pn.torch.watch(model, optimizer, loss=3, batches=loader())
    with pytest.raises(TypeError, match="batches"):
        pn.torch.watch(model, optimizer, loss=loss, batches=3)

    class Stream(torch.utils.data.IterableDataset):
        def __iter__(self):
            yield torch.zeros(64), 0

    stream = torch.utils.data.DataLoader(Stream())
    with pytest.raises(TypeError, match="probe_batches"):
        pn.torch.watch(model, optimizer, loss=loss, batches=stream)
