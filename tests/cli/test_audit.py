import json

import numpy as np


def test_the_audit_of_a_file_of_sequences(run, here):
    X = np.zeros((3, 7))
    X[[0, 2], 0], X[1, 5] = 1.0, 1.0
    np.savez(here / "sequences.npz", X=X, y=np.ones(3))
    told = run("audit", "sequences.npz", "--ssm")
    assert told.exit_code == 0, told.output
    assert "1 of 3 examples holds 90 %" in told.stdout
    assert "rank 2 of 7 lags" in told.stdout
    found = json.loads(run("audit", "sequences.npz", "--ssm", "--json").stdout)
    assert found["scores"] == [0.0, 1.0, 0.0]
    assert found["excitation"]["free"] == 5
    assert found["data"] == "sequences.npz"


def test_an_audit_says_what_it_can_not_read(run, here):
    (here / "bad.csv").write_text("1,2\n3,four\n")
    told = run("audit", "bad.csv", "--ssm")
    assert told.exit_code == 2
    assert "no number" in told.output
    told = run("audit", "bad.csv")
    assert told.exit_code == 2


def test_the_audit_of_two_classes(run, here):
    told = run("audit", "digits", "--classes", "3,8", "--rows", "40")
    assert told.exit_code == 0, told.output
    assert "Max margin is not least squares" in told.stdout
    assert "held-out" not in told.stdout.split("\n")[1]
    found = json.loads(
        run("audit", "digits", "--classes", "1,7", "--folds", "3", "--json").stdout
    )
    assert found["n"] == 361
    assert found["interpolating"] is None
    assert found["measured"]["how"] == "cross-validation in 3 folds"
    assert len(found["support"]) == 361


def test_an_audit_names_what_it_needs(run, here):
    told = run("audit", "digits")
    assert told.exit_code == 2
    assert "--classes 0,1" in told.output
    told = run("audit", "digits", "--classes", "1,7", "--rows", "900")
    assert told.exit_code == 2
    assert "--rows" in told.output
    np.savez(here / "sequences.npz", X=np.eye(3), y=np.ones(3))
    told = run("audit", "sequences.npz", "--ssm", "--folds", "3")
    assert told.exit_code == 2
    assert "--folds" in told.output
