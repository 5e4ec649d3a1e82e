import html
import json
import re

import numpy as np
import pytest
import xarray

import penchant as pn
from penchant.pages import number, percent
from tests.cases import binary
from tests.diagnosis.cases import (
    EVERY,
    SIGN,
    open_question,
    overlapping,
    past_eps,
    separable,
    several,
)

every = pytest.mark.parametrize("made", EVERY)


def refuse(constant):
    raise AssertionError(f"{constant} is no JSON")


@pytest.mark.slow
@every
def test_three_things_are_written(made, saved):
    says, page = made(), saved[made]
    folder = page.parent
    assert page == folder / "report.html"
    assert sorted(p.name for p in folder.iterdir()) == [
        "report.html",
        "result.json",
        "trajectory.zarr",
    ]
    # the numbers
    text = (folder / "result.json").read_text(encoding="utf-8")
    result = json.loads(text, parse_constant=refuse)
    assert result == says.to_dict()
    assert result["verdict"] == says.verdict
    assert len(result["table"]) == len(says.table)
    # the run
    with xarray.open_zarr(folder / "trajectory.zarr", consolidated=False) as run:
        assert np.array_equal(run["step"], says.trajectory.steps)
        assert np.array_equal(run["weights"], says.trajectory.weights)
        assert np.array_equal(run["margins"], says.trajectory.margins)
    # the page
    complete(page.read_text(encoding="utf-8"), says)


def complete(page, says):
    """Self-contained, and all that there is to say is in it."""
    assert page.startswith("<!doctype html>")
    # names of XML dialects in SVG are the only addresses, and are never fetched
    addresses = set(re.findall(r"https?://[^\"' <>]*", page))
    assert addresses <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    for forbidden in ("<script", '<link rel="stylesheet', "@import", "<img", "<iframe"):
        assert forbidden not in page
    assert set(re.findall(r"url\(([^)]*)\)", page)) <= set(
        re.findall(r"url\((#[^)]*)\)", page)
    )
    assert re.findall(r'(?:src|href)="(?!#|data:)', page) == []
    text = re.sub(r"<(style|svg).*?</\1>", "", page, flags=re.DOTALL)
    assert not re.search(r"(?<!\*t)\^|[^\w.]-0(?:\.0+)?(?![\w.])", text)
    # as it was before words were linked and powers raised
    text = re.sub(r'<a class="word"[^>]*>(.*?)</a>', r"\1", text)
    text = html.unescape(re.sub(r"<sup>(.*?)</sup>", r"^\1", text))
    assert says.headline in text
    answers = [getattr(says, name, "") for name in ("heading", "when", "now")]
    for said in [said for said in answers if said] or [says.explanation]:
        assert said in text
    for command in says.next:
        assert command in text
    for row in says.table:
        assert f"<td>{row.label}</td>" in page
    for caution in says.warnings:
        assert caution.headline in text
        assert caution.detail in text
    if says.prediction is not None:
        for assumption in says.prediction.assumptions:
            assert assumption.statement in text
    assert says.settings["optimizer"] in text
    assert "None" not in re.sub(r"<[^>]*>", "", text)
    assert "nan" not in re.findall(r"[a-z]+", text)


def test_each_figure_is_there_wide_and_narrow(saved):
    for made, figures in (
        (separable, ["ratios", "imitation", "paths", "loss", "chosen"]),
        (overlapping, ["excess", "loss", "chosen"]),
        (open_question, ["loss", "chosen"]),
    ):
        page = saved[made].read_text(encoding="utf-8")
        assert re.findall(r'<figure id="(\w+)">', page) == figures
        assert page.count("<svg ") == 2 * len(figures)
        ids = re.findall(r'\sid="([^"]*)"', re.sub(r"(?s)<svg.*?</svg>", "", page))
        assert len(ids) == len(set(ids))


def test_names_are_escaped(saved):
    name = past_eps().settings["data"]
    assert name == "<b>x</b> & co"
    page = saved[past_eps].read_text(encoding="utf-8")
    assert "<b>x</b>" not in page
    assert page.count("&lt;b&gt;x&lt;/b&gt; &amp; co") >= 2
    text = saved[past_eps].with_name("result.json").read_text(encoding="utf-8")
    assert json.loads(text)["settings"]["data"] == name


def test_a_later_diagnosis_replaces_an_earlier_one(tmp_path, blank_pages):
    several().save(tmp_path)
    (tmp_path / "mine.txt").write_text("kept")
    page = separable().save(tmp_path).read_text(encoding="utf-8")
    assert page == separable().headline
    result = json.loads((tmp_path / "result.json").read_text("utf-8"))
    assert [row["norm"] for row in result["table"]] == ["ℓ1", "ℓ2", "ℓ∞"]
    with xarray.open_zarr(tmp_path / "trajectory.zarr", consolidated=False) as run:
        assert run["weights"].shape == (len(separable().trajectory.steps), 12)
    assert (tmp_path / "mine.txt").read_text() == "kept"


def test_the_winner_is_marked(saved):
    page = saved[separable].read_text(encoding="utf-8")
    (won,) = re.findall(r'<tr class="won"><td>(.*?)</td><td>(.*?)</td>', page)
    assert won == (
        "ℓ∞",
        percent(separable().table["ℓ∞"].ratio),
    )  # the share comes first
    assert "as theory foretold" in page
    assert separable().page() == page  # the same each time


SLOW = pytest.mark.slow


@pytest.mark.parametrize("steps", [1, *(pytest.param(n, marks=SLOW) for n in (2, 9))])
def test_short_runs_have_reports_too(steps, tmp_path):
    linf = [pn.norms.Linf()]
    says = pn.diagnose(binary(0), SIGN, steps=steps, norms=linf)
    complete(says.save(tmp_path).read_text(encoding="utf-8"), says)


def test_a_run_without_a_step_has_a_report(tmp_path):
    problem, rule, linf = binary(0), pn.optimizers.GradientDescent(), [pn.norms.Linf()]
    says = pn.diagnose(problem, rule, steps=5_000, step_size=1.7e308, norms=linf)
    assert int(says.trajectory.steps[-1]) == 0
    complete(says.save(tmp_path).read_text(encoding="utf-8"), says)


def test_the_folder_may_not_be_a_file(tmp_path, blank_pages):
    taken = tmp_path / "report"
    taken.write_text("mine")
    with pytest.raises(OSError, match="report"):
        separable().save(taken)
    assert taken.read_text() == "mine"


def test_what_is_shown_is_what_a_reader_takes_in():
    assert [number(v) for v in (1234567.0, 0.12345678, None, float("nan"))] == [
        "1,234,567",
        "0.123457",
        "–",
        "–",
    ]
    shares = (0.5, 0.91, 0.985, 0.9985, 0.99997, 1.0, -0.2, float("inf"))
    assert [percent(s) for s in shares] == [
        "50 %", "91.0 %", "98.5 %", "99.85 %", "99.997 %", "100 %", "-20 %", "–",
    ]  # fmt: skip


def test_words_are_explained_on_the_page(saved):
    for made in (separable, past_eps, several, overlapping):
        page = saved[made].read_text(encoding="utf-8")
        linked = re.findall(r'<a class="word" href="#([\w-]*)">', page)
        assert len(linked) == len(set(linked))  # each once, at its first place
        assert set(linked) == set(re.findall(r'<dt id="([\w-]*)">', page))
        assert "word-norm" in linked or made is overlapping


def test_only_the_leader_has_a_band(saved):
    page = saved[separable].read_text(encoding="utf-8")
    (figure,) = re.findall(r'(?s)<figure id="paths">.*?</figure>', page)
    assert "band below ℓ∞" in figure
    # a band is a collection: one in each of the two drawings
    assert figure.count('id="FillBetweenPolyCollection') == 2
