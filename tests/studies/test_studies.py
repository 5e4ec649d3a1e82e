import json
import re
from pathlib import Path

import pytest

import penchant as pn
from penchant import studies
from penchant.studies.fan2025spectral import _margins

every = pytest.mark.parametrize("study", studies.STUDIES.values(), ids=lambda s: s.name)


# the note's own numbers for seed 0 (muon_spectral, section 5.3)
SEEN = {
    "SignGD": 0.9955,
    "NGD": 0.955,
    "Spectral-GD": 0.967,
    "Signum": 0.981,
    "NMD-GD": 0.955,
    "Muon": 0.967,
}


@pytest.fixture(scope="module")
def result():
    """Two of the six methods: a third of the time."""
    with pytest.MonkeyPatch.context() as patch:
        for name in set(_margins.ALGORITHMS) - {"SignGD", "Muon"}:
            patch.delitem(_margins.ALGORITHMS, name)
        return studies.find("fan2025spectral").run(seed=0)


def check(result, methods):
    assert [line for line in result.lines if not line.passed] == []
    assert result.passed
    assert len(result.lines) == 2 * len(result.figures) == 2 * methods


def test_margins_of_two_methods_come_out(result):
    check(result, 2)
    shares = [line.measured for line in result.lines if "share" in line.what]
    assert shares == pytest.approx([SEEN["SignGD"], SEEN["Muon"]], abs=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 7])
def test_margins_of_six_methods_come_out(seed):
    found = studies.find("fan2025spectral").run(seed=seed)
    check(found, 6)
    if seed == 0:
        for line in found.lines[::2]:
            method = line.what.split(",")[0]
            assert abs(line.measured - SEEN[method]) < 1e-3


def test_results_are_written(result, tmp_path):
    page = result.save(tmp_path / "study")
    assert page.name == "study.html"
    written = json.loads((tmp_path / "study" / "result.json").read_text("utf-8"))
    assert written == result.to_dict()
    assert written["passed"] is True
    assert len(written["lines"]) == 4
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
    assert "4 of 4 numbers came out" in repr(result)


def test_a_number_that_falls_short_is_said_to(tmp_path):
    line = studies._study.Line("share <of> it", 0.9, 0.8, 1.0, 0.7)
    missed = studies.Result("name", "A title", "What ran.", (line,), {})
    assert not line.passed
    assert not missed.passed
    assert "0 of 1 numbers came out" in repr(missed)
    text = missed.save(tmp_path).read_text(encoding="utf-8")
    assert "falls short" in text
    assert "share &lt;of&gt; it" in text


@every
def test_a_study_bears_the_key_of_its_paper(study):
    assert f"{{{study.name}," in pn.cite(study.name)
    bibliography = Path(__file__).parents[2] / "references.bib"
    assert f"{{{study.name},\n" in bibliography.read_text(encoding="utf-8")
    folder = Path(studies.__file__).parent / study.name
    assert (folder / "__init__.py").exists()
    assert studies.STUDIES[study.name] is studies.find(study.name) is study
    assert study.title
    assert study.summary


def test_names_of_no_study_are_refused():
    with pytest.raises(ValueError, match="no study 'nothing'; have: fan2025spectral"):
        studies.find("nothing")
