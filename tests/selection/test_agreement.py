import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage import selection
from tutelage.errors import OptionError, ShapeError

repeatable = settings(max_examples=40, derandomize=True, deadline=None)


def votes(*rows):
    """One teacher per row, which votes for the class written."""
    return [torch.nn.functional.one_hot(torch.tensor(row), 4).float() for row in rows]


def test_by_hand():
    teachers = votes([0, 1, 2, 3], [0, 1, 3, 2], [0, 2, 3, 1], [0, 2, 1, 1])
    assert selection.agreement(teachers).tolist() == [1.0, 0.0, 0.0, 0.0]
    assert selection.agreement(teachers, measure="share").tolist() == [1.0, 0.5, 0.5, 0.5]
    assert selection.agreement(votes([0, 1], [1, 1], [1, 2]), measure="share").tolist() == pytest.approx([2 / 3, 2 / 3])


def test_one_teacher_agrees_with_itself():
    logits = torch.randn(1, 3, 4, generator=torch.Generator().manual_seed(0))
    for measure in ("all", "share"):
        assert selection.agreement(logits, measure=measure).tolist() == [1.0] * 3


@repeatable
@given(st.integers(0, 10_000), st.integers(1, 5))
def test_invariances(seed, teachers):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(teachers, 6, 2, 3, generator=generator).requires_grad_()
    every, share = (selection.agreement(logits, measure=measure) for measure in ("all", "share"))
    assert every.shape == share.shape == (6, 2)
    assert every.dtype == share.dtype == torch.float32
    assert not every.requires_grad
    assert not share.requires_grad
    assert torch.equal(every, (share == 1.0).float())
    assert (share >= 1.0 / teachers).all()
    shuffled = logits[torch.randperm(teachers, generator=generator)][..., torch.randperm(3, generator=generator)]
    assert torch.equal(selection.agreement(list(2.0 * shuffled + 1.0), measure="share"), share)


def test_bad_input_is_refused():
    with pytest.raises(OptionError, match="no teachers"):
        selection.agreement([])
    with pytest.raises(OptionError, match="'all' or 'share'"):
        selection.agreement(votes([0]), measure="most")
    with pytest.raises(ShapeError, match="differ in shape"):
        selection.agreement([torch.zeros(2, 3), torch.zeros(2, 4)])
