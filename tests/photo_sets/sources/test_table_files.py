"""Tables as programs and people write them."""

import pytest

from cannabis_ml.errors import SourceError
from cannabis_ml.photo_sets.sources.table_files import read_table


@pytest.fixture
def csv(tmp_path):
    """Write a CSV file: `csv("a,b\\n1,2\\n")`."""

    def write(text):
        path = tmp_path / "t.csv"
        path.write_bytes(text.encode())
        return path

    return write


def rows(path):
    table = read_table(path)
    return [list(table.columns), *table.values.tolist()]


@pytest.mark.parametrize(
    "text",
    [
        "path,label\na.jpg,x\nb.jpg,y\n",
        "path,label\na.jpg,x,\nb.jpg,y,\n",
        "path,label,\na.jpg,x,\nb.jpg,y\n",
        "path,label\na.jpg,x\nb.jpg,y, ,,",
        "path,label\r\na.jpg,x\r\n\r\n  \r\nb.jpg,y",
        " path ,label\na.jpg,x\rb.jpg,y\r",
        ',path,label\n0,a.jpg,x\n1,"b.jpg",y\n',
        "\npath,label\na.jpg,x\nb.jpg,y\n\n",
    ],
)
def test_cells_that_hold_nothing_change_nothing(text, csv):
    assert rows(csv(text)) == [["path", "label"], ["a.jpg", "x"], ["b.jpg", "y"]]


def test_rows_may_be_shorter_than_the_header(csv):
    assert rows(csv("path,label,group\na.jpg,x\nb.jpg\n"))[1:] == [
        ["a.jpg", "x", ""],
        ["b.jpg", "", ""],
    ]


def test_quoted_cells_hold_commas_quotes_and_lines(csv):
    text = 'label,path\n"Pepper, bell",a.jpg\n"so ""x""\nand",b.jpg\n'
    assert rows(csv(text))[1:] == [["Pepper, bell", "a.jpg"], ['so "x"\nand', "b.jpg"]]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "label,path\nPepper, bell,a\nCherry, sour,b\n",
            "which has 2: row 2 (3 cells), row 3 (3 cells)",
        ),
        ("label,path\nx,a\n\n" + "y,b\n" * 3 + "z, z, z,c\n", "which has 2: row 7 (4 cells)"),
        ('label,path\n"x\ny",a\nz, z,c\n', "which has 2: row 3 (3 cells)"),
        ("label,path,\nx,a,oops\n", "which has 2: row 2 (3 cells)"),
        ("a\n" + "x,y\n" * 20, "20 rows of"),
    ],
)
def test_every_row_that_is_longer_than_the_header_is_reported(text, told, csv):
    with pytest.raises(SourceError) as caught:
        read_table(csv(text))
    assert told in str(caught.value)
    assert "between quotation marks" in str(caught.value)


def test_quotation_mark_that_is_never_closed_is_reported(csv):
    with pytest.raises(SourceError, match="line 3 or after it is never closed"):
        read_table(csv('path,label\na.jpg,x\nb.jpg,"y\nc.jpg,z\n'))


def test_columns_of_one_name_are_reported(csv):
    with pytest.raises(SourceError, match="more than one column called 'label'"):
        read_table(csv("path,label,label \na.jpg,x,y\n"))


def test_long_cells_are_read(csv):
    outline = "1 2 " * 100_000
    assert rows(csv(f"path,outline\na.jpg,{outline}\n"))[1] == ["a.jpg", outline]
