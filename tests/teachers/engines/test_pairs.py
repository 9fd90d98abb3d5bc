"""Only what is proven to be consecutive is folded."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from tutelage.models import resnet
from tutelage.teachers.engines.folded import Folded, fold
from tutelage.teachers.engines.pairs import consecutive


def lively(model: nn.Module, seed: int = 0) -> nn.Module:
    """A network in eval mode whose batch norms have statistics and weights that matter."""
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is not None:
            module.running_mean.normal_(generator=generator)
            module.running_var.uniform_(0.3, 3.0, generator=generator)
            if module.affine:
                nn.init.uniform_(module.weight, 0.5, 2.0, generator=generator)
                nn.init.normal_(module.bias, generator=generator)
    return model.eval().requires_grad_(False)


class Read(nn.Module):
    """The convolution's answer is also read past the batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.conv(images)
        return self.norm(maps) + maps


class Shared(nn.Module):
    """One convolution, a batch norm for each level."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norms = nn.Conv2d(2, 2, 3, padding=1), nn.ModuleList([nn.BatchNorm2d(2), nn.BatchNorm2d(2)])

    def forward(self, images: Tensor) -> Tensor:
        return self.norms[1](self.conv(self.norms[0](self.conv(images)).relu()))


class TwoNames(nn.Module):
    """A batch norm that is registered under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2)
        self.same = self.norm

    def forward(self, images: Tensor) -> Tensor:
        return self.norm(self.conv(images))


class Other(nn.Module):
    """Registered beside each other, run in another order."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.first = nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2), nn.ReLU()

    def forward(self, images: Tensor) -> Tensor:
        return self.norm(self.first(self.conv(images)))


class Branching(nn.Module):
    """Cannot be traced, and what it holds can."""

    def __init__(self) -> None:
        super().__init__()
        self.stage = nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
        self.conv, self.norm = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)

    def forward(self, images: Tensor) -> Tensor:
        if images.mean() > 1e6:
            return self.conv(self.stage(images))
        return self.norm(self.conv(self.stage(images)))


class Optional(nn.Module):
    """A second argument takes another path."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2)

    def forward(self, images: Tensor, mask: Tensor | None = None) -> Tensor:
        maps = self.conv(images)
        return self.norm(maps) if mask is None else self.norm(maps * mask)


def test_a_residual_network_gives_every_pair() -> None:
    model = resnet(num_classes=3, depth=1).eval()
    expected = [("stem.0", "stem.1")]
    for stage in range(3):
        block = f"stages.{stage}.0"
        shortcut = [(f"{block}.shortcut.0", f"{block}.shortcut.1")] if stage else []
        expected += [(f"{block}.conv1", f"{block}.norm1"), (f"{block}.conv2", f"{block}.norm2"), *shortcut]
    assert sorted(consecutive(model)) == sorted(expected)


@pytest.mark.parametrize("kind", [Read, Shared, TwoNames, Other])
def test_nothing_is_folded_where_another_reads_or_comes_between(kind: type[nn.Module]) -> None:
    assert consecutive(kind().eval()) == []


def test_children_of_what_cannot_be_traced_are_traced() -> None:
    assert consecutive(Branching().eval()) == [("stage.0", "stage.1")]


def test_arguments_that_the_call_leaves_out_keep_their_defaults() -> None:
    model = Optional().eval()
    assert consecutive(model, (torch.rand(1),)) == [("conv", "norm")]
    assert consecutive(model, (torch.rand(1), torch.rand(1))) == []
    assert consecutive(model, (torch.rand(1),), {"mask": torch.rand(1)}) == []


def test_batch_norms_without_fixed_statistics_are_left() -> None:
    assert consecutive(nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2, track_running_stats=False)).eval()) == []
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)).eval()
    model[1].train()
    assert consecutive(model) == []


@pytest.mark.parametrize(
    ("layers", "shape"),
    [
        ((nn.Conv1d(3, 4, 3), nn.BatchNorm1d(4)), (5, 3, 9)),
        ((nn.Conv2d(4, 6, 3, groups=2, bias=False), nn.BatchNorm2d(6, affine=False)), (5, 4, 7, 6)),
        ((nn.Conv3d(2, 3, 2), nn.BatchNorm3d(3)), (2, 2, 4, 4, 4)),
        ((nn.ConvTranspose2d(3, 5, 2), nn.BatchNorm2d(5)), (2, 3, 4, 4)),
        ((nn.Linear(6, 4, bias=False), nn.BatchNorm1d(4)), (7, 6)),
    ],
)
def test_folding_is_exact_but_for_rounding(layers: tuple[nn.Module, ...], shape: tuple[int, ...]) -> None:
    model = lively(nn.Sequential(*layers)).double()
    inputs = torch.randn(shape, dtype=torch.float64)
    folded = Folded(model, (inputs,), {})
    assert folded.pairs == [("0", "1")]
    assert isinstance(folded.twin.get_submodule("1"), nn.Identity)
    assert torch.allclose(folded((inputs,), {}), model(inputs), rtol=1e-12, atol=1e-12)


def test_what_has_no_exact_fold_is_left() -> None:
    grouped = nn.Sequential(nn.ConvTranspose2d(4, 4, 2, groups=2), nn.BatchNorm2d(4)).eval()
    assert consecutive(grouped) == []
    assert consecutive(nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4, affine=False)).eval()) == []
    weighted = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Conv2d(1, 2, 3)), nn.BatchNorm2d(2)).eval()
    assert consecutive(weighted) == []


def test_timms_norm_with_activation_keeps_its_activation() -> None:
    layers = pytest.importorskip("timm.layers", exc_type=ImportError)
    model = lively(nn.Sequential(nn.Conv2d(2, 4, 3), layers.BatchNormAct2d(4)))
    images = torch.randn(3, 2, 6, 6)
    assert consecutive(model) == [("0", "1")]
    expected = model(images)
    assert float(expected.min()) == 0.0
    assert torch.allclose(fold(model, [("0", "1")])(images), expected, atol=1e-5)


def test_a_view_of_a_feature_map_runs_channels_first() -> None:
    class Viewing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm, self.head = nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.Linear(64, 3)

        def forward(self, images: Tensor) -> Tensor:
            return self.head(self.norm(self.conv(images)).view(len(images), -1))

    model, images = lively(Viewing()), torch.randn(5, 2, 6, 6)
    folded = Folded(model, (images,), {})
    assert not folded.has_images
    assert folded.pairs == []  # `len` cannot be traced
    assert torch.equal(folded((images,), {}), model(images))
    maps = Folded(lively(nn.Sequential(nn.Conv2d(2, 4, 3))), (images,), {})
    assert maps.has_images
    assert maps((images,), {}).is_contiguous()
