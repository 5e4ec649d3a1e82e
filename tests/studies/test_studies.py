import json
import re
from pathlib import Path

import pytest

import penchant as pn
from penchant import studies
from penchant.studies import Figure, Line, Preset, Study

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
    }
    for line in result.lines:
        assert line.what in text
    assert "falls short" not in text
    count = len(result.lines)
    assert f"{count} of {count} numbers came out" in repr(result)


def test_a_number_that_falls_short_is_said_to(tmp_path):
    line = Line("share <of> it", 0.9, 0.8, 1.0, 0.7)
    missed = studies.Result("name", "A title", "What ran.", {"one": Figure((line,))})
    assert not line.passed
    assert not missed.passed
    assert "0 of 1 numbers came out" in repr(missed)
    text = missed.save(tmp_path).read_text(encoding="utf-8")
    assert "falls short" in text
    assert "share &lt;of&gt; it" in text


@every
def test_a_study_names_its_paper(study):
    assert f"{{{study.source}," in pn.cite(study.source)
    bibliography = Path(__file__).parents[2] / "references.bib"
    assert f"{{{study.source},\n" in bibliography.read_text(encoding="utf-8")
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

    figures = {"first": draw, "second": draw}
    return Study("toy", "fan2025spectral", "A toy", "nothing much", figures)


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
        "fan2025spectral",
        "A toy",
        "nothing much",
        {**toy([]).figures, "third": reading},
        reads=("third",),
    )
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
    assert [line for line in proxy_figure.lines if not line.passed] == []
    assert len(proxy_figure.lines) == 6
    assert all(line.certificate for line in proxy_figure.lines)
    assert len(proxy_figure.figures) == 1


@pytest.mark.slow
@pytest.mark.parametrize("figure", studies.find("per-sample-adam").figures)
@pytest.mark.parametrize("seed", [0, 3])
def test_every_figure_of_per_sample_adam_comes_out(figure, seed):
    found = studies.find("per-sample-adam").run(seed=seed, figure=figure)
    assert [line for line in found.lines if not line.passed] == []
