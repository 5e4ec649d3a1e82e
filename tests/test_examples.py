"""Examples run as they stand, from a folder of their own."""

import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

ROOT = Path(__file__).parents[1]
SCHEMA = json.loads((ROOT / "docs/assets/result.schema.json").read_text())


def test_a_strangers_rule_norm_and_problem_go_through_everything(tmp_path):
    folder = ROOT / "examples" / "strangers"
    told = subprocess.run(
        [sys.executable, "-W", "error", "run.py", str(tmp_path)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert told.returncode == 0, told.stderr
    assert "SteepestDescent picks the row sum margin" in told.stdout
    assert "KKT point of the ℓ2 margin: its limit has a residual of" in told.stdout
    for name in ("norm", "rule", "problem"):
        result = json.loads((tmp_path / name / "result.json").read_text())
        jsonschema.validate(result, SCHEMA)
        assert (tmp_path / name / "report.html").stat().st_size > 10_000
    for file in ("norm", "rule", "problem"):
        code = (folder / f"{file}.py").read_text().split("class ", 1)[1]
        assert code.count("\n") < 40  # about twenty lines each


EDGE = "the largest stable one|edge"
"""Of runs as short as these the edge is measured where the machine is quick enough."""


@pytest.mark.parametrize(
    ("file", "needs", "said"),
    [
        ("plain", "torch", "Weight decay is lost to rounding"),
        ("with_lightning", "pytorch_lightning", EDGE),
        ("with_trainer", "transformers", "transformer (2): in float16"),
        ("with_flax", "flax", EDGE),
        ("with_equinox", "equinox", EDGE),
    ],
)
def test_watched_runs_of_every_host_end_in_a_report(tmp_path, file, needs, said):
    pytest.importorskip("torch" if needs == "pytorch_lightning" else needs)
    pytest.importorskip(needs)
    told = subprocess.run(
        [sys.executable, f"{file}.py", str(tmp_path / "probe")],
        cwd=ROOT / "examples" / "watch",
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert told.returncode == 0, told.stderr
    assert any(part in told.stdout for part in said.split("|"))
    records = (tmp_path / "probe/records.jsonl").read_text().splitlines()
    tiers = {json.loads(line)["tier"] for line in records}
    assert tiers == {"state", "curvature"}
    assert (tmp_path / "probe/report.html").stat().st_size > 10_000
