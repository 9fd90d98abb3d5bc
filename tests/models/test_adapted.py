from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from tutelage.errors import OptionError, ShapeError, SpecError
from tutelage.models import Adapted, check_fits, mlp


class Spy(nn.Module):
    def __init__(self, width: int = 3) -> None:
        super().__init__()
        self.width = width

    def forward(self, inputs: Tensor) -> Tensor:
        self.seen = inputs
        return torch.arange(float(self.width)).expand(len(inputs), -1)


def test_channels_size_and_normalisation() -> None:
    spy = Spy()
    Adapted(spy, size=(6, 4), channels=3, mean=(0.5, 0.25, 0.0), std=(0.5, 1.0, 2.0))(torch.full((2, 1, 8, 8), 0.75))
    assert spy.seen.shape == (2, 3, 6, 4)
    assert torch.allclose(spy.seen[0, :, 0, 0], torch.tensor([0.5, 0.5, 0.375]))


def test_grey_is_luminance() -> None:
    spy = Spy()
    Adapted(spy, channels=1)(torch.tensor([1.0, 0.0, 0.0]).reshape(1, 3, 1, 1).expand(1, 3, 2, 2))
    assert torch.allclose(spy.seen, torch.full((1, 1, 2, 2), 0.299))
    Adapted(spy, channels=1)(torch.full((1, 3, 2, 2), 0.6))
    assert torch.allclose(spy.seen, torch.full((1, 1, 2, 2), 0.6))


def test_shrinking_is_antialiased() -> None:
    spy = Spy()
    board = (torch.arange(16)[:, None] + torch.arange(16)).remainder(2).float().reshape(1, 1, 16, 16)
    Adapted(spy, size=4)(board)
    assert torch.allclose(spy.seen, torch.full((1, 1, 4, 4), 0.5), atol=0.05)


def test_same_size_is_untouched() -> None:
    spy, images = Spy(), torch.rand(2, 3, 5, 5)
    Adapted(spy, size=5, channels=3)(images)
    assert spy.seen is images


def test_class_order_permutes_and_selects() -> None:
    inputs = torch.zeros(2, 1)
    assert Adapted(Spy(4), class_order=(3, 0, 2, 1))(inputs)[1].tolist() == [3, 0, 2, 1]
    assert Adapted(Spy(1000), class_order=(7, 999))(inputs)[0].tolist() == [7, 999]
    with pytest.raises(ShapeError, match="names 3 classes but the model answers only 2"):
        Adapted(Spy(2), class_order=(0, 1, 2))(inputs)


def test_tables_are_normalised_by_column_and_texts_pass() -> None:
    spy = Spy()
    Adapted(spy, mean=(1.0, 2.0), std=0.5)(torch.tensor([[1.0, 3.0]]))
    assert spy.seen.tolist() == [[0.0, 2.0]]

    class Texts(nn.Module):
        def forward(self, texts: list[str]) -> Tensor:
            return torch.tensor([[float(len(t)), 0.0] for t in texts])

    assert Adapted(Texts(), class_order=(1, 0))(["ab"]).tolist() == [[0.0, 2.0]]


def test_gradients_reach_the_inputs() -> None:
    images = torch.rand(1, 1, 8, 8, requires_grad=True)
    model = Adapted(mlp(num_classes=2, input_shape=(3, 6, 6)), size=6, channels=3, mean=0.5, std=0.5)
    model(images).sum().backward()
    assert images.grad.abs().sum() > 0


def test_what_cannot_be_reconciled_is_refused() -> None:
    with pytest.raises(ShapeError, match="4 channels cannot become images of 3"):
        Adapted(Spy(), channels=3)(torch.zeros(1, 4, 2, 2))
    with pytest.raises(ShapeError, match=r"takes images \[N, C, H, W\], got inputs \[2, 5\]"):
        Adapted(Spy(), size=3)(torch.zeros(2, 5))
    with pytest.raises(ShapeError, match="mean has 3 numbers but the model's inputs have 1 channels"):
        Adapted(Spy(), mean=(0.1, 0.2, 0.3))(torch.zeros(1, 1, 2, 2))
    with pytest.raises(OptionError, match="channels=2"):
        Adapted(Spy(), channels=2)
    with pytest.raises(OptionError, match="positive"):
        Adapted(Spy(), std=0.0)
    with pytest.raises(OptionError, match="distinct outputs"):
        Adapted(Spy(), class_order=(0, 0))
    with pytest.raises(OptionError, match="side of a square"):
        Adapted(Spy(), size=(1, 2, 3))


def test_check_fits_passes_what_fits_and_leaves_no_trace() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Dropout())
    model[2].eval()
    before = model[2].running_mean.clone()
    check_fits(model, torch.rand(2, 1, 2, 2), 3, "teacher")
    assert [m.training for m in model] == [True, True, False, True]
    assert torch.equal(before, model[2].running_mean)


def test_check_fits_names_what_does_not_fit() -> None:
    class Answers(nn.Module):
        def __init__(self, answer: object) -> None:
            super().__init__()
            self.answer = answer

        def forward(self, inputs: Tensor) -> object:
            return self.answer

    x = torch.rand(2, 4)
    with pytest.raises(ShapeError, match=r"The teacher answers 10 classes but the data has 3\. Give class_order="):
        check_fits(Answers(torch.zeros(2, 10)), x, 3, "teacher")
    with pytest.raises(ShapeError, match=r"The student answers torch.float32 \[2, 3, 1\] for 2 inputs"):
        check_fits(Answers(torch.zeros(2, 3, 1)), x, 3, "student")
    with pytest.raises(ShapeError, match=r"torch.int64"):
        check_fits(Answers(torch.zeros(2, 3, dtype=torch.int64)), x, 3)
    with pytest.raises(ShapeError, match="answers a tuple"):
        check_fits(Answers((torch.zeros(2, 3),)), x, 3)
    with pytest.raises(ShapeError, match=r"cannot run on the data's inputs \[2, 4\]: RuntimeError.*State how"):
        check_fits(nn.Linear(5, 3), x, 3, "teacher")
    with pytest.raises(SpecError, match="NaN or infinity"):
        check_fits(Answers(torch.full((2, 3), float("nan"))), x, 3)
    with pytest.raises(ShapeError, match="The teacher does not fit the data: Images of 4 channels"):
        check_fits(Adapted(nn.Flatten(), channels=3), torch.zeros(2, 4, 2, 2), 3, "teacher")
