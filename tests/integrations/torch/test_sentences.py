"""What the sentences of a reading must not say."""

from penchant.diagnosis.probe._reading import reading
from penchant.diagnosis.probe._recording import Recording


def recording(groups, lines, **run):
    about = {"groups": groups, "sides": [None], "last_step": 90, **run}
    records = [
        {"step": step, "group": group, **values} for step, group, values in lines
    ]
    return Recording(about, records, [])


ADAM = {"name": "all", "optimizer": "Adam", "first": 0.9, "second": 0.999}


def regime(*, throttled):
    values = {
        "signal": [0.05, 1e-4],
        "noise_signal": 0.183,
        "throttled": [throttled, 1e-4],
        "median_root": 1e-2 if throttled else 1.0,
        "eps": 1e-2,
        "dead": 0.0,
    }
    lines = [(step, "all", values) for step in (30, 60, 90)]
    return str(reading(recording([ADAM], lines)))


def test_a_signal_that_eps_lowers_is_not_said_to_be_memory():
    assert "remembers larger" in regime(throttled=0.0)
    said = regime(throttled=0.4)
    assert "ε is in play" in said
    assert "remembers" not in said


def test_a_decay_that_a_schedule_moves_is_compared_with_that_of_the_same_steps():
    lines = [
        (step, "all", {"applied_decay": [x, 1e-6], "decay": x, "lr": 1e-3})
        for step, x in ((0, 0.1), (70, 0.04), (80, 0.03), (90, 0.02))
    ]
    said = str(reading(recording([ADAM], lines)))
    assert "weight decay 0.03 ±" in said
    assert "(asked: 0.03)" in said


def test_a_rule_without_memory_has_no_first_moment_to_quote():
    lines = [
        (
            90,
            None,
            {
                "validity_first": 0.0,
                "share_valid": [0.9, 0.01],
                "correction_ratio": 0.1,
            },
        )
    ]
    plain = [{"name": "all", "optimizer": "SGD", "first": 0.0, "second": None}]
    assert "First moment" not in str(reading(recording(plain, lines)))
    heavy = [{**plain[0], "first": 0.9}]
    assert "First moment" in str(reading(recording(heavy, lines)))


def test_a_threshold_is_missed_only_where_the_curvature_was_looked_at():
    early = [(10, None, {"threshold_why": "the first moment has not filled yet"})]
    assert not reading(recording([ADAM], early)).not_measured
    looked = [(10, None, {**early[0][2], "largest": {"lower": 1.0, "upper": 1.1}})]
    assert reading(recording([ADAM], looked)).not_measured
