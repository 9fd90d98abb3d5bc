from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from tutelage.errors import OptionError, ShapeError
from tutelage.teachers import EMA, Ensemble, Routed


class Constant(nn.Module):
    """Answers the same logits for every row, and remembers how many rows it was asked about, call by call."""

    def __init__(self, *logits: float) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.tensor(logits))
        self.asked: list[int] = []

    def forward(self, inputs: Tensor | list[str]) -> Tensor:
        self.asked.append(len(inputs))
        return self.logits.expand(len(inputs), -1)


def test_logits_and_probabilities_are_averaged() -> None:
    a, b = Constant(0.0, 2.0), Constant(4.0, 0.0)
    inputs = torch.zeros(3, 1)
    logits = Ensemble([a, b], weights=[3, 1])(inputs)
    assert torch.allclose(logits, torch.tensor([1.0, 1.5]).expand(3, 2))
    probs = Ensemble([a, b], weights=[3, 1], combine="probs")(inputs).softmax(-1)
    expected = 0.75 * a.logits.softmax(-1) + 0.25 * b.logits.softmax(-1)
    assert torch.allclose(probs, expected.expand(3, 2))
    assert torch.allclose(Ensemble([a, b])(inputs)[0], torch.tensor([2.0, 1.0]))


@pytest.mark.parametrize("combine", ["logits", "probs"])
def test_weights_per_sample(combine: str) -> None:
    ensemble = Ensemble([Constant(0.0, 2.0), Constant(4.0, 0.0)], combine=combine)
    inputs = torch.zeros(2, 1)
    mixed = ensemble(inputs, torch.tensor([[1.0, 0.0], [0.0, 5.0]]))
    each = ensemble.each(inputs)
    assert torch.allclose(mixed[0].softmax(-1), each[0][0].softmax(-1))
    assert torch.allclose(mixed[1].softmax(-1), each[1][1].softmax(-1))
    assert not any(e.requires_grad for e in each)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.floats(0.01, 10), min_size=3, max_size=3), st.permutations([0, 1, 2]), st.floats(0.1, 10))
def test_order_and_scale_of_weights_do_not_matter(weights: list[float], order: list[int], scale: float) -> None:
    members = [Constant(0.0, 1.0, 3.0), Constant(2.0, 2.0, -1.0), Constant(-4.0, 0.0, 1.0)]
    inputs = torch.zeros(1, 1)
    for combine in ("logits", "probs"):
        one = Ensemble(members, weights=weights, combine=combine)(inputs)
        other = Ensemble([members[i] for i in order], weights=[weights[i] * scale for i in order], combine=combine)(inputs)
        assert torch.allclose(one, other, atol=1e-5)


def test_large_logits_stay_finite() -> None:
    ensemble = Ensemble([Constant(1e4, -1e4), Constant(-1e4, 1e4)], combine="probs")
    assert torch.allclose(ensemble(torch.zeros(1, 1)).softmax(-1), torch.tensor([[0.5, 0.5]]))


def test_route_asks_only_the_member_and_keeps_the_order() -> None:
    members = [Constant(0.0, 0.0), Constant(1.0, 1.0), Constant(2.0, 2.0)]
    ensemble = Ensemble(members)
    out = ensemble.route(torch.zeros(5, 1), torch.tensor([2, 0, 2, 2, 0]))
    assert out[:, 0].tolist() == [2, 0, 2, 2, 0]
    assert [m.asked for m in members] == [[2], [], [3]]
    assert not out.requires_grad


def test_route_of_texts_and_dictionaries() -> None:
    class Lengths(nn.Module):
        def forward(self, texts: list[str]) -> Tensor:
            return torch.tensor([[float(len(t))] for t in texts])

    class Sum(nn.Module):
        def forward(self, inputs: dict[str, Tensor]) -> Tensor:
            return inputs["a"] + inputs["b"]

    texts = Ensemble([Lengths(), Lengths()]).route(["a", "bb", "ccc"], torch.tensor([1, 0, 1]))
    assert texts.flatten().tolist() == [1, 2, 3]
    batch = {"a": torch.tensor([[1.0], [2.0]]), "b": torch.tensor([[10.0], [20.0]])}
    assert Ensemble([Sum(), Sum()]).route(batch, torch.tensor([1, 0])).flatten().tolist() == [11, 22]


def test_specialists_answer_in_the_full_class_list() -> None:
    members = [Constant(1.0, 2.0), Constant(3.0, 4.0, 5.0), Constant(6.0)]
    routed = Routed(members, [[0, 3], [5, 1, 2], [4]])
    assert routed.num_classes == 6
    assert routed.constant
    out = routed(torch.zeros(3, 1), torch.tensor([1, 0, 1]))
    f = routed.fill
    assert out.tolist() == [[f, 4, 5, f, f, 3], [1, f, f, 2, f, f], [f, 4, 5, f, f, 3]]
    assert [m.asked for m in members] == [[1], [2], []]
    assert out.sigmoid()[1].tolist()[1] == 0.0
    assert out.softmax(-1)[1].tolist()[1] == 0.0


def test_several_specialists_per_sample_give_the_union_and_the_mean_where_they_overlap() -> None:
    routed = Routed([Constant(1.0, 2.0), Constant(4.0, 8.0)], [[0, 1], [1, 2]], num_classes=4, fill=-9.0)
    out = routed(torch.zeros(3, 1), torch.tensor([[True, True], [False, True], [False, False]]))
    assert out.tolist() == [[1, 3, 8, -9], [-9, 4, 8, -9], [-9, -9, -9, -9]]
    assert routed(torch.zeros(2, 1), torch.zeros(2, 2, dtype=torch.bool)).tolist() == [[-9.0] * 4] * 2


def test_one_teacher_with_all_classes_is_itself() -> None:
    torch.manual_seed(0)
    model = nn.Linear(3, 4)
    inputs = torch.randn(5, 3)
    assert torch.allclose(Routed([model], [range(4)])(inputs, torch.zeros(5, dtype=torch.int64)), model(inputs), atol=1e-6)


def test_state_round_trip() -> None:
    first = Ensemble([nn.Linear(2, 2), EMA(nn.Linear(2, 2))], weights=[0.2, 0.8])
    second = Ensemble([nn.Linear(2, 2), EMA(nn.Linear(2, 2))])
    second.load_state_dict(first.state_dict())
    inputs = torch.randn(3, 2)
    assert torch.equal(first(inputs), second(inputs))


def test_misuse_is_named() -> None:
    pair = [Constant(0.0, 1.0), Constant(0.0, 1.0)]
    inputs = torch.zeros(3, 1)
    with pytest.raises(OptionError, match="no teachers"):
        Ensemble([])
    for weights in ([1.0], [1.0, -1.0], [0.0, 0.0], [float("nan"), 1.0]):
        with pytest.raises(OptionError, match="2 finite numbers"):
            Ensemble(pair, weights=weights)
    with pytest.raises(OptionError, match="Did you mean 'probs'"):
        Ensemble(pair, combine="prob")  # type: ignore[arg-type]
    with pytest.raises(ShapeError, match=r"different shapes.*Routed"):
        Ensemble([Constant(0.0), Constant(0.0, 1.0)])(inputs)
    with pytest.raises(ShapeError, match=r"\[2\] or \[3, 2\]"):
        Ensemble(pair)(inputs, torch.ones(3, 3))
    with pytest.raises(ShapeError, match="0 to 1, got values from 0 to 2"):
        Ensemble(pair).route(inputs, torch.tensor([0, 1, 2]))
    with pytest.raises(ShapeError, match=r"int64 \[3\] or bool \[3, 2\]"):
        Ensemble(pair).route(inputs, torch.tensor([0.0, 1.0, 1.0]))
    with pytest.raises(ShapeError, match="expected"):
        Routed(pair, [[0], [1, 2]])(inputs, torch.zeros(3, dtype=torch.int64))
    with pytest.raises(OptionError, match=r"outputs\[1\]"):
        Routed(pair, [[0, 1], [2, 2]])
    with pytest.raises(OptionError, match="2 teachers, 1 lists"):
        Routed(pair, [[0, 1]])
