"""The record: its numbers are the statement's own, whatever else it says."""

import re

import pytest

from quire.papers.two_plus_two import Statement, write_record, write_statement


def said(says=4, outside=0.0, seen=100.0, name="nac"):
    votes = {0: 1, 4: 7, 5: 2}
    return Statement(name, "a unit", 4.125, 0.75, 0.25, outside, votes, says, seen)


@pytest.mark.parametrize("statement", [said(), said(5), said(0), said(0, 0.9), said(seen=60.0)])
def test_numbers_are_the_statements(statement):
    text = write_statement(statement)
    found = [float(number) for number in re.findall(r"(?<![\w.])\d+\.\d{3}(?!\d)", text)]
    assert found == [4.125, 0.75, 0.25, statement.outside]
    assert "2 for 5, 7 for 4, 1 abstained" in text


def test_remarks_differ_with_the_testimony():
    statements = [said(), said(5), said(0), said(0, 0.9), said(seen=60.0)]
    assert len({write_statement(each).rpartition("abstained. ")[2] for each in statements}) == 5


def test_the_record_says_who_was_wrong():
    text = write_record([said(), said(5, name="mlp"), said(0, name="clerk")], says=4)
    assert text.endswith("The jury finds for 4. Wrong: mlp. Abstained: clerk.")
    assert write_record([said()], says=0).endswith("cannot agree. Wrong: none. Abstained: none.")


def test_refusals():
    with pytest.raises(ValueError, match="at least one statement"):
        write_record([], says=4)
    with pytest.raises(ValueError, match=r"says must be one of \[0, 4, 5\], got 7"):
        said(7)
