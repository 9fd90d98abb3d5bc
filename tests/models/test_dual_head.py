from __future__ import annotations

import pytest
import torch
from torch import nn

from tutelage.errors import OptionError, ShapeError
from tutelage.models import check_fits, small_cnn
from tutelage.models.dual_head import DualHead, dual_head


@pytest.fixture
def student():
    torch.manual_seed(0)
    return dual_head(nn.Linear(6, 5), num_classes=3, input_shape=(6,))


def test_share_zero_is_the_label_head_and_one_the_teachers_at_its_temperature(student):
    x = torch.randn(7, 6)
    label, teacher = student.heads(x)
    student.mix(0.0, 0.5)
    torch.testing.assert_close(student(x), label.log_softmax(1))
    student.mix(1.0, 0.5)
    torch.testing.assert_close(student(x), (teacher / 0.5).log_softmax(1))


@pytest.mark.parametrize(("share", "temperature"), [(0.5, 1.0), (0.6, 0.5), (0.01, 3.0)])
def test_the_answer_is_the_logarithm_of_the_mixture(student, share, temperature):
    x = torch.randn(7, 6)
    student.mix(share, temperature)
    label, teacher = student.heads(x)
    mixture = (1 - share) * label.softmax(1) + share * (teacher / temperature).softmax(1)
    torch.testing.assert_close(student(x).softmax(1), mixture)
    torch.testing.assert_close(student.combined(student.features(x)).exp(), mixture)


def test_the_mixture_stays_finite_for_far_apart_logits(student):
    with torch.no_grad():
        student.ce_head.weight.mul_(1e4)
        student.kd_head.weight.mul_(-1e4)
    assert bool(student(torch.randn(5, 6)).isfinite().all())


def test_it_stands_where_a_classifier_stands():
    model = dual_head("tutelage:small-cnn?widths=4,8", num_classes=4, input_shape=(1, 8, 8))
    check_fits(model, torch.rand(2, 1, 8, 8), 4, "student")
    again = small_cnn(num_classes=4, widths=(4, 8))
    again.head = nn.Identity()
    assert model.ce_head.in_features == again(torch.rand(1, 1, 8, 8)).shape[1]


def test_wrong_mixtures_and_backbones_are_named(student):
    for share, temperature in ((-0.1, 1.0), (1.1, 1.0), (0.5, 0.0)):
        with pytest.raises(OptionError, match="share"):
            student.mix(share, temperature)
    with pytest.raises(ShapeError, match="features"):
        DualHead(nn.Linear(6, 4), 5, 3)(torch.randn(2, 6))
