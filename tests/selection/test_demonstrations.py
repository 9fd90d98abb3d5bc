import pytest

from tutelage.errors import OptionError, ShapeError
from tutelage.selection.demonstrations import balanced, useful


def test_only_wrong_to_right_is_useful():
    """Fact 6."""
    pre, post, gold = zip(("no", "yes", "yes"), ("yes", "yes", "yes"), ("no", "no", "yes"), ("yes", "no", "yes"), strict=True)
    assert useful(pre, post, gold).tolist() == [1, 0, 0, 0]
    assert useful([None, "1"], ["yes", "2"], ["yes", "3"]).tolist() == [1, 0]
    with pytest.raises(ShapeError, match="got 1, 2, 1"):
        useful(["yes"], ["yes", "no"], ["yes"])


def test_as_many_yes_as_no():
    """Fact 7."""
    answers = ["yes", "yes", "yes", "no", "yes", "no", "no"]
    weights = balanced(answers, 4, ("yes", "no"))
    assert weights.tolist() == [1, 1, 0, 1, 0, 1, 0]


def test_what_is_missing_is_filled_up():
    assert balanced(["yes", None, "yes", "yes", "no"], 4, ("yes", "no")).tolist() == [1, 0, 1, 1, 1]
    assert balanced(["7", None, "3", "1"], 2).tolist() == [1, 0, 1, 0]
    assert balanced(["yes"], 4, ("yes", "no")).tolist() == [1]
    assert balanced(["1", "2", "3"], 2, ("1", "2", "3", "4", "5")).tolist() == [1, 1, 0]
    assert balanced([], 4).tolist() == []
    assert balanced(["yes"], 0).tolist() == [0]
    with pytest.raises(OptionError, match="-1 demonstrations"):
        balanced(["yes"], -1)
