"""What pages of the documentation say in tables and words is so."""

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import penchant as pn
from penchant import cli, optimizers, studies
from penchant.optimizers._like import FRAMEWORKS
from penchant.pages import render
from penchant.pages._glossary import WORDS, Glossary
from tests.cases import binary, multiclass
from tests.test_docs import DOCS, ROOT, extension

NOTEBOOK = extension("as_notebook")


def test_every_page_ends_in_a_next_step():
    for page in DOCS.rglob("*.md"):
        last = page.read_text().rstrip().split("\n\n")[-1]
        assert last.startswith("**Next:** "), page


def lines_of_frameworks():
    """Of each line: framework, what one writes, our rule, and the two predictions."""
    page = (DOCS / "frameworks.md").read_text()
    lines = []
    for framework in ("torch", "optax", "Keras"):
        (section,) = re.findall(rf"(?ms)^## {framework}$(.*?)^## ", page)
        assert f"--optimizer RULE --like {framework.lower()}`" in section
        row = re.compile(r"^\| `(.+?)` \| `(\w+)` \| (\S+) \| (\S+) \|$", re.MULTILINE)
        found = row.findall(section)
        assert len(found) == len(re.findall(r"^\| `", section, re.MULTILINE))
        lines += [(framework.lower(), *cells) for cells in found]
    return lines


@pytest.mark.sampled
@pytest.mark.parametrize("line", lines_of_frameworks(), ids=lambda line: line[1])
def test_the_line_of_a_framework_is_what_theory_says(line):
    framework, written, rule, whole, batches = line
    found = optimizers.like(framework, rule)
    ours = optimizers.read(found.rule, **found.options)
    problem = binary(0)
    told = [
        pn.predict(problem, ours, batching=batching).norm
        for batching in (pn.batching.FullBatch(), pn.batching.Shuffled(3))
    ]
    labels = ["none" if norm is None else norm.label for norm in told]
    assert labels == [whole, batches]
    # the framework's own call has this rule's name in it
    called = re.sub(r"[^a-z]", "", written.lower().partition("(")[0])
    names = {"gd": "sgd", "momentum": "sgd", "sign": "signsgd"}
    assert called.endswith(names.get(rule, rule))


@pytest.mark.parametrize("framework", ["torch", "optax", "keras"])
def test_frameworks_have_all_their_lines(framework):
    have = {line[2] for line in lines_of_frameworks() if line[0] == framework}
    # sgd and momentum are what gd is but for batches and one argument
    assert have >= set(FRAMEWORKS[framework]) - {"sgd", "momentum"}


@pytest.mark.parametrize(
    "line",
    [line for line in lines_of_frameworks() if line[0] == "torch"],
    ids=lambda line: line[1],
)
def test_torch_has_these_calls_and_they_step_as_said(line):
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)
    _, written, rule, *_ = line
    found = optimizers.like("torch", rule)
    problem, steps = multiclass(0), 20
    X, y = torch.tensor(np.array(problem.X)), torch.tensor(np.array(problem.y))
    W = torch.zeros(problem.weight_shape, dtype=torch.float64, requires_grad=True)
    theirs = eval(f"torch.optim.{written}", {"torch": torch, "p": [W]})
    for _ in range(steps):
        theirs.zero_grad()
        torch.nn.functional.cross_entropy(X @ W.T, y.long()).backward()
        theirs.step()
    ours = optimizers.read(found.rule, **found.options)
    run = pn.train(problem, ours, steps=steps, step_size=found.step_size)
    want = W.detach().numpy()
    tolerance = 0.02 if rule == "muon" else 1e-9  # torch's Muon rounds to bfloat16
    close = np.abs(np.asarray(run.weights[-1]) - want).max()
    assert close <= tolerance * np.abs(want).max()


def test_the_glossary_has_the_words_of_the_reports():
    page = " ".join((DOCS / "glossary.md").read_text().split())
    for word in WORDS:
        assert f"### {word.name} {word.meaning}" in page


def test_words_are_linked_once_and_as_whole_words():
    words = Glossary()
    told = words.link("the largest margin, a margin & t^(-1/2), shared 2^10 shares")
    assert told == (
        'the <a class="word" href="#word-largest-margin">largest margin</a>, a '
        '<a class="word" href="#word-margin">margin</a> &amp; t<sup>(-1/2)</sup>, '
        'shared 2<sup>10</sup> <a class="word" href="#word-share">shares</a>'
    )
    assert [word.name for word in words.met] == ["margin", "largest margin", "share"]
    assert words.link("one more margin, 0.1*t^-0.5") == "one more margin, 0.1*t^-0.5"
    assert (
        words.link_numbers("gap 4e-15 of <b>")
        == "gap 4 × 10<sup>−15</sup> of &lt;b&gt;"
    )
    # each page begins anew
    page = render("words.html.j2")
    assert page.strip() == ""


TESTS = {
    name
    for file in (ROOT / "tests").rglob("test_*.py")
    for name in re.findall(r"^def (test_\w+)", file.read_text(), re.MULTILINE)
}


def test_corrections_name_checks_that_exist():
    page = (DOCS / "corrections.md").read_text()
    named = set(re.findall(r"`(test_\w+)`", page))
    assert len(named) > 10
    assert named <= TESTS, named - TESTS
    for study, figure in re.findall(
        r"penchant reproduce (\S+) --figure ([\w-]+)", page
    ):
        assert figure in studies.find(study).figures
    # a line of a table without a check is no correction
    for row in re.findall(r"^\| (?!the paper)(?!-).*$", page, re.MULTILINE):
        assert re.search(r"`test_|`penchant |doctest", row.split(" | ")[-1]), row


def test_notebooks_carry_no_results():
    for path in DOCS.glob("*.ipynb"):
        book = json.loads(path.read_text(encoding="utf-8"))
        assert book["nbformat"] == 4
        for cell in book["cells"]:
            assert cell["cell_type"] in ("markdown", "code")
            assert not cell.get("outputs")
            assert cell.get("execution_count") is None
        assert path.name in "".join(p.read_text() for p in DOCS.glob("*.md"))


def test_cells_are_run_in_one_namespace_and_shown(tmp_path):
    book = {
        "cells": [
            {"cell_type": "markdown", "source": ["# A\n", "title"]},
            {"cell_type": "code", "source": ["a = 1\n", "print('<b>')\n", "a + 1"]},
            {"cell_type": "code", "source": ["a += 5"]},
            {"cell_type": "code", "source": ["a"]},
        ]
    }
    path = tmp_path / "book.ipynb"
    path.write_text(json.dumps(book))
    kinds, sources, results = zip(*NOTEBOOK.executed(path), strict=True)
    assert kinds == ("markdown", "code", "code", "code")
    assert sources[0] == "# A\ntitle"
    assert results == ("", "<pre>&lt;b&gt;\n</pre><pre>2</pre>", "", "<pre>6</pre>")


def test_results_stand_in_the_page(tmp_path, monkeypatch):
    markdown = pytest.importorskip("markdown")
    book = [["code", "x = 1\nx + 1"], ["markdown", "*so*"]]
    cells = [{"cell_type": kind, "source": [text]} for kind, text in book]
    (tmp_path / "book.ipynb").write_text(json.dumps({"cells": cells}))
    monkeypatch.setattr(NOTEBOOK, "DOCS", tmp_path)
    page = "# Title\n\n<!-- notebook: book.ipynb -->\n\nafter"
    made = markdown.markdown(
        page, extensions=["pymdownx.superfences", NOTEBOOK.makeExtension()]
    )
    assert '<div class="result"><pre>2</pre></div>' in made
    assert "<em>so</em>" in made
    assert "notebook:" not in made
    assert "wzxhzdk" not in made  # a result that was not put back


def test_a_cell_that_raises_ends_the_build(tmp_path):
    path = tmp_path / "broken.ipynb"
    path.write_text(json.dumps({"cells": [{"cell_type": "code", "source": ["1 / 0"]}]}))
    with pytest.raises(NOTEBOOK.CellError, match=r"broken.ipynb, cell 1: ZeroDivision"):
        NOTEBOOK.executed(path)


@pytest.mark.slow
def test_the_first_hour_runs_and_says_what_its_words_say():
    results = "".join(r for *_, r in NOTEBOOK.executed(DOCS / "first_hour.ipynb"))
    assert "Adam picks the ℓ∞ margin" in results
    assert "These weights are the ℓ2 solution" in results
    assert "gd: ℓ2" in results
    assert results.count("<svg") == 4


def sessions() -> list[tuple[str, str]]:
    """Commands of the page So what?, and what stands below them."""
    page = (DOCS / "so_what.md").read_text()
    found = re.findall(r"```text\n\$ penchant (.*?)\n\n(.*?)\n```", page, re.DOTALL)
    assert len(found) >= 3
    return [(command.replace("\\\n", ""), told) for command, told in found]


@pytest.mark.slow
@pytest.mark.parametrize("session", sessions(), ids=lambda s: s[0][:30])
def test_commands_print_what_the_page_shows(session, tmp_path, monkeypatch):
    command, told = session
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(cli.app, shlex.split(command))
    assert done.exit_code == 0
    printed = " ".join(done.stdout.split())
    # numbers may differ in their last digit from machine to machine: words may not
    words = lambda text: re.sub(r"\d+(?:\.\d+)?", "#", " ".join(text.split()))
    assert words(told) in words(printed)
    numbers = lambda text: [float(n) for n in re.findall(r"\d+(?:\.\d+)?(?= %)", text)]
    shown = numbers(told)
    assert np.allclose(numbers(printed)[: len(shown)], shown, atol=1.5)


def test_the_picture_of_margins_is_of_its_points():
    draw = Path(DOCS / "assets/draw.py").read_text()
    points = eval(re.search(r"POINTS = (\(.*\))", draw)[1])  # type: ignore[index]
    problem = pn.problems.read(np.array(points), [1, 1, 1, -1, -1, -1])
    picture = (DOCS / "assets/margins.svg").read_text()
    for name in ("l1", "l2", "linf"):
        best = pn.max_margin(problem, name)
        held = np.asarray(best.support)
        assert held.tolist() == [True] + 5 * [False]
    assert "<svg" in picture
