"""The documentation covers what is public, and cites what exists."""

import importlib
import importlib.util
import inspect
import pkgutil
import re
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import typer

import penchant as pn
from penchant import cli, optimizers as rules
from penchant.norms._read import NORMS
from penchant.problems.losses import LOSSES
from penchant.training.batching import ORDERS
from tests.cases import multiclass

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
SOURCES = ROOT / "src" / "penchant"

FOLDERS = (
    "penchant",
    "penchant.norms",
    "penchant.problems",
    "penchant.problems.losses",
    "penchant.problems.models.networks",
    "penchant.audits",
    "penchant.flows.state_space",
    "penchant.theory.state_space",
    "penchant.datasets",
    "penchant.datasets.noises",
    "penchant.margins",
    "penchant.optimizers",
    "penchant.training",
    "penchant.training.batching",
    "penchant.training.schedules",
    "penchant.flows",
    "penchant.flows.adaptive",
    "penchant.flows.slow",
    "penchant.measures",
    "penchant.theory",
    "penchant.theory.papers",
    "penchant.theory.per_sample",
    "penchant.theory.descent",
    "penchant.theory.regimes",
    "penchant.theory.risk",
    "penchant.theory.sharpness",
    "penchant.estimators",
    "penchant.explorer",
    "penchant.estimators.penalties",
    "penchant.estimators.interventions",
    "penchant.diagnosis",
    "penchant.pages",
    "penchant.plotting",
    "penchant.huggingface",
    "penchant.lightning",
    "penchant.optax",
    "penchant.sklearn",
    "penchant.torch",
    "penchant.estimators.rounding",
    "penchant.studies",
)
# a word such as fan2025spectral, anywhere in a source: docstrings and `source=`
KEY = re.compile(r"\b[a-z]+(?:19|20)\d\d[a-z]+\b")


def extension(name: str) -> ModuleType:
    """A module of the site's build, which is on no path."""
    found = importlib.util.spec_from_file_location(name, DOCS / f"extensions/{name}.py")
    assert found
    assert found.loader
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


FORMULAS = extension("as_mathml")


def there(name: str) -> bool:
    """Whether a folder of the package has been written."""
    path = SOURCES.joinpath(*name.split(".")[1:])
    return (path / "__init__.py").exists() or path.with_suffix(".py").exists()


def public(module: ModuleType) -> list[tuple[str, object]]:
    """Classes and functions of penchant that a folder re-exports, or a file defines."""
    inside = "penchant" if hasattr(module, "__path__") else module.__name__
    return [
        (name, value)
        for name, value in vars(module).items()
        if not name.startswith("_")
        and (inspect.isclass(value) or inspect.isfunction(value))
        and value.__module__.startswith(inside)
    ]


def entries() -> list[str]:
    pages = sorted((DOCS / "api").glob("*.md"))
    return [
        name
        for page in pages
        for name in re.findall(r"^::: (\S+)", page.read_text(), re.MULTILINE)
    ]


def resolve(address: str) -> object:
    """The object behind a dotted address."""
    parts = address.split(".")
    value: object = importlib.import_module(parts[0])
    for i, part in enumerate(parts[1:], start=2):
        if not hasattr(value, part):
            importlib.import_module(".".join(parts[:i]))
        value = getattr(value, part)
    return value


def bibliography() -> list[str]:
    text = (ROOT / "references.bib").read_text()
    return re.findall(r"^@\w+\{(\w+),$", text, re.MULTILINE)


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_public_name_has_an_entry(folder):
    if not there(folder):
        pytest.skip(f"{folder} is not there yet")
    documented = [resolve(address) for address in entries()]
    missing = [
        name
        for name, value in public(importlib.import_module(folder))
        if not any(value is other for other in documented)
    ]
    assert not missing, f"no `::: …` in docs/api for these of {folder}: {missing}"


def test_every_name_of_state_space_models_has_an_entry():
    documented = [resolve(address) for address in entries()]
    names = [
        (name, value)
        for name, value in vars(pn.ssm).items()
        if inspect.isclass(value) or inspect.isfunction(value)
    ]
    missing = [n for n, v in names if not any(v is other for other in documented)]
    assert names
    assert not missing


def test_every_entry_stands_once_and_is_public():
    seen = entries()
    assert sorted(set(seen)) == sorted(seen)
    for address in seen:
        assert "._" not in address
        resolve(address)


def modules(folder: str) -> list[str]:
    if not there(folder):
        return []
    path = importlib.import_module(folder).__path__
    names = [module.name for module in pkgutil.iter_modules(path)]
    return [name for name in names if not name.startswith("_")]


def test_theory_and_studies_are_named_after_their_sources():
    known = bibliography()
    for name in modules("penchant.theory.papers"):
        assert name in known, f"{name} has no entry in references.bib"
    if there("penchant.studies"):
        studies = importlib.import_module("penchant.studies").STUDIES.values()
        folders = [study.name.replace("-", "_") for study in studies]
        assert sorted(folders) == modules("penchant.studies")
        assert {study.source for study in studies} <= set(known)


def test_every_theory_module_has_an_entry():
    seen = entries()
    for name in modules("penchant.theory.papers"):
        assert f"penchant.theory.papers.{name}" in seen


def test_cited_keys_exist():
    known = set(bibliography())
    files = [*SOURCES.rglob("*.py"), *DOCS.rglob("*.md"), *ROOT.glob("*.md")]
    for file in files:
        cited = set(KEY.findall(file.read_text()))
        assert cited <= known, f"{file}: {sorted(cited - known)}"


def test_bibliography_is_sound():
    keys = bibliography()
    assert sorted(set(keys)) == keys, "sorted, and each key once"
    text = (ROOT / "references.bib").read_text()
    for entry in re.split(r"^@", text, flags=re.MULTILINE)[1:]:
        key = re.match(r"\w+\{(\w+)", entry)
        assert key
        for field in ("author", "title", "year"):
            assert re.search(rf"^\s+{field}\s+=", entry, re.MULTILINE), key[1]
        year = re.search(r"year\s+= \{(\d{4})\}", entry)
        assert year, key[1]
        assert year[1] in key[1]


def test_references_page_lists_the_bibliography():
    page = (DOCS / "references.md").read_text()
    assert sorted(re.findall(r"^### (\w+)$", page, re.MULTILINE)) == bibliography()


def test_concept_pages_say_where_they_fail():
    pages = sorted((DOCS / "concepts").glob("*.md"))
    assert pages
    for page in pages:
        headings = re.findall(r"^## (.+)$", page.read_text(), re.MULTILINE)
        assert headings[-1] == "Where it fails", page.name


def test_examples_are_code_on_the_site_and_to_doctest():
    # a bare >>> is a quotation in Markdown; a fence right after the last line would be
    # expected output to doctest
    for page in [*DOCS.rglob("*.md"), *ROOT.glob("*.md")]:
        fence = None
        lines = page.read_text().splitlines()
        for before, line in zip(["", *lines], lines, strict=False):
            if line.startswith("```"):
                assert fence != "```pycon" or not before, (
                    f"{page}: blank line, then ```"
                )
                fence = line if fence is None else None
            assert not line.startswith(">>>") or fence == "```pycon", f"{page}: {line}"


def test_every_page_is_in_the_navigation():
    listed = set(re.findall(r"[\w/]+\.md", (ROOT / "mkdocs.yml").read_text()))
    assert listed == {str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md")}


def options(command: str) -> list[str]:
    group = typer.main.get_command(cli.app)
    parameters = group.commands[command].params  # type: ignore[attr-defined]
    return [
        option
        for parameter in parameters
        for option in parameter.opts
        if option.startswith("--")
    ]


@pytest.mark.parametrize(
    "command",
    ["diagnose", "compare", "certify", "predict", "audit", "studies", "reproduce"],
)
def test_command_line_page_has_every_option(command):
    page = (DOCS / "cli.md").read_text()
    assert f"\n## {command}\n" in page
    missing = [option for option in options(command) if f"`{option}`" not in page]
    assert not missing


PROGRAM = {"--help", "--version", "--install-completion", "--show-completion"}
"""Options without a command."""


def test_command_line_page_has_no_other_commands_or_options():
    page = (DOCS / "cli.md").read_text()
    group = typer.main.get_command(cli.app)
    commands = set(group.commands)  # type: ignore[attr-defined]
    assert set(re.findall(r"^## ([a-z]+)$", page, re.MULTILINE)) == commands
    known = {option for command in commands for option in options(command)}
    assert set(re.findall(r"`?(--[a-z][a-z0-9-]+)", page)) <= {*known, *PROGRAM}


def test_command_line_page_has_every_name():
    page = (DOCS / "cli.md").read_text()
    tables = (rules.OPTIMIZERS, NORMS, LOSSES, ORDERS)
    missing = [name for names in tables for name in names if f"`{name}`" not in page]
    assert not missing


def test_command_line_page_has_the_optimizers_options():
    # a line of the table, `adam`, has exactly the options that the rule takes
    page = (DOCS / "cli.md").read_text()
    for name, (_, takes) in rules.OPTIMIZERS.items():
        line = re.search(rf"^\| `{name}` \|.*$", page, re.MULTILINE)
        assert line, name
        named = re.findall(r"`--([a-z0-9-]+)`", line[0])
        assert named == [option.replace("_", "-") for option in takes], name


def test_the_result_page_has_every_key():
    page = (DOCS / "result.md").read_text()
    problem = multiclass(0)
    says = pn.diagnose(problem, rules.SignDescent(), steps=50, step_size=0.1)
    result = says.to_dict()
    assert result["prediction"]
    keys = {
        *result,
        *result["prediction"],
        *result["run"],
        *result["evidence"]["convergence"],
    }
    keys |= set(result["table"][0]) | set(result["prediction"]["assumptions"][0])
    torn = pn.LinearClassification([[1.0], [1.0]], [1, -1], loss=pn.losses.Logistic())
    without = pn.diagnose(torn, rules.SignDescent(), steps=5).to_dict()
    keys |= set(without["evidence"]["minimiser"])
    missing = [key for key in sorted(keys) if f"`{key}`" not in page]
    assert not missing


BROKEN = (
    r"\nosuchcommand{x}",
    r"\frac{1}",
    r"\frac{1",
    r"a}",
    r"x_",
    r"a & b",
    r"\begin{cases}x",
    r"\left(x",
)


@pytest.mark.parametrize("tex", BROKEN)
def test_formulas_that_are_not_understood_are_refused(tex):
    with pytest.raises(FORMULAS.UntranslatableError):
        FORMULAS.mathml(tex)


def test_formulas_become_mathml():
    tex = r"\arg\max_{\|w\|\le1}\;\min_iq_i(w)-\tfrac12\log\varepsilon"
    math = FORMULAS.mathml(tex, display=True)
    assert math.get("display") == "block"
    text = "".join(math.itertext())
    assert text == "argmax‖w‖≤1miniqi(w)−12logε"
    alphabets = "".join(FORMULAS.mathml(r"\mathbb R\mathbf 1\mathcal{L}").itertext())
    assert alphabets == "ℝ𝟏ℒ"


def test_site_brings_no_scripts_and_no_fonts():
    kinds = {path.suffix for path in DOCS.rglob("*") if path.is_file()}
    assert kinds <= {".md", ".py", ".pyc", ".css", ".svg", ".json", ".ipynb"}
    assert "extra_javascript" not in (ROOT / "mkdocs.yml").read_text()


def test_no_page_names_a_machine():
    texts = [*DOCS.rglob("*.md"), *DOCS.rglob("*.py"), *ROOT.glob("*.md")]
    for page in [*texts, ROOT / "mkdocs.yml", ROOT / "CITATION.cff"]:
        found = re.findall(
            r"(?:/home/|/root/|/work/|/tmp/|/Users/|[A-Z]:\\)\S*", page.read_text()
        )
        assert not found, f"{page}: {found}"


def test_citation_agrees_with_the_package():
    citation = (ROOT / "CITATION.cff").read_text()
    project = (ROOT / "pyproject.toml").read_text()
    version = re.search(r'^version = "(.+)"', project, re.MULTILINE)
    assert version
    assert f"\nversion: {version[1]}\n" in citation
    assert "\nlicense: Apache-2.0\n" in citation


ETA = 0.003
# name of penchant's rule, and of torch's with its arguments, as on docs/conventions.md
TORCH = {
    "heavy ball": (rules.GradientDescent(0.9), "SGD", {"momentum": 0.9}),
    "Adam": (
        rules.Adam(0.9, 0.99, 1e-8, bias_correction=True),
        "Adam",
        {"betas": (0.9, 0.99), "eps": 1e-8},
    ),
    "RMSProp": (rules.RMSProp(0.95, 1e-3), "RMSprop", {"alpha": 0.95, "eps": 1e-3}),
    "RMSProp, corrected": (
        rules.RMSProp(0.95, 1e-3, bias_correction=True),
        "Adam",
        {"betas": (0.0, 0.95), "eps": 1e-3},
    ),
    "AdaGrad": (
        rules.AdaGrad(1e-7, initial=0.1),
        "Adagrad",
        {"eps": 1e-7, "initial_accumulator_value": 0.1},
    ),
    "Muon": (
        rules.Muon(0.9, rules.NewtonSchulz(5)),
        "Muon",
        {"momentum": 0.9, "nesterov": False, "weight_decay": 0.0},
    ),
}


@pytest.mark.parametrize("name", TORCH)
def test_torch_equivalents_of_the_conventions_page(name):
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)  # small matrices: more threads only wait for each other
    rule, theirs, arguments = TORCH[name]
    problem, steps = multiclass(0), 200
    X, y = torch.tensor(np.array(problem.X)), torch.tensor(np.array(problem.y))
    W = torch.zeros(problem.weight_shape, dtype=torch.float64, requires_grad=True)
    optimizer = getattr(torch.optim, theirs)([W], lr=ETA, **arguments)
    for _ in range(steps):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(X @ W.T, y.long()).backward()
        optimizer.step()
    ours = np.asarray(pn.train(problem, rule, steps=steps, step_size=ETA).weights[-1])
    want = W.detach().numpy()
    tolerance = 0.01 if theirs == "Muon" else 1e-12  # torch's Muon rounds to bfloat16
    np.testing.assert_allclose(ours, want, rtol=0, atol=tolerance * np.abs(want).max())
