import contextlib

import numpy as np
import pytest

from penchant.datasets import DataError, load

IRIS = "a,b,species\n1,2,x\n3,4,y\n5,6,x\n"


@pytest.fixture
def read(tmp_path):
    def read(text, name="data.csv", **asked):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return load(path, **asked)

    return read


def test_columns_labels_and_names(read):
    data = read(IRIS)
    assert np.array_equal(data.X, [[1, 2], [3, 4], [5, 6]])
    assert data.X.dtype == np.float64
    assert data.y.tolist() == [-1, 1, -1]
    assert (data.features, data.classes) == (("a", "b"), ("x", "y"))
    assert (data.name, data.notes) == ("data.csv", ())


@pytest.mark.parametrize(
    "target", ["target", "label", "y", "class", "species", "outcome", "Class"]
)
def test_a_last_column_with_a_usual_name_is_the_target(read, target):
    assert read(IRIS.replace("species", target)).classes == ("x", "y")


def test_else_the_target_must_be_named(read):
    text = IRIS.replace("species", "kind")
    with pytest.raises(DataError, match=r"target must name.*columns: 'a', 'b', 'kind'"):
        read(text)
    assert read(text, target="kind").features == ("a", "b")
    assert read("kind,a\nu,1\nv,2\n", target="kind").X.tolist() == [[1.0], [2.0]]
    with pytest.raises(DataError, match=r"'nope'.*columns: 'a', 'b', 'kind'"):
        read(text, target="nope")


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_separators_and_line_ends_are_found(read, separator, end):
    text = IRIS.replace(",", separator).replace("\n", end)
    assert np.array_equal(read(text).X, read(IRIS).X)


def test_tsv(read):
    text = '"a, or b"\tc;d\ty\n1\t2\tx\n3\t4\tz\n'
    assert read(text, "data.tsv").features == ("a, or b", "c;d")


def test_names_with_blanks_accents_quotes_and_a_mark(read):
    data = read('\ufeffpetal width; größe ;"a;b";label\n1;2;3;x\n"4.5";5;6;y\n')
    assert data.features == ("petal width", "größe", "a;b")
    assert data.X[1, 0] == 4.5


def test_numbers_in_all_their_spellings(read):
    data = read('a,y\n 1 ,u\n"2.5",v\n+3,u\n4e2,v\n.5,u\n5.,v\n')
    assert data.X[:, 0].tolist() == [1, 2.5, 3, 400, 0.5, 5]


def test_a_newline_within_quotes(read):
    data = read('a,"long\nname",t,y\n1,2,"some\ntext",u\n3,4,,v\n', skip=("t",))
    assert data.features == ("a", "long\nname")
    assert data.X.tolist() == [[1, 2], [3, 4]]


def test_a_missing_header_is_noticed(read):
    data = read("1,2,0\n3,4,1\n5,6,1\n", target="c2")
    assert data.features == ("c0", "c1")
    assert len(data.X) == 3
    assert "no header" in data.notes[0]
    with pytest.raises(DataError, match="columns: 'c0', 'c1', 'c2'"):
        read("1,2,0\n3,4,1\n5,6,1\n")


def test_a_missing_header_with_a_text_label_is_noticed(read):
    data = read("5.1,2,setosa\n3,4,setosa\n5,6,other\n", target="c2")
    assert len(data.X) == 3


@pytest.mark.parametrize(
    "text",
    [
        "0,1,2\n3,4,0\n5,6,1\n",  # what pandas calls unnamed columns
        ",0,1,2\n0,3,4,0\n1,5,6,1\n",
        "2019,2020,2\n3,4,0\n5,6,1\n",
    ],
)
def test_numbers_may_be_names(read, text):
    data = read(text, target="2")
    assert data.classes == ("0", "1")
    assert len(data.X) == 2


def test_a_column_without_a_name_is_told(read):
    data = read(",b,y\n0,5,u\n1,6,v\n")
    assert data.features == ("column 1", "b")
    assert "'column 1'" in data.notes[0]


def test_skip(read):
    text = "id,city,a,y\n7,Rome,1,u\n8,Oslo,2,v\n"
    data = read(text, skip=("id", "city"))
    assert data.features == ("a",)
    assert data.X.tolist() == [[1], [2]]
    with pytest.raises(DataError, match=r"skip names 'town'.*'id', 'city', 'a'"):
        read(text, skip=("town",))
    with pytest.raises(DataError, match="skip holds the target, 'y'"):
        read(text, skip=("y",))
    with pytest.raises(DataError, match="no feature is left"):
        read(text, skip=("id", "city", "a"))


def test_text_is_named_with_an_example(read):
    text = "city,a,day,y\nRome,1,2020-01-31,u\nOslo,2,2020-02-01,v\n"
    with pytest.raises(DataError) as error:
        read(text)
    for part in ("2 columns", "'city' (e.g. 'Rome')", "'day' (e.g. '2020-01-31')"):
        assert part in str(error.value)
    assert "skip=('city', 'day')" in str(error.value)


def test_many_text_columns_are_not_all_named(read):
    head = ",".join(f"t{j}" for j in range(12))
    with pytest.raises(DataError, match=r"12 columns.*'t7' \(e\.g\. 'q'\) and 4 more"):
        read(f"{head},y\n" + ("q," * 12 + "u\n") + ("q," * 12 + "v\n"))


def test_text_far_down_the_file_is_found(read):
    rows = "".join(f"{i}.25,{i % 2}\n" for i in range(400_000))  # beyond a block
    with pytest.raises(DataError, match=r"'a' \(e\.g\. 'oops'\)"):
        read(f"a,y\n{rows}oops,1\n", rows="all")


def test_a_decimal_comma_is_recognised(read):
    with pytest.raises(DataError, match=r"'a' \(e\.g\. '1,5'\).*decimals with a point"):
        read("a;y\n1,5;u\n2,5;v\n")


def test_booleans_are_zero_and_one(read):
    data = read("a,b,y\ntrue,FALSE,u\nfalse,True,v\n,1,v\n", drop_missing=True)
    assert data.X.tolist() == [[1, 0], [0, 1]]


@pytest.mark.parametrize("cell", ["", "NA", "NaN", "nan", "null", "N/A", "?", '" "'])
def test_missing_values(read, cell):
    text = f"a,b,y\n1,{cell},u\n{cell},{cell},v\n3,4,u\n5,6,v\n7,8,{cell}\n"
    with pytest.raises(DataError) as error:
        read(text)
    for part in ("3 of 5 rows", "'a' (1 row)", "'b' (2 rows)", "'y' (1 row)"):
        assert part in str(error.value)
    data = read(text, drop_missing=True)
    assert data.X.tolist() == [[3, 4], [5, 6]]
    assert "3 rows with missing values were dropped." in data.notes
    chosen = read(text.replace("7,8", "7,"), classes=("u", "v"), drop_missing=True)
    assert "2 rows with missing values were dropped." in chosen.notes


def test_if_every_row_is_incomplete(read):
    with pytest.raises(DataError, match=r"no row is complete; each of 2"):
        read("a,b,y\n1,,u\n2,,v\n", drop_missing=True)


@pytest.mark.parametrize("cell", ["inf", "-Infinity", "1e999"])
def test_infinite_values_have_a_place(read, cell):
    with pytest.raises(DataError, match=r"1 infinite value, the first in row 2.*'b'"):
        read(f"a,b,y\n1,2,u\n3,{cell},v\n")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "data.csv is empty"),
        ("\n \n\n", "data.csv is empty"),
        ("a,y\n", "no rows"),
        ("a,y", "no rows"),
        ("y\nu\nv\n", "no feature"),
        ("a,a,b,b,y\n1,2,3,4,u\n", "called 'a', 'b'"),
        ("a,y\n1,u\n2,v,3\n", "data.csv.*Expected 2 columns, got 3"),
        (b"a,y\n1,\xe9\n2,v\n", "not text in UTF-8"),
        (b"\xff\xfea\0,\0y\0", "not text in UTF-8"),
        (b"a,y\n" + 10**5 * b"1,u\n" + b"1,\xe9\n", "UTF8"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "UTF-8"),
    ],
)
def test_files_that_are_no_tables(read, text, message):
    with pytest.raises(DataError, match=message):
        read(text)


def test_rows_longer_than_a_block(read):
    d = 4000
    head = ",".join(f"x{j}" for j in range(d))
    cells = f"0.{'3' * 1500},"
    text = f"{head},y\n" + 3 * (cells * d + "u\n") + (cells * d + "v\n")
    assert len(text) > 4 * 2**22
    assert read(text).X.shape == (4, d)


@pytest.mark.parametrize("seed", range(20))
def test_damaged_bytes_raise_nothing_else(read, seed):
    rng = np.random.default_rng(seed)
    content = bytearray(20 * b"1.5,2,x\n-1e3,,y\n")
    for at in rng.integers(len(content), size=4):
        content[at] = rng.choice(list(b'\0\n\r",;\xff0x'))
    with contextlib.suppress(DataError):
        read(b"a,b,species\n" + bytes(content), drop_missing=True)
