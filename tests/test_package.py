"""The house: which folder may use which, what is public, and how light it is."""

import ast
import functools
import subprocess
import sys
from pathlib import Path

import pytest

import penchant as pn

SOURCE = Path(pn.__file__).parent
HEAVY = ("torch", "matplotlib", "cvxpy", "sklearn", "pandas", "optax", "xarray")
STATISTICS = ("scipy.stats", "pandas", "sklearn")
"""Only what a call needs of them is imported, by the call."""

# a folder imports only from those before it; docs/design.md says what each is for
HOUSE = (
    "norms",
    "plotting",
    "pages",
    "problems",
    "datasets",
    "margins",
    "optimizers",
    "training",
    "measures",
    "flows",
    "estimators",
    "theory",
    "audits",
    "diagnosis",
    "explorer",
    "studies",
    "integrations",
    "cli",
)
USERS = ("studies", "cli")
"""Folders that see of the others what a user sees."""

ALONE = ("integrations",)
"""Folders that no other imports."""

ANYWHERE = {path.stem for path in SOURCE.glob("_*.py")} - {"__init__"}
"""Private modules at the top: tools that know of no folder."""

OUTSIDE = {
    "penchant._engine",
    *("penchant", "penchant._files", "penchant._plain", "penchant._visible"),
    "penchant.studies",
}
EXEMPT = {"_cite", "_moved"}
"""Those that look names up when they are called."""


def files(folder):
    return sorted((SOURCE / folder).rglob("*.py"))


def module_of(path):
    parts = path.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in sorted(SOURCE.rglob("*.py"))}


def statements(tree, *, deferred):
    """Import statements at the top of a module; `deferred`: those in functions too."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            yield node
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            if deferred:
                yield from statements(node, deferred=deferred)
        elif not (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)):
            yield from statements(node, deferred=deferred)


@functools.cache
def imports(path, deferred=True):
    """Modules of penchant that a file imports."""
    found = []
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in statements(tree, deferred=deferred):
        if isinstance(node, ast.Import):
            found += [a.name for a in node.names if a.name.split(".")[0] == "penchant"]
            continue
        assert node.level == 0, f"{path}: imports are absolute here"
        if (node.module or "").split(".")[0] == "penchant":
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.append(inner if inner in MODULES else node.module)
    return tuple(found)


def folder_of(module):
    return module.split(".")[1] if "." in module else ""


def there():
    return [folder for folder in HOUSE if (SOURCE / folder).is_dir()]


def test_every_folder_has_its_place_in_the_house():
    folders = {p.parent.name for p in SOURCE.glob("*/__init__.py")}
    assert folders <= set(HOUSE)


@pytest.mark.parametrize("folder", [f for f in there() if f not in USERS])
def test_folders_import_from_those_above_them(folder):
    above = {*HOUSE[: HOUSE.index(folder) + 1], *ANYWHERE} - {*ALONE} | {folder}
    found = [(p.name, module) for p in files(folder) for module in imports(p)]
    wrong = [f"{file}: {m}" for file, m in found if folder_of(m) not in {*above, ""}]
    assert not wrong


def test_no_folder_imports_another_ones_private_modules():
    wrong = []
    for module, path in MODULES.items():
        for seen in imports(path):
            parts = seen.split(".")[1:]
            private = any(part.startswith("_") for part in parts[1:])
            if private and parts[0] != folder_of(module):
                wrong.append(f"{module} imports {seen}")
    assert not wrong


def test_imports_run_in_no_circle():
    """No module needs itself to be imported, not even by way of its own folder."""
    graph = {
        module: {seen for seen in imports(path) if seen in MODULES}
        for module, path in MODULES.items()
    }
    # a package's own `from penchant.x import submodule` is no circle
    finished, trail = set(), []

    def visit(module):
        assert module not in trail, (
            f"a circle: {[*trail[trail.index(module) :], module]}"
        )
        if module in finished:
            return
        trail.append(module)
        for seen in sorted(graph[module] - {module}):
            visit(seen)
        trail.pop()
        finished.add(module)

    for module in graph:
        visit(module)


@pytest.mark.parametrize(
    "path", [p for f in USERS for p in files(f)], ids=lambda p: module_of(p)
)
def test_studies_and_the_command_line_are_users(path):
    for module in imports(path):
        own = folder_of(module) in USERS
        assert module in OUTSIDE or own, f"{path.name} imports {module}"


@pytest.mark.parametrize("name", sorted(ANYWHERE - EXEMPT))
def test_what_every_folder_may_use_uses_no_folder(name):
    found = {folder_of(module) for module in imports(SOURCE / f"{name}.py")}
    assert found <= ANYWHERE


RULES = ("optimizer", "rule")


def test_no_one_asks_a_rule_for_its_class():
    """What a rule is, its `Character` says; only rules know rules."""
    wrong = []
    for module, path in MODULES.items():
        if folder_of(module) == "optimizers":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)):
                continue
            if node.func.id != "isinstance":
                continue
            asked, kinds = (ast.unparse(part) for part in node.args)
            named = asked.rpartition(".")[2] in RULES
            if named and "AbstractOptimizer" not in kinds:
                wrong.append(f"{module}: isinstance({asked}, {kinds})")
    assert not wrong


def run(code):
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_import_is_light():
    told = run(f"""
import sys
import penchant
print([name for name in {HEAVY!r} if name in sys.modules])
penchant.norms.L2(), penchant.datasets.gaussian()
print([name for name in {HEAVY!r} if name in sys.modules])
penchant.predict, penchant.audits, penchant.estimators
print([name for name in {STATISTICS!r} if name in sys.modules])
""")
    assert told.returncode == 0, told.stderr
    assert told.stdout.split() == ["[]", "[]", "[]"]
    assert told.stderr == ""


@pytest.mark.parametrize("first", ["", "import jax; ", "import jax.numpy as jnp; "])
def test_importing_turns_on_double_precision(first):
    told = run(f"{first}import penchant, jax.numpy as jnp; print(jnp.zeros(()).dtype)")
    assert told.stdout.strip() == "float64"


KEEP = """
import os
from penchant._engine import keep_programs
keep_programs()
import jax
jax.jit(lambda x: x + 1)(1.0).block_until_ready()
print(os.environ.get("JAX_COMPILATION_CACHE_DIR"))
"""


def test_compiled_programs_are_kept_where_the_user_wants_them(monkeypatch, tmp_path):
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    monkeypatch.delenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", raising=False)
    monkeypatch.setenv("PENCHANT_CACHE", str(tmp_path / "here"))
    assert run(KEEP).stdout.strip() == str(tmp_path / "here")
    assert any((tmp_path / "here").iterdir())
    monkeypatch.setenv("PENCHANT_CACHE", "off")
    assert run(KEEP).stdout.strip() == "None"
    monkeypatch.delenv("PENCHANT_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path))
    kept = Path(run(KEEP).stdout.strip())
    assert kept.name == "programs"
    assert tmp_path in kept.parents
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "own"))
    assert run(KEEP).stdout.strip() == str(tmp_path / "own")


def test_fixed_names_of_the_face_are_there():
    for name in (
        "LinearClassification", "NetworkClassification", "NotSeparableError",
        "batching", "certify", "cite",
        "datasets", "diagnose", "limit", "losses", "max_margin", "norms", "optimizers",
        "plotting", "predict", "schedules", "sweep", "theory", "train",
    ):  # fmt: skip
        assert hasattr(pn, name)
        assert name in dir(pn)


def test_names_at_the_top_are_the_ones_that_editors_see():
    (block,) = [
        node
        for node in ast.parse((SOURCE / "__init__.py").read_text()).body
        if isinstance(node, ast.If)
    ]
    typed = {
        alias.asname: node.module
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    folders = {name for name, module in typed.items() if module == "penchant"}
    assert folders == set(pn._FOLDERS.split())
    assert {n: m for n, m in typed.items() if n not in folders} == pn._PLACES
    for name in typed:
        assert getattr(pn, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = pn.nonsense


def test_the_first_import_needs_no_engine():
    told = run(
        "import sys, penchant; print('jax' in sys.modules, penchant.__version__)"
    )
    loaded, version = told.stdout.split()
    assert loaded == "False"
    assert version[0].isdigit()


def test_studies_are_listed_without_the_engine_and_found_as_modules():
    told = run(
        "import sys; from penchant.cli import app\n"
        "try: app(['studies'])\n"
        "except SystemExit as end: print(end.code, 'jax' in sys.modules)\n"
        "from penchant import studies; print(studies.per_sample_adam.gaussian.__name__)"
    )
    assert told.returncode == 0, told.stderr
    assert "per-sample-adam" in told.stdout
    assert told.stdout.split()[-3:] == ["0", "False", "gaussian"]


def test_old_addresses_still_work_and_say_where_things_are():
    code = """
import warnings
with warnings.catch_warnings(record=True) as seen:
    warnings.simplefilter("always")
    from penchant.problems.networks import MLP
    import penchant.theory.fan2025spectral as old
    from penchant.theory import gap_law, run_geometry
import penchant as pn
from penchant.theory.papers import fan2025spectral as new
print(old is new, MLP is pn.networks.MLP, gap_law is pn.estimators.gap_law)
told = {str(w.message) for w in seen if w.category is DeprecationWarning}
print(len(told), all("has moved to penchant." in t for t in told))
"""
    told = run(code)
    assert told.stdout.split() == ["True", "True", "True", "4", "True"], told.stderr
