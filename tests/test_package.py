import ast
import subprocess
import sys
from pathlib import Path

import pytest

import penchant as pn

SOURCE = Path(pn.__file__).parent
HEAVY = ("torch", "matplotlib", "cvxpy", "sklearn", "pandas", "optax", "xarray")

# a folder imports only from those before it
HOUSE = (
    "norms",
    "problems",
    "datasets",
    "margins",
    "optimizers",
    "training",
    "flows",
    "estimators",
    "theory",
    "plotting",
    "diagnosis",
    "studies",
    "cli",
)
ANYWHERE = {
    "_cite",
    "_checks",
    "_engine",
    "_moved",
    "_plain",
    "_pretty",
    "_trees",
    "_types",
}
OUTSIDE = {"penchant", "penchant._plain", "penchant.studies"}


def imports(path):
    """Modules of penchant that a file imports, at its top or in a function."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (
                a.name for a in node.names if a.name.split(".")[0] == "penchant"
            )
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute here"
            if node.module == "penchant":
                yield from (f"penchant.{a.name}" for a in node.names)
            elif (node.module or "").startswith("penchant."):
                yield node.module


def files(folder):
    return sorted((SOURCE / folder).rglob("*.py"))


def test_every_folder_has_its_place_in_the_house():
    folders = {p.parent.name for p in SOURCE.glob("*/__init__.py")}
    assert folders == set(HOUSE)


@pytest.mark.parametrize("folder", HOUSE[:-2])
def test_folders_import_from_those_above_them(folder):
    above = {*HOUSE[: HOUSE.index(folder) + 1], *ANYWHERE}
    found = [(p.name, module) for p in files(folder) for module in imports(p)]
    assert found
    for file, module in found:
        assert module.split(".")[1] in above, f"{folder}/{file} imports {module}"


@pytest.mark.parametrize("path", [*files("cli"), *files("studies")], ids=str)
def test_studies_and_the_command_line_are_users(path):
    for module in imports(path):
        own = module.startswith(("penchant.studies.", "penchant.cli."))
        assert module in OUTSIDE or own, f"{path.name} imports {module}"


def test_what_every_folder_may_use_uses_no_folder():
    for name in ANYWHERE - {"_cite"}:
        found = {module.split(".")[1] for module in imports(SOURCE / f"{name}.py")}
        assert found <= ANYWHERE


def test_import_is_light():
    code = f"""
import sys
import penchant
print([name for name in {HEAVY!r} if name in sys.modules])
penchant.norms.L2(), penchant.datasets.gaussian()
print([name for name in {HEAVY!r} if name in sys.modules])
"""
    told = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert told.returncode == 0, told.stderr
    assert told.stdout.split() == ["[]", "[]"]
    assert told.stderr == ""


def test_importing_turns_on_double_precision():
    code = "import penchant, jax.numpy as jnp; print(jnp.zeros(()).dtype)"
    told = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=300
    )
    assert told.stdout.strip() == "float64"


def test_fixed_names_of_the_face_are_there():
    for name in (
        "LinearClassification", "NetworkClassification", "NotSeparableError",
        "batching", "certify", "cite",
        "datasets", "diagnose", "limit", "losses", "max_margin", "norms", "optimizers",
        "plotting", "predict", "schedules", "sweep", "theory", "train",
    ):  # fmt: skip
        assert hasattr(pn, name)
