import jax.numpy as jnp
import numpy as np
import pytest

import penchant as pn
from penchant import norms, optimizers
from penchant.diagnosis._defaults import default_step_size, default_steps
from penchant.diagnosis.linear._catalogue import Catalogue, usual_norms
from penchant.margins import UndecidedError
from penchant.margins._solvers.rows import PairRows
from penchant.theory import longest_row
from tests.cases import binary, multiclass, name, paper_data
from tests.diagnosis.cases import (
    SIGN,
    falling,
    kinds,
    past_eps,
    separable,
    several,
)

LOGISTIC, EXPONENTIAL = pn.losses.Logistic(), pn.losses.Exponential()

# muon_spectral, sections 5.3 and 2: seed 0, 10^4 steps of eta_0 t^-1/2
PAPER = [
    (SIGN, 0.1, norms.Linf(), 0.9955),
    (optimizers.SteepestDescent(norms.L2()), 0.1, norms.L2(), 0.955),
    (optimizers.Muon(0.9), 0.05, norms.Spectral(), 0.967),
]
COMPARED = (norms.Linf(), norms.L2(), norms.Spectral())


@pytest.mark.slow
@pytest.mark.parametrize("case", PAPER, ids=name)
def test_each_method_picks_its_own_margin_on_the_paper_data(case):
    optimizer, first, norm, ratio = case
    says = pn.diagnose(
        paper_data(0),
        optimizer,
        steps=10_000,
        step_size=pn.schedules.power(first, 0.5, offset=1),
        norms=COMPARED,
    )
    assert repr(says.winner) == repr(says.predicted) == repr(norm)
    assert says.agrees is True
    assert abs(says.table[norm].ratio - ratio) <= 3e-3
    assert [row.label for row in says.table] == [n.label for n in COMPARED]
    consistent(says)


def consistent(says):
    """What holds of every diagnosis of separable data."""
    for row in says.table:
        assert row.upper >= row.best >= max(row.reached, row.increment_reached)
        assert row.best > 0
        if row.reached > 0:
            assert row.lowest_ratio <= row.ratio <= 1.0
        path = says.paths[row.label]
        ratio, proved = np.asarray(path.ratio), np.asarray(path.proved)
        assert len(ratio) == len(says.trajectory.steps)
        assert np.isclose(ratio[-1], row.ratio, rtol=1e-12)
        right = ratio > 0
        assert np.all(proved[right] <= ratio[right] * (1 + 1e-6))
        if row.cosine is not None:
            assert row.unique
            assert abs(row.cosine) <= 1 + 1e-12
    if says.agrees:
        assert ": the run confirms it." in says.heading


@pytest.mark.parametrize(
    "made", [separable, past_eps, pytest.param(several, marks=pytest.mark.slow)]
)
def test_margins_lie_below_their_bounds(made):
    consistent(made())


@pytest.mark.slow
def test_muon_picks_the_spectral_margin():
    says = several()
    assert repr(says.winner) == repr(says.predicted) == "Spectral()"
    assert says.agrees is True
    assert says.table["spectral"].ratio > 0.98
    others = [row.ratio for row in says.table if row.label != "spectral"]
    assert max(others) < 0.97


def test_rows_are_margins_of_the_last_weights_and_of_the_increment():
    says = separable()
    problem, run = says.trajectory.rule.problem, says.trajectory
    for row in says.table:
        best = pn.max_margin(problem, row.norm, tol=1e-6)
        for w, reached in (
            (run.weights[-1], row.reached),
            (run.increment(), row.increment_reached),
        ):
            margin = float(np.min(problem.margins(w)) / row.norm(w))
            assert np.isclose(margin, reached, rtol=1e-12)
        assert np.isclose(row.best, float(best.margin), rtol=1e-6)
        v = np.asarray(best.weights)
        if row.unique:
            w = np.asarray(run.last)
            cosine = w @ v / np.linalg.norm(v) / np.linalg.norm(w)
            assert np.isclose(row.cosine, cosine, atol=1e-9)


def test_a_table_is_looked_up_by_label_norm_and_place():
    table = separable().table
    assert len(table) == 3
    assert table["ℓ∞"] is table[norms.Linf()] is table[2]
    assert [row.label for row in table] == ["ℓ1", "ℓ2", "ℓ∞"]
    for missing in ("l2", norms.Lp(3.0)):
        with pytest.raises(KeyError, match="have: ℓ1, ℓ2, ℓ∞"):
            table[missing]
    assert "share" in repr(table).splitlines()[0]
    assert len(repr(table).splitlines()) == 4


def test_usual_norms_by_the_shape_of_the_weights():
    assert [row.label for row in separable().table] == ["ℓ1", "ℓ2", "ℓ∞"]
    labels = [row.label for row in several().table]
    assert labels == ["ℓ1", "ℓ2", "ℓ∞", "spectral", "nuclear"]


def test_the_predicted_norm_joins_those_asked_for():
    says = pn.diagnose(
        multiclass(0),
        optimizers.SteepestDescent(norms.Lp(3.0)),
        steps=3_000,
        norms=[norms.L2(), norms.Frobenius(), norms.Lp(2.0)],
    )
    assert [row.label for row in says.table] == ["ℓ2", "ℓ3"]
    assert repr(says.winner) == "Lp(p=3.0)"
    assert says.agrees is True
    consistent(says)


def test_norms_of_one_name_have_rows_of_their_own():
    problem = binary(0)
    M = jnp.arange(1.0, 13.0)
    compared = [norms.Mahalanobis(M), norms.Mahalanobis(M[::-1])]
    rule = optimizers.SteepestDescent(compared[1])
    says = pn.diagnose(problem, rule, steps=3_000, norms=compared)
    labels = ["Mahalanobis", "Mahalanobis (2)"]
    assert [row.label for row in says.table] == list(says.paths) == labels
    assert says.table[says.winner] is says.table[1]
    assert says.to_dict()["winner"] == "Mahalanobis (2)"
    consistent(says)


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_scaling_the_data_changes_no_share(scale):
    problem, says = binary(0), separable()
    twin = pn.LinearClassification(
        scale * np.asarray(problem.X), problem.y, loss=problem.loss
    )
    other = pn.diagnose(twin, SIGN, steps=5_000, step_size=falling(twin))
    for one, two in zip(says.table, other.table, strict=True):
        assert np.isclose(one.ratio, two.ratio, rtol=1e-6)
        assert np.isclose(one.increment_ratio, two.increment_ratio, rtol=1e-6)
        assert np.isclose(scale * one.best, two.best, rtol=1e-6)
    assert other.headline == says.headline


def test_order_of_samples_and_features_changes_no_share():
    problem, says = binary(0), separable()
    rng = np.random.default_rng(1)
    rows, columns = rng.permutation(8), rng.permutation(12)
    X = np.asarray(problem.X)[rows][:, columns]
    twin = pn.LinearClassification(X, np.asarray(problem.y)[rows], loss=problem.loss)
    other = pn.diagnose(twin, SIGN, steps=5_000, step_size=falling(twin))
    for one, two in zip(says.table, other.table, strict=True):
        assert np.isclose(one.ratio, two.ratio, rtol=1e-6)
        assert np.isclose(one.best, two.best, rtol=1e-6)


DEFAULTS = [
    SIGN,
    optimizers.Adam(),
    optimizers.Muon(),
    optimizers.SteepestDescent(norms.L2()),
    optimizers.SteepestDescent(norms.Lp(3.0), normalized=False),
    optimizers.GradientDescent(),
]


@pytest.mark.parametrize("optimizer", DEFAULTS, ids=name)
def test_default_step_sizes_go_with_the_scale_of_the_data(optimizer):
    problem = multiclass(0)
    power = 2 if isinstance(optimizer, optimizers.GradientDescent) else 1
    power = 2 if not getattr(optimizer, "normalized", True) else power
    first = first_step(problem, optimizer)
    for exponent in (-4, 3):
        scale = 10.0**exponent
        X = scale * np.asarray(problem.X)
        twin = pn.LinearClassification(X, problem.y, loss=problem.loss)
        assert np.isclose(first_step(twin, optimizer) * scale**power, first, rtol=2e-3)
    if power == 1:  # the last step moves no margin by more than a tenth
        R = longest_row(problem, optimizer.character().steps)
        what = optimizer.character()
        most = 0.03 if what.first is None and what.second is None else 0.1
        assert np.isclose(first * R * np.sqrt(2 / 10_000), most, rtol=6e-3)
        # and where margins of 300 come with less, by less
        seen = default_step_size(problem, optimizer, 10_000, 1e3 * R)
        assert float(seen(0.0)) < 0.1 * first


def first_step(problem, optimizer, steps=10_000):
    step_size = default_step_size(problem, optimizer, steps)
    if isinstance(step_size, pn.schedules.LossBased):
        return float(step_size.scale)
    return float(step_size(0.0)) if callable(step_size) else step_size


def test_adagrad_which_slows_down_by_itself_gets_a_constant_step():
    problem = multiclass(0)
    step_size = default_step_size(problem, optimizers.AdaGrad(), 10_000)
    assert isinstance(step_size, pn.schedules.Constant)
    # by bounded gradients its divisor grows like the root of the steps: ten times the
    # tenth that others move margins by at the end, since gradients fall with the loss
    R = longest_row(problem, norms.Linf())
    assert np.isclose(float(step_size.scale) * R / np.sqrt(10_000), 1.0, rtol=6e-3)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_decay_throws_no_weights_past_zero_in_any_unit(scale):
    problem = multiclass(0)
    twin = pn.LinearClassification(
        scale * np.asarray(problem.X), problem.y, loss=problem.loss
    )
    rule = optimizers.AdamW(weight_decay=0.1)
    step_size = default_step_size(twin, rule, 300)
    assert first_step(twin, rule, 300) * 0.1 <= 0.5
    run = pn.train(twin, rule, steps=300, step_size=step_size, record=3)
    assert run.outcome is pn.training.Outcome.COMPLETE
    # decay has the unit of weights: it holds margins down where features are small
    assert (float(run.margins[-1].min()) > 0) or scale < 1


def test_default_step_sizes_where_there_is_no_scale():
    zeros = pn.LinearClassification(np.zeros((2, 3)), [1, -1], loss=LOGISTIC)
    for optimizer in DEFAULTS:
        assert 0 < first_step(zeros, optimizer) < np.inf
    for scale in (1e-200, 1e200):
        X = scale * np.asarray(binary(0).X)
        extreme = pn.LinearClassification(X, binary(0).y, loss=LOGISTIC)
        with pytest.raises(ValueError, match="rescale the features"):
            default_step_size(extreme, optimizers.GradientDescent(), 100)


def test_default_steps_depend_on_the_size_of_the_data_alone():
    whole = pn.batching.FullBatch()
    assert default_steps(binary(0), whole) == 300_000
    large = pn.LinearClassification(
        np.ones((20_000, 2_000), np.float32), np.ones(20_000), loss=LOGISTIC
    )
    assert default_steps(large, whole) == 3_000
    middle = pn.LinearClassification(np.ones((1000, 500)), np.ones(1000), loss=LOGISTIC)
    assert 3_000 < default_steps(middle, whole) < 300_000
    assert default_steps(large, pn.batching.Cyclic(1)) == 300_000
    # a rule that factors matrices pays for them
    wide = pn.datasets.gaussian(20, 100, seed=0).problem()
    assert default_steps(wide, whole, optimizers.SignDescent()) == 300_000
    assert default_steps(wide, whole, optimizers.Shampoo(0.0)) == 300_000
    assert default_steps(wide, whole, optimizers.Shampoo()) == 3_000


SEVERAL = multiclass(0)
EVERY = [
    (optimizers.read(rule), pn.batching.FullBatch())
    for rule in ("gd", "sign", "signum", "adam", "rmsprop", "adagrad")
] + [
    (optimizers.GradientDescent(0.9), pn.batching.FullBatch()),
    (optimizers.GradientDescent(), pn.batching.Shuffled(4)),
    (optimizers.Lion(), pn.batching.FullBatch()),
    (optimizers.Muon(), pn.batching.FullBatch()),
    (optimizers.Shampoo(), pn.batching.FullBatch()),
]


@pytest.mark.sampled
@pytest.mark.parametrize("case", EVERY, ids=name)
@pytest.mark.parametrize("scale", [1e-4, 1e3])
def test_default_steps_separate_in_any_unit(case, scale):
    rule, batching = case
    problem = pn.LinearClassification(
        scale * np.asarray(SEVERAL.X), SEVERAL.y, loss=LOGISTIC
    )
    run = pn.train(
        problem,
        rule,
        batching=batching,
        steps=2_000,
        step_size=default_step_size(problem, rule, 2_000),
        record=2,
    )
    assert float(run.margins[-1].min()) > 0


def test_one_sample():
    problem = pn.LinearClassification([[1.0, -2.0, 3.0]], [1], loss=EXPONENTIAL)
    says = pn.diagnose(problem, SIGN, steps=500)
    assert repr(says.winner) == "Linf()"
    assert says.table["ℓ∞"].ratio == pytest.approx(1.0, abs=1e-12)
    assert says.table["ℓ∞"].best == pytest.approx(6.0)
    assert says.agrees is True


@pytest.mark.slow
def test_one_feature_has_one_norm():
    X, y = [[1.0], [-2.0], [0.5]], [1, -1, 1]
    problem = pn.LinearClassification(X, y, loss=EXPONENTIAL)
    says = pn.diagnose(problem, SIGN, steps=500)
    assert says.agrees is None  # nothing tells them apart
    assert [row.ratio for row in says.table] == pytest.approx([1.0] * 3)
    assert "can't be told apart" in says.headline


def test_batches_of_which_theory_knows_nothing():
    says = pn.diagnose(
        binary(0), SIGN, steps=2_000, batching=pn.batching.Cyclic(2), key=1
    )
    assert says.predicted is None
    assert says.agrees is None
    assert "Theory gives no limit here" in says.explanation
    consistent(says)


def test_adagrad_is_held_against_its_own_norm():
    problem = binary(0)
    X = np.asarray(problem.X) * np.geomspace(0.1, 10.0, 12)
    problem = pn.LinearClassification(X, problem.y, loss=EXPONENTIAL)
    rule = optimizers.AdaGrad()
    says = pn.diagnose(problem, rule, steps=100_000, step_size=0.1)
    assert says.winner.label == says.predicted.label == "Mahalanobis"
    assert says.agrees is True
    assert says.table["Mahalanobis"].increment_ratio > 0.99


def test_what_does_not_fit_is_refused():
    problem = binary(0)
    for kind, given in (
        (TypeError, {"problem": np.eye(2)}),
        (TypeError, {"optimizer": 3}),
        (ValueError, {"optimizer": "adamm"}),
        (TypeError, {"batching": 3}),
        (ValueError, {"batching": pn.batching.Cyclic(9)}),
        (ValueError, {"steps": 0}),
        (ValueError, {"step_size": -1.0}),
        (ValueError, {"norms": []}),
        (TypeError, {"norms": [3]}),
        (ValueError, {"norms": ["l3"]}),
        (ValueError, {"norms": [norms.Mahalanobis(jnp.ones(3))]}),
        (ValueError, {"init": np.zeros(3)}),
    ):
        with pytest.raises(kind):
            pn.diagnose(**{"problem": problem, "optimizer": SIGN, "steps": 9, **given})


def test_stages_are_told():
    stages = []
    pn.diagnose(binary(0), SIGN, steps=5_000, progress=stages.append)
    assert stages[0] == "largest ℓ2 margin"
    assert "training, 5,000 steps" in stages
    assert kinds(separable()) == ["not-converged"]


def test_margins_computed_beside_the_run_are_those_computed_alone():
    problem = multiclass(3)
    beside, alone = Catalogue(problem), Catalogue(problem)
    measured = usual_norms(problem)
    beside.begin(measured)
    for norm in measured:
        a, b = beside.best(norm), alone.best(norm)
        assert float(a.margin) == float(b.margin)
        assert bool(jnp.all(a.weights == b.weights))
        assert beside.is_unique(a) == alone.is_unique(b)


def test_a_margin_that_a_thread_leaves_undecided_is_that_of_the_run(monkeypatch):
    problem = multiclass(3)
    catalogue = Catalogue(problem)
    alone = pn.max_margin(problem, "l1")

    def undecided(self, norm):
        rows = PairRows.of(problem)
        q = np.where(rows.real, 1.0 / rows.count, 0.0)
        raise UndecidedError(rows, q, 0.0, upper=9.0, scale=1.0, label=norm.label)

    monkeypatch.setattr(Catalogue, "_solve", undecided)
    catalogue.begin([norms.L1()])
    catalogue.separating = alone.weights
    best = catalogue.best(norms.L1())
    assert best.method == "the run itself"
    assert catalogue.is_unique(best) in (True, False, None)
