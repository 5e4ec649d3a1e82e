"""Records in TensorBoard's own writer, read back from its files."""

import pytest

import penchant as pn

torch = pytest.importorskip("torch")
pytest.importorskip("tensorboard")

from tests.integrations.torch import cases  # noqa: E402
from tests.integrations.torch.conftest import one_thread  # noqa: E402, F401


@pytest.mark.filterwarnings("ignore")  # of protobuf
def test_its_files_have_what_was_recorded(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from torch.utils.tensorboard import SummaryWriter

    model, loader = cases.mlp(), cases.loader()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    with SummaryWriter(str(tmp_path)) as writer:
        watch = pn.torch.watch(
            model, optimizer, loss=cases.loss, batches=loader, total_steps=20,
            probe_size=64, overhead=10.0,
        ).to(writer)  # fmt: skip
        cases.train(model, optimizer, loader, 20)
        watch.note("train", 1.5)
        says = watch.finish()
    read = EventAccumulator(str(tmp_path)).Reload()
    names = read.Tags()["scalars"]
    assert {"probe/loss", "probe/trace", "probe/train"} <= {  # a short run has no edge
        *names
    }
    group = says.recording.groups[0]
    for name, place in (("gradient_rms", group), ("trace", None)):
        tag = f"probe/{name}" if place is None else f"probe/{place}/{name}"
        steps, values, _ = says.recording.series(name, place)
        seen = read.Scalars(tag)
        assert [s.step for s in seen] == steps.tolist()
        assert [s.value for s in seen] == pytest.approx(values, rel=1e-6)
