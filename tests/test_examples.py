"""Examples run as they stand, from a folder of their own."""

import json
import subprocess
import sys
from pathlib import Path

import jsonschema

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
