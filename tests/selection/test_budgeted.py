import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tutelage.errors import OptionError, ShapeError
from tutelage.selection.budgeted import ALL, NEEDS, STRATEGIES, Signals, allowed, budgeted, intervene, needs

ONE = torch.tensor([0.9, 0.2, 0.6, 0.4])
TWO = torch.tensor([0.95, 0.9, 0.5, 0.7])


def chosen(weights):
    return weights.nonzero()[:, 0].tolist()


def ranking(strategy, signals):
    return STRATEGIES[strategy](signals, None).argsort(descending=True, stable=True).tolist()


def test_the_budget_is_rounded_down():
    """Fact 2."""
    assert allowed(0.2, 229) == 45
    assert allowed(0.29, 100) == 29
    assert budgeted(torch.rand(229), 0.2).sum() == 45


@given(st.integers(1, 300), st.floats(0, 1))
def test_a_budget_is_never_passed(count, budget):
    spent = budgeted(torch.rand(count), budget).sum().item()
    assert spent <= budget * count + 1e-6
    assert spent > budget * count - 1


def test_one_side_of_the_utility_decides_where_the_other_is_constant():
    """Fact 3."""
    flat = torch.full((4,), 0.3)
    assert ranking("utility", Signals(4, pre=flat, post=TWO)) == ranking("most-post", Signals(4, post=TWO))
    assert ranking("utility", Signals(4, pre=ONE, post=flat)) == ranking("least-pre", Signals(4, pre=ONE))


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=40), st.floats(0, 1))
def test_a_perfect_mental_model_never_harms_while_it_can_help(items, budget):
    """Fact 4."""
    pre, post = (torch.tensor([float(item[side]) for item in items]) for side in (0, 1))
    signals = Signals(len(items), pre=pre, post=post)
    utility = STRATEGIES["utility"](signals, None)
    assert bool((utility.abs() <= 1).all())
    weights = intervene("utility", signals, budget)
    left_to_help = bool(((utility > 0) & (weights == 0)).any())
    harmed = bool(((utility < 0) & (weights > 0)).any())
    assert not (left_to_help and harmed)


def test_deceiving_is_the_reverse():
    """Fact 5."""
    signals = Signals(4, pre=ONE, post=TWO)
    assert ranking("deceive", signals) == ranking("utility", signals)[::-1]


def test_the_oracle_ignores_the_budget():
    """Fact 9."""
    signals = Signals(4, wrong=torch.tensor([True, False, True, True]))
    for budget in (0.0, 0.2, 1.0):
        assert chosen(intervene("oracle", signals, budget)) == [0, 2, 3]


def test_every_strategy_looks_at_what_it_says():
    values = {"pre": ONE, "post": TWO, "true_pre": TWO, "true_post": ONE, "confidence": ONE, "teacher": TWO, "wrong": ONE > 0.5}
    expected = {
        "utility": [1], "deceive": [2], "least-pre": [1], "most-post": [0], "least-confidence": [1], "true-pre": [2], "true-post": [0],
        "true-utility": [2], "teacher-confidence": [0], "oracle": [0, 2],
    }  # fmt: skip
    for strategy, places in expected.items():
        signals = Signals(4, **{name: values[name] for name in needs(strategy)})
        assert chosen(intervene(strategy, signals, 0.25)) == places, strategy
        for name in needs(strategy):
            with pytest.raises(OptionError, match=f"'{name}'"):
                intervene(strategy, Signals(4, **{other: values[other] for other in ALL - {name}}), 0.5)
    assert set(NEEDS) == {*STRATEGIES, "oracle"}
    assert needs(lambda signals, generator: ONE) == ALL


def test_chance_is_seeded_nested_in_the_budget_and_decides_among_equals():
    def draw(strategy, budget, seed):
        flat = torch.zeros(50)
        return chosen(intervene(strategy, Signals(50, pre=flat, post=flat), budget, torch.Generator().manual_seed(seed)))

    for strategy in ("random", "utility"):
        assert draw(strategy, 0.2, 1) == draw(strategy, 0.2, 1) != draw(strategy, 0.2, 2)
        assert set(draw(strategy, 0.2, 1)) < set(draw(strategy, 0.4, 1))
    assert chosen(budgeted(torch.zeros(5), 0.4)) == [0, 1]


def test_a_function_can_be_the_strategy():
    assert chosen(intervene(lambda signals, generator: signals.need("pre"), Signals(4, pre=ONE), 0.5)) == [0, 2]


def test_mistakes_are_named():
    for budget in (-0.1, 1.1, float("nan"), True, "0.5"):
        with pytest.raises(OptionError, match="budget is"):
            allowed(budget, 10)
    with pytest.raises(OptionError, match="Did you mean 'utility'"):
        intervene("utilty", Signals(4), 0.5)
    with pytest.raises(OptionError, match="budget is 2"):
        intervene("oracle", Signals(4, wrong=ONE > 0), 2)
    with pytest.raises(ShapeError, match="'pre'"):
        Signals(3, pre=ONE)
    with pytest.raises(ShapeError, match="not finite"):
        budgeted(torch.tensor([1.0, float("nan")]), 0.5)
