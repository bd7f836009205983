"""What errors say."""

from quire.lab.errors import LISTED, unknown


def test_a_few_names_are_all_listed():
    known = [f"arm_{number}" for number in range(LISTED)]
    assert str(unknown("arm", "x", known)).endswith("Known: " + ", ".join(sorted(known)))
    assert str(unknown("arm", "x", [])) == "unknown arm 'x': Known: none"


def test_of_many_names_the_nearest_are_listed():
    said = str(unknown("claim", "other-wrods", ["other-words", *map(str, range(LISTED))]))
    assert "did you mean 'other-words'? Known: 41, among them other-words, " in said
    assert said.count(",") == 10  # ten names
