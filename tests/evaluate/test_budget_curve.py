import pytest
import torch

from tutelage.errors import ShapeError
from tutelage.evaluate.budget_curve import BUDGETS, BothWays, accuracy, budget_area, budget_curve
from tutelage.selection.budgeted import STRATEGIES, Signals


def both(count=229, seed=0):
    generator = torch.Generator().manual_seed(seed)
    alone, taught = torch.rand(count, generator=generator) < 0.6, torch.rand(count, generator=generator) < 0.8
    names = ("pre", "post", "true_pre", "true_post", "confidence", "teacher")
    signals = Signals(count, **{name: torch.rand(count, generator=generator) for name in names}, wrong=~alone)
    return BothWays(signals, alone, taught)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_no_budget_is_the_student_alone_and_all_of_it_always_teaches(strategy):
    """Fact 1."""
    study = both()
    curve = study.curve(strategy)
    assert curve[0] == 100 * study.alone.double().mean()
    assert curve[-1] == 100 * study.taught.double().mean()
    assert study.curve(strategy) == curve


def test_the_oracle_does_not_depend_on_the_budget():
    """Fact 9."""
    study = both()
    best = 100 * (study.alone | study.taught).double().mean()
    assert study.curve("oracle") == [best] * len(BUDGETS)


def test_accuracy_and_area():
    alone, taught = torch.tensor([True, False, False, True]), torch.tensor([False, True, False, True])
    assert accuracy(alone, taught, torch.tensor([0.0, 1, 0, 0])) == 75.0
    assert budget_curve(alone, taught, [torch.zeros(4), torch.ones(4)]) == [50.0, 50.0]
    assert budget_area([50.0, 70.0, 60.0], (0.0, 0.5, 1.0)) == 62.5
    with pytest.raises(ShapeError, match="one entry per item"):
        accuracy(alone, taught, torch.zeros(3))
    with pytest.raises(ShapeError, match="one entry per item"):
        accuracy(alone[:0], taught[:0], torch.zeros(0))
