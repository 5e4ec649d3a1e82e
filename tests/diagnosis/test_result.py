"""One result file for every kind of diagnosis, held against the docs' schema."""

import json
from pathlib import Path

import jsonschema
import numpy as np
import pytest

import penchant as pn
from penchant.diagnosis._cautions import Kind
from tests.diagnosis.cases import separable

SCHEMA = json.loads(
    (Path(__file__).parents[2] / "docs/assets/result.schema.json").read_text()
)


def network():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(8, 3))
    X[:, 0] += np.sign(X[:, 0])
    net = pn.networks.MLP((3, 4, 1), pn.networks.SquaredReLU())
    return pn.NetworkClassification(
        net, net.params(1), X, np.sign(X[:, 0]), loss=pn.losses.Exponential()
    )


@pytest.fixture(scope="module")
def of_a_network():
    return pn.diagnose(network(), pn.optimizers.Adam(), steps=400, step_size=0.01)


def not_separable():
    X = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]])
    problem = pn.LinearClassification(X, [1, 1, 1], loss=pn.losses.Logistic())
    return pn.diagnose(problem, pn.optimizers.SignDescent(), steps=50, step_size=0.1)


@pytest.mark.slow
def test_every_kind_of_result_fits_the_schema(of_a_network, tmp_path):
    for says in (separable(), not_separable(), of_a_network):
        jsonschema.validate(says.to_dict(), SCHEMA)
        assert isinstance(says, pn.diagnosis.AbstractDiagnosis)
        assert says.verdict.startswith(says.headline)
    of_a_network.save(tmp_path)
    assert pn.diagnosis.read(tmp_path) == json.loads(json.dumps(of_a_network.to_dict()))
    assert "NetworkDiagnosis: " in repr(of_a_network)


def test_the_schema_knows_every_kind_of_warning():
    item = SCHEMA["properties"]["warnings"]["items"]["properties"]
    assert item["kind"]["enum"] == [kind.value for kind in Kind]


def test_old_names_of_a_network_diagnosis_still_work(of_a_network):
    with pytest.warns(DeprecationWarning, match="is now .table"):
        assert of_a_network.rows == of_a_network.table.rows
    with pytest.warns(DeprecationWarning, match="is now .separable"):
        assert of_a_network.separated == (of_a_network.separable is True)
    with pytest.warns(DeprecationWarning, match="MarginPath"):
        assert pn.diagnosis.Path is pn.diagnosis.MarginPath


FIRST = {
    "format": 1,
    "verdict": "Adam has not separated the data. 3 of 8 are wrong.",
    "separated": False,
    "winner": None,
    "predicted": "ℓ2",
    "agrees": None,
    "regime": "limit",
    "table": [],
    "warnings": [{"kind": "ended_early", "headline": "h", "detail": "d"}],
    "prediction": None,
    "limit": None,
    "share_of_eps": 0.25,
    "run": {"steps": 1, "log_loss": 0.0, "least_margin": None, "outcome": "diverged",
            "seconds": 0.1},
    "settings": {"samples": 8, "optimizer": "Adam()", "steps": 1},
}  # fmt: skip


def test_files_of_format_1_are_read(tmp_path):
    file = tmp_path / "result.json"
    file.write_text(json.dumps(FIRST))
    found = pn.diagnosis.read(tmp_path)
    jsonschema.validate(found, SCHEMA)
    assert found["separable"] is None
    assert found["evidence"] == {"limit": None, "share_of_eps": 0.25}
    linear = FIRST | {"separable": True, "headline": "Adam has not separated the data."}
    del linear["separated"]
    file.write_text(json.dumps(linear | {"convergence": None, "minimiser": None}))
    found = pn.diagnosis.read(file)
    jsonschema.validate(found, SCHEMA)
    assert found["explanation"] == "3 of 8 are wrong."


@pytest.mark.parametrize(
    "text", ["", "[]", '{"format": 3, "verdict": "", "table": []}', "{}"]
)
def test_other_files_are_refused(tmp_path, text):
    file = tmp_path / "result.json"
    file.write_text(text)
    with pytest.raises(ValueError, match="is no result of a diagnosis"):
        pn.diagnosis.read(file)


def test_a_gap_that_is_missing_does_not_win(of_a_network):
    from penchant.diagnosis.network._diagnose import _judge

    row = lambda norm, gap: pn.diagnosis.NetworkRow(
        norm.label, norm, 1.0, 0.5, None, gap
    )
    rows = (row(pn.norms.L2(), None), row(pn.norms.Linf(), 1e-5))
    problem = of_a_network.trajectory.rule.problem
    found = pn.limit(problem, of_a_network.trajectory)
    told = of_a_network.prediction
    winner, *_ = _judge(rows, found, told, "Adam", None)
    assert winner == pn.norms.Linf()
