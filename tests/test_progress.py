"""What is said while something is under way, where, and how wide."""

import io
import re

import pytest
from rich.console import Console

import penchant as pn
from penchant import _progress
from penchant._progress import Stages, duration, is_shown, progress_bar, tally


@pytest.fixture
def screen(monkeypatch):
    """A terminal of 60 columns, and what was written to it."""
    written = io.StringIO()
    console = Console(file=written, force_terminal=True, width=60)
    monkeypatch.setattr(_progress, "_console", lambda: console)
    monkeypatch.setattr(_progress, "LONG", 0.0)
    return written


def lines(text):
    """What stood on each line at some time, without colours and cursor moves."""
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
    return re.split(r"[\r\n]+", plain)


@pytest.fixture
def minutes(monkeypatch):
    """A clock on which every look is a minute later."""
    now = [0.0]

    def later():
        now[0] += 60.0
        return now[0]

    monkeypatch.setattr(_progress.time, "monotonic", later)


def test_no_line_of_a_bar_is_wider_than_the_terminal(screen):
    with progress_bar(True, 300_000, 0, "training") as report:
        report(1, -0.7)
        for step in range(10_000, 310_000, 10_000):
            report(step, -12345.678)
    shown = [line for line in lines(screen.getvalue()) if line.strip()]
    assert max(map(len, shown)) <= 60
    assert any("compiling" in line for line in shown)
    assert "training, 300,000 steps" in shown[-1]


def test_a_stage_has_its_time_and_the_last_one_too(screen):
    with Stages(True) as stages:
        stages("largest ℓ2 margin")
        stages("minimiser")
    shown = lines(screen.getvalue())
    for name in ("largest ℓ2 margin", "minimiser"):
        assert any(re.fullmatch(rf"{name}: \d+\.\d s", line) for line in shown)
    assert max(map(len, shown)) <= 60


def test_the_parts_of_a_stage_are_counted_on_its_line(screen):
    with Stages(True) as stages:
        stages("network")
        begins = tally(3)
        for _ in range(3):
            begins()
            stages.clock.refresh()
    shown = lines(screen.getvalue())
    assert [n for n in range(5) if any(f"network, {n} of 3" in x for x in shown)] == [
        1,
        2,
        3,
    ]


def test_off_a_terminal_parts_are_told_ten_times_at_most(capsys):
    with Stages(True) as stages:
        stages("runs")
        begins = tally(42)
        for _ in range(42):
            begins()
    told = [x for x in capsys.readouterr().err.splitlines() if " of 42" in x]
    assert 8 <= len(told) <= 10


def test_parts_that_nobody_watches_are_said_to_nobody(capsys):
    begins = tally(2)
    begins()
    with Stages(False) as stages:
        stages("runs")
        begins()
    assert capsys.readouterr().err == ""


def test_off_a_terminal_there_is_a_line_at_every_tenth(capsys, minutes):
    with progress_bar(True, 1000, 0, "training") as report:
        for step in (1, *range(20, 1001, 20)):
            report(step, -1.0)
    told = capsys.readouterr().err.splitlines()
    assert told[0] == "training: compiling …"
    assert told[1].startswith("training: compiled in ")
    assert [int(line.split()[1]) for line in told[2:]] == list(range(10, 101, 10))
    # time left is that of the steps left, at the rate so far
    assert "left" in told[6]
    assert "left" not in told[-1]


def test_a_resumed_run_says_its_tenths_from_there(capsys):
    with progress_bar(True, 1000, 550, "training") as report:
        for step in range(551, 1001):
            report(step, -1.0)
    told = capsys.readouterr().err.splitlines()[2:]
    assert [int(line.split()[1]) for line in told] == [60, 70, 80, 90, 100]


@pytest.mark.slow
def test_nothing_is_said_to_nobody(capsys):
    problem = pn.datasets.gaussian(6, 12, seed=0).problem()
    rule = pn.optimizers.SignDescent()
    pn.train(problem, rule, steps=5, step_size=0.1)
    pn.diagnose(problem, rule, steps=5, norms=["l2"])
    assert capsys.readouterr().err == ""
    pn.train(problem, rule, steps=5, step_size=0.1, progress=True)
    assert "training: 100 %" in capsys.readouterr().err


def test_a_terminal_or_a_notebook_is_shown_unasked(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    assert not is_shown(None)
    assert is_shown(True)
    monkeypatch.setattr("sys.stderr", Terminal())
    assert is_shown(None)
    assert not is_shown(False)
    monkeypatch.setattr("sys.stderr", io.StringIO())
    monkeypatch.setattr(_progress, "_in_notebook", lambda: True)
    assert is_shown(None)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.04, "0.0 s"), (3.21, "3.2 s"), (48.0, "48 s"), (125.0, "2 min 5 s"),
     (3599.7, "1 h 0 min"), (3840.0, "1 h 4 min")],
)  # fmt: skip
def test_seconds_as_people_say_them(seconds, said):
    assert duration(seconds) == said


def test_functions_get_the_stages_of_a_diagnosis():
    problem = pn.datasets.gaussian(6, 12, seed=0).problem()
    seen = []
    pn.diagnose(
        problem,
        pn.optimizers.Adam(0.9, 0.95, 0.0),
        batching=pn.batching.Cyclic(1),
        steps=50,
        norms=["l2"],
        progress=seen.append,
    )
    assert "training, 50 steps" in seen
    assert "limits with these batches" in seen
    assert seen.index("training, 50 steps") < seen.index("limits with these batches")
