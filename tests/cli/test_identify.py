"""`penchant identify`, on a researcher's own file."""

import json

import pytest

RULE = """
import numpy as np

def init(w):
    return np.zeros_like(w)

def update(g, m, w):
    m = 0.9 * m + 0.1 * g
    return -np.sign(m), m

rule = (init, update)
"""


@pytest.fixture
def rule(here):
    (here / "my_rule.py").write_text(RULE)
    return here


def test_a_rule_in_a_file(rule, run):
    told = run("identify", "my_rule.py:rule", "--shape", "6,4", "--json")
    assert told.exit_code == 0
    says = json.loads(told.stdout)
    assert says["steps"] == "ℓ∞"
    assert says["first"]["decay"] == pytest.approx(0.9)
    assert set(says["evidence"].values()) == {"measured"}


def test_a_page_with_its_pictures(rule, run):
    told = run("identify", "my_rule.py:rule", "--shape", "6,4", "--out", "report")
    assert told.exit_code == 0
    page = (rule / "report" / "report.html").read_text(encoding="utf-8")
    assert "measured on a black box" in page
    for heading in ("Degree over scale", "The map of entries", "Impulse response"):
        assert heading in page
    assert json.loads((rule / "report" / "result.json").read_text())["family"]


@pytest.mark.parametrize(
    ("text", "words", "sentence"),
    [
        ("import nowhere", ("r.py:rule",), "can't be imported: ModuleNotFoundError"),
        ("x = 1", ("r.py:rule",), "has no rule; it has: x"),
        ("x = 1", ("r.py",), "name what r.py has"),
        ("x = 1", ("s.py:x",), "no file s.py"),
        ("x = 1", ("r.py:x",), "rule must be one of penchant.optimizers"),
        ("def x():\n    raise ValueError('lr')", ("r.py:x",), "x() raised ValueError"),
        ("x = 1", ("r.py:x", "--shape", "a"), "--shape must be whole numbers"),
    ],
)
def test_what_does_not_work_is_said_in_a_sentence(here, run, text, words, sentence):
    (here / "r.py").write_text(text)
    told = run("identify", *words)
    assert told.exit_code == 2
    assert sentence in " ".join(told.output.split())


def test_unknown_parts_have_an_exit_code(here, run):
    (here / "r.py").write_text(
        "def update(g, t, w):\n"
        "    t = 1 if t is None else t + 1\n"
        "    return -g / t, t\n"
    )
    assert run("identify", "r.py:update", "--shape", "6,4").exit_code == 5
