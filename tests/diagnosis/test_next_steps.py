import penchant as pn
from penchant.diagnosis.linear._next import _compare
from tests.cases import binary


def test_a_comparison_is_on_the_same_data_and_has_the_rule_in_it():
    assert _compare(
        "penchant diagnose a.csv --target label --optimizer adam --out x --quiet "
        "--eps 0 --standardize --steps 20"
    ) == (
        "penchant compare a.csv --target label --standardize --steps 20 "
        "--optimizers adam,gd,sign"
    )
    assert _compare("penchant diagnose digits --optimizer muon --polar=ns:5") == (
        "penchant compare digits --optimizers muon,gd,adam"
    )


def test_out_of_the_throttle_by_a_shorter_memory_or_past_its_end():
    long = pn.optimizers.Adam(0.9, 0.999)
    says = pn.diagnose(binary(0), long, steps=1_000, step_size=0.01)
    assert says.regime == "throttled"
    end = says.prediction.at(1_000).end
    first, second = says.next
    assert first.endswith("--b2 0.95")
    assert abs(float(second.rsplit(" ", 1)[1]) - 2 * end) < 0.05 * end
    # and the proposal does what it says
    short = pn.diagnose(
        binary(0), pn.optimizers.Adam(0.9, 0.95), steps=1_000, step_size=0.01
    )
    assert short.regime != "throttled"


def test_a_share_that_rises_has_not_stalled():
    # what the second half of the run added is far from any margin, and yet all rise
    says = pn.diagnose(
        binary(0), pn.optimizers.Adam(0.9, 0.999), steps=2_000, step_size=0.003
    )
    assert says.convergence.exponent > 0.1
    assert "stalled" not in [caution.kind for caution in says.warnings]
    assert "can't be told apart" not in says.headline
