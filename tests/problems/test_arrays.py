"""Other people's arrays: taken whole, or refused in a sentence."""

import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
import scipy.sparse

import penchant as pn

LOSS = pn.losses.Logistic()
X = np.random.default_rng(0).normal(size=(6, 9))
Y = np.array([-1, 1, 1, -1, 1, -1])


def problem(X, y=Y):
    return pn.LinearClassification(X, y, loss=LOSS)


def test_masked_entries_are_missing_values():
    hole = np.ma.masked_array(X, mask=np.arange(54).reshape(6, 9) == 22)
    with pytest.raises(
        ValueError, match=r"X must have no missing.*1 entries.*\(2, 4\)"
    ):
        problem(hole)
    with pytest.raises(ValueError, match="y must have no missing values"):
        problem(X, np.ma.masked_equal(Y, 1))
    for name, call in {
        "X": lambda: pn.Regression(lambda w, X: X @ w, jnp.zeros(9), hole, Y),
        "data": lambda: pn.Objective(lambda w, b: b @ w, jnp.zeros(9), hole),
        "init": lambda: pn.train(
            problem(X),
            pn.optimizers.Adam(),
            steps=2,
            step_size=0.1,
            init=np.ma.masked_array(np.ones(9), mask=[1] + 8 * [0]),
        ),
    }.items():
        with pytest.raises(ValueError, match=f"{name} must have no missing values"):
            call()
    assert np.array_equal(problem(np.ma.masked_array(X)).X, X)


def test_what_is_no_number_is_refused():
    for bad, what in (
        (X + 1j, "complex numbers"),
        (np.full((6, 9), "2020-01-01", "datetime64[D]"), "dates"),
        (np.full((6, 9), 1, "timedelta64[s]"), "times"),
        (np.full((6, 9), "a"), "ndarray"),
    ):
        with pytest.raises(TypeError, match=f"X must be an array of numbers.*{what}"):
            problem(bad)
    with pytest.raises(TypeError, match="y must be an array of numbers"):
        problem(X, Y + 0j)


def test_sparse_matrices_and_tables_are_taken():
    thin = np.where(np.abs(X) > 1, X, 0.0)
    assert np.array_equal(problem(scipy.sparse.csr_array(thin)).X, thin)
    assert np.array_equal(problem(scipy.sparse.coo_matrix(thin)).X, thin)
    table = pd.DataFrame(X, columns=[f"c{i}" for i in range(9)])
    names = pd.Series(np.where(Y < 0, "cat", "dog"), index=range(10, 16))
    read = problem(table, names)
    assert np.array_equal(read.X, X)
    assert np.array_equal(read.y, Y)
    assert read.names == ("cat", "dog")
    assert read.binary
    nullable = table.convert_dtypes()
    assert np.array_equal(problem(nullable).X, X)
    nullable.iloc[2, 4] = pd.NA
    with pytest.raises((TypeError, ValueError), match=r"^X must be"):
        problem(nullable)


@pytest.mark.slow
def test_tensors_of_every_kind_are_taken():
    torch = pytest.importorskip("torch")
    tensor = torch.tensor(X)
    half = tensor.to(torch.bfloat16)
    linear = torch.nn.Linear(9, 1, bias=False, dtype=torch.float64)
    for given, kind in (
        (tensor, "float64"),
        (tensor.clone().requires_grad_(), "float64"),
        (half, "bfloat16"),
        (tensor.float(), "float32"),
        (tensor.to_sparse(), "float64"),
    ):
        read = problem(given, torch.tensor(Y))
        assert read.given == kind
        wanted = given.detach().double()
        assert np.array_equal(
            read.X, (wanted.to_dense() if wanted.is_sparse else wanted)
        )
    read = problem(tensor)
    row = linear.weight[0]
    assert np.array_equal(read.read(row), row.detach())
    with pytest.raises(ValueError, match="shape of the weights"):
        read.read(linear.weight)
    said = pn.diagnose(problem(half), pn.optimizers.SignDescent(), steps=100)
    assert any("bfloat16" in str(w) for w in said.warnings)


def test_outputs_that_are_not_finite_are_said_to_be_that():
    w = np.random.default_rng(1).normal(size=9)
    with pytest.raises(ValueError, match=r"finite at the params given; it is nan for"):
        pn.NetworkClassification(lambda w, X: jnp.log(X @ w), w, X, Y, loss=LOSS)
    with pytest.raises(ValueError, match=r"it is inf for 6 of 6 samples.*row 0"):
        pn.NetworkClassification(
            lambda w, X: X @ w + jnp.inf * jnp.sum(w**2), w, X, Y, loss=LOSS
        )
    # defined for positive parameters only, where it is homogeneous of degree ½
    roots = pn.NetworkClassification(
        lambda w, X: X @ jnp.sqrt(w), np.abs(w), X, Y, loss=LOSS
    )
    assert roots.degree == pytest.approx(0.5)
