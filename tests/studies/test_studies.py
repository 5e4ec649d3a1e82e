import json
import math
import re
from pathlib import Path

import pytest

import penchant as pn
from penchant import studies
from penchant.studies import Experiment, Figure, Line, Paper, Preset, Study
from penchant.studies._statistics import interval, student
from tests.cases import missed

every = pytest.mark.parametrize("study", studies.STUDIES.values(), ids=lambda s: s.name)


@pytest.fixture(scope="module")
def result():
    """The figure that takes no training."""
    return studies.find("spectral-descent").run(seed=0, figure="closed-forms")


def test_results_are_written(result, tmp_path):
    page = result.save(tmp_path / "study")
    assert page.name == "study.html"
    written = json.loads((tmp_path / "study" / "result.json").read_text("utf-8"))
    assert written == result.to_dict()
    assert written["passed"] is True
    assert len(written["lines"]) == len(result.lines)
    text = page.read_text(encoding="utf-8")
    assert result.title in text
    assert text.count("<svg ") == len(result.figures)
    assert set(re.findall(r"https?://[^\"' <>]*", text)) <= {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
        *(paper.link for paper in result.papers),
    }
    for line in result.lines:
        assert line.what in text
    assert "falls short" not in text
    count = len(result.lines)
    assert f"{count} of {count} numbers came out" in repr(result)


def test_a_number_that_falls_short_is_said_to(tmp_path):
    line = Line("share <of> it", 0.9, 0.8, 1.0, 0.7)
    short = studies.Result("name", "A title", "What ran.", {"one": Figure((line,))})
    assert not line.passed
    assert not short.passed
    assert "0 of 1 numbers came out" in repr(short)
    assert "FALLS SHORT" in repr(short)
    text = short.save(tmp_path).read_text(encoding="utf-8")
    assert "falls short" in text
    assert "share &lt;of&gt; it" in text


def test_lines_pass_in_their_ranges():
    near = Line.near("a share", expected=0.9, within=0.2, measured=0.75, most=1.0)
    assert (near.expected, near.low, near.high) == pytest.approx((0.9, 0.7, 1.0))
    assert near.passed
    assert not Line.near("x", expected=1.0, within=0.1, measured=1.2).passed
    assert not Line.between("x", 0.0, 1.0, expected=0.5, measured=float("nan")).passed
    assert Line.least("x", 2.0, expected=3.0, measured=1e9).passed
    assert not Line.least("x", 2.0, expected=3.0, measured=1.9).passed
    assert Line.most("gap", 1e-9, measured=0.0).passed
    assert not Line.most("gap", 1e-9, measured=2e-9).passed
    assert not Line.most("gap", 1e-9, measured=-1e-12).passed


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (Line.near("x", expected=0.0, within=0.0, measured=0.0), "exactly 0"),
        (Line.near("x", expected=0.745, within=1e-6, measured=0.0), "0.745 ± 1e-06"),
        (Line.between("x", 0.3, 4.0, expected=1.2, measured=1.0), "0.3 to 4"),
        (Line.between("x", 0.9999, 1.00002, expected=1.0, measured=1.0), "0.9999 to 1"),
        (Line.least("x", 1.5, expected=6.7, measured=2.0), "at least 1.5"),
        (Line.most("x", 1e-9, measured=0.0), "0 to 1e-09"),
    ],
)  # fmt: skip
def test_ranges_have_the_digits_that_tell_their_ends_apart(line, text):
    assert line.range.startswith(text)


def test_an_open_range_is_null_in_json(tmp_path):
    line = Line.least("growth", 1.5, expected=6.7, measured=2.0)
    found = studies.Result("name", "A title", "What ran.", {"one": Figure((line,))})
    found.save(tmp_path)
    written = json.loads((tmp_path / "result.json").read_text("utf-8"))
    assert written["lines"][0]["high"] is None
    assert written["lines"][0]["low"] == 1.5


def test_text_fits_a_terminal(result):
    assert max(map(len, repr(result).splitlines())) <= 80
    long = Line("word " * 40, 0.9, 0.8, 1.0, 0.7, "gap " * 50)
    found = studies.Result("name", "A title", "What ran.", {"one": Figure((long,))})
    assert max(map(len, repr(found).splitlines())) <= 80
    assert "0.7, expected 0.9 (0.9 ± 0.1)" in repr(found)


def test_a_paper_is_read_from_the_bibliography():
    paper = Paper.of("qian2019adagrad")
    assert paper.title == "The Implicit Bias of AdaGrad on Separable Data"
    assert paper.authors == ("Qian", "Qian")
    assert paper.year == 2019
    assert paper.link == "https://arxiv.org/abs/1906.03559"
    with pytest.raises(KeyError, match="smith2031nothing"):
        Paper.of("smith2031nothing")


def test_intervals_are_those_of_student():
    mean, half = student([1.0, 2.0, 3.0, 4.0, 5.0])
    assert (mean, half) == pytest.approx((3.0, 2.7764451052 * 2.5**0.5 / 5**0.5))
    assert math.isnan(student([1.0])[1])
    text = interval([1.0, 2.0, 3.0, 4.0, 5.0])
    assert text == "mean of 5 seeds 3 ± 2 (95 %, t), from 1 to 5"
    assert interval([1.0, 3.0]) == "mean of 2 seeds 2, from 1 to 3"
    assert interval([1.0]) == "one run"


@every
def test_a_study_names_its_paper(study):
    bibliography = Path(__file__).parents[2] / "references.bib"
    for key in study.sources:
        assert f"{{{key}," in pn.cite(key)
        assert f"{{{key},\n" in bibliography.read_text(encoding="utf-8")
    assert study.source == study.sources[0]
    for paper in study.papers:
        assert len(paper.title) > 20
        assert "{" not in str(paper)
        assert paper.link.startswith("https://")
    assert all(x.title and x.see for x in study.figures.values())
    folder = Path(studies.__file__).parent / study.name.replace("-", "_")
    assert (folder / "__init__.py").exists()
    assert studies.STUDIES[study.name] is studies.find(study.name) is study
    assert study.title
    assert study.summary
    assert study.figures
    assert set(study.reads) <= set(study.figures)


def test_names_of_no_study_are_refused():
    with pytest.raises(
        ValueError, match=r"no study 'nothing'; have: .*spectral-descent"
    ):
        studies.find("nothing")


def toy(calls, broken=False):
    def draw(preset, seed):
        calls.append((preset, seed))
        if broken and len(calls) == 2:
            raise KeyboardInterrupt
        line = Line("a number", 1.0, 0.9, 1.1, 1.05, "gap 1e-9")
        return Figure((line,), {"A caption": '<svg viewBox="0 0 1 1"></svg>'})

    figures = {
        "first": Experiment(draw, "A first one", "There is nothing to see."),
        "second": Experiment(draw, "A second one"),
    }
    return Study("toy", ("fan2025spectral",), "A toy", "nothing much", figures)


def test_one_figure_and_presets_are_chosen(tmp_path):
    calls = []
    told = []
    found = toy(calls).run(
        seed=3, preset=Preset.FULL, figure="second", out=tmp_path, report=told.append
    )
    assert calls == [(Preset.FULL, 3)]
    assert told == list(found.parts) == ["second"]
    assert "Preset full, seed 3" in found.ran
    assert "gap 1e-9" in repr(found)
    assert "[second] A second one" in repr(found)
    assert found.parts["second"].title == "A second one"
    assert "--ink" in (tmp_path / "second.svg").read_text(encoding="utf-8")
    with pytest.raises(
        ValueError, match="no figure 'third' in toy; have: first, second"
    ):
        toy([]).run(figure="third")


def test_data_reach_the_figures_that_take_them():
    seen = []

    def reading(preset, seed, data=None):
        seen.append(data)
        return Figure(())

    study = Study(
        "toy",
        ("fan2025spectral",),
        "A toy",
        "nothing much",
        {**toy([]).figures, "third": Experiment(reading, takes_data=True)},
    )
    assert study.reads == ("third",)
    digits = pn.datasets.digits()
    assert "digits for third" in study.run(data=digits).ran
    assert "digits" not in study.run().ran
    assert seen == [digits, None]
    with pytest.raises(ValueError, match=r"figure 'first' of toy .* have: third\."):
        study.run(figure="first", data=digits)
    with pytest.raises(ValueError, match="toy takes no data"):
        toy([]).run(data=digits)


def test_interrupted_studies_have_lost_nothing(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        toy([], broken=True).run(out=tmp_path)
    written = json.loads((tmp_path / "result.json").read_text("utf-8"))
    assert [line["figure"] for line in written["lines"]] == ["first"]
    assert (tmp_path / "first.svg").exists()


def test_per_sample_adam_has_the_figures_of_the_issue():
    study = studies.find("per-sample-adam")
    wanted = {"gaussian", "rademacher", "proxy", "batch-size", "signum", "epsilon",
              "bistable", "decays", "schedules", "uniqueness"}  # fmt: skip
    assert set(study.figures) == wanted


@pytest.fixture(scope="module")
def proxy_figure():
    return studies.find("per-sample-adam").run(seed=5, figure="proxy")


@pytest.mark.slow
def test_adam_proxy_comes_out_on_other_seeds(proxy_figure):
    assert missed(proxy_figure) == []
    assert len(proxy_figure.lines) == 6
    assert all(line.certificate for line in proxy_figure.lines)
    assert len(proxy_figure.figures) == 1


@pytest.mark.slow
@pytest.mark.parametrize("figure", studies.find("per-sample-adam").figures)
@pytest.mark.parametrize("seed", [0, 3])
def test_every_figure_of_per_sample_adam_comes_out(figure, seed):
    found = studies.find("per-sample-adam").run(seed=seed, figure=figure)
    assert missed(found) == []
