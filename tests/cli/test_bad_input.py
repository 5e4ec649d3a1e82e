import gzip
import json

import numpy as np
import pytest

from tests.cli.conftest import table


def idx(magic, shape, body):
    sizes = b"".join(n.to_bytes(4, "big") for n in shape)
    return bytes([0, 0, 8, magic]) + sizes + body


def truncated_idx(here):
    images = gzip.compress(idx(3, (2, 2, 2), bytes(8)))
    (here / "t-images-idx3-ubyte.gz").write_bytes(images[:-9])
    labels = gzip.compress(idx(1, (2,), bytes([0, 1])))
    (here / "t-labels-idx1-ubyte.gz").write_bytes(labels)
    return "t-images-idx3-ubyte.gz"


def pickled(here):
    np.save(here / "X.npy", np.array([{1: 2}], dtype=object), allow_pickle=True)
    np.save(here / "y.npy", np.array([0, 1]))
    return "X.npy,y.npy"


def objects(here):
    X = np.array([[1, "a"], [2, None]], dtype=object)
    np.savez(here / "data.npz", X=X, y=np.array([0, 1]))
    return "data.npz"


def holding(content, name="data.csv"):
    def make(here):
        (here / name).write_bytes(content)
        return name

    return make


def folder(here):
    (here / "data.csv").mkdir()
    return "data.csv"


BROKEN = {
    "missing": (lambda here: "nowhere.csv", "is no file"),
    "empty": (holding(b""), "is empty"),
    "folder": (folder, "is a folder"),
    "truncated gzip": (truncated_idx, "can't be read"),
    "binary": (holding(bytes(range(256)) * 20), "is not text"),
    "other extension": (holding(b"1 2 3", "data.dat"), "'.dat' are not read"),
    "pickled npy": (pickled, "never loaded"),
    "objects in npz": (objects, "never loaded"),
    "no parquet": (holding(b"PAR1 garbage PAR1", "data.parquet"), "can't be read"),
    "one row": (holding(b"a,b,label\n1,2,x\n"), "needs two classes"),
    "no features": (holding(b"label\nx\ny\n"), "no feature is left"),
    "no rows": (holding(b"a,b,label\n"), "data.csv"),
    "one class": (holding(b"a,label\n1,x\n2,x\n"), "all 2 rows have the label 'x'"),
    "columns of one name": (holding(b"a,a,label\n1,2,x\n3,4,y\n"), "different names"),
    "text": (holding(b"a,b,label\n1,red,x\n2,blue,y\n"), "must be numbers"),
    "nan": (holding(b"a,b,label\n1,,x\n2,3,y\n"), "--drop-missing"),
    "infinity": (holding(b"a,b,label\n1,inf,x\n2,3,y\n"), "must be finite"),
    "ragged": (holding(b"a,b,label\n1,2,x\n3,y\n"), "data.csv"),
}


@pytest.mark.parametrize("command", ["diagnose", "predict"])
@pytest.mark.parametrize("kind", BROKEN)
def test_broken_files_are_a_sentence(run, here, kind, command):
    make, said = BROKEN[kind]
    told = run(command, make(here), "--optimizer", "sign")
    assert told.exit_code == 2
    assert told.stdout == ""
    assert told.stderr.startswith("error: ")
    assert said in " ".join(told.stderr.split())
    assert not (here / "penchant-report").exists()


OPTIONS = [
    (
        "--optimizer adan",
        "no optimizer 'adan'; have: gd, sgd, momentum, steepest, sign,",
    ),
    (
        "--optimizer sign --b1 .9",
        "--b1 is no option of sign, which takes: --weight-decay",
    ),
    ("--optimizer adam --momentum .9", "takes: --b1, --b2, --eps, --eps-inside"),
    ("--optimizer steepest", "steepest needs --norm"),
    ("--optimizer steepest --norm l9", "no norm 'l9'; have: l1, l2, linf"),
    ("--optimizer steepest --norm lp:0.5", "p must be >= 1"),
    ("--optimizer steepest --norm lp:nan", "must be a number"),
    ("--optimizer muon --polar svd", "no polar map 'svd'; have: exact"),
    ("--optimizer muon --polar ns:2.5", "must be a whole number; got '2.5'"),
    ("--optimizer muon --polar ns:inf", "must be a number; got 'inf'"),
    ("--b1 1.5", "b1 must be >= 0 and < 1; got 1.5"),
    ("--b2 nan", "b2 must be a number >= 0 and < 1; got NaN"),
    ("--eps -1", "eps must be >= 0"),
    ("--eps inf", "--eps must be finite"),
    ("--loss hinge", "no loss 'hinge'; have: logistic"),
    ("--order random", "no order 'random'; have: cyclic"),
    ("--batch-size 0", "size must be at least 1"),
    ("--batch-size 99", "at most the number of samples, 8; got 99"),
    ("--step-size abc", "Step sizes read 0.01 or 0.1*t^-0.5"),
    ("--step-size 0", "must be > 0"),
    ("--step-size -1", "must be > 0"),
    ("--step-size inf", "must be a number; got 'inf'"),
    ("--step-size nan", "must be a number; got 'nan'"),
    ("--step-size 0.1*t^-x", "exponent must be a number; got 'x'"),
    ("--rows inf", "--rows must be a whole number of at least 1; got inf"),
    ("--rows few", "--rows must be a number or all; got 'few'"),
    ("--classes yes,maybe", "has the class 'maybe'"),
    ("--target colour", "target is 'colour', which is no column"),
    ("--skip colour", "skip names 'colour'"),
    ("--seed -1", "seed must be at least 0"),
]
OF_A_RUN = [
    ("--steps 0", "--steps must be a whole number of at least 1; got 0"),
    ("--steps 1.5", "at least 1; got 1.5"),
    ("--steps inf", "at least 1; got inf"),
    ("--steps nan", "at least 1; got nan"),
    ("--norms l2,zz", "no norm 'zz'; have: l1"),
    ("--norms ,", "at least one norm"),
    ("--out data.csv/report", "can't be written: Not a directory"),
]


@pytest.mark.parametrize(("options", "said"), OPTIONS + OF_A_RUN)
def test_options_out_of_range_are_a_sentence(run, here, options, said):
    name = table(here / "data.csv")
    command = "diagnose" if (options, said) in OF_A_RUN else "predict"
    told = run(command, name, *options.split())
    assert told.exit_code == 2
    assert said in " ".join(told.stderr.split())


@pytest.mark.parametrize("option", ["--optimiser", "--steps=many", "--batch-size=x"])
def test_options_there_are_not_show_the_usage(run, here, option):
    told = run("diagnose", table(here / "data.csv"), option)
    assert told.exit_code == 2
    assert "Usage:" in told.stderr


def test_errors_are_json_where_json_is_asked_for(run):
    for command in ("diagnose", "predict"):
        told = run(command, "nowhere.csv", "--json")
        assert told.exit_code == 2
        assert json.loads(told.stdout)["error"].startswith("nowhere.csv is no file")
        assert told.stderr == ""
    told = run("reproduce", "nothing", "--json")
    assert told.exit_code == 2
    assert "no study" in json.loads(told.stdout)["error"]
