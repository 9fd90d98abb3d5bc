from __future__ import annotations

import pytest
import torch

from tutelage.errors import ShapeError
from tutelage.evaluate import bag_perplexity, perplexity


def test_the_perplexity_counts_equally_likely_words():
    probs = torch.zeros(3, 8)
    probs[0, 2] = 1
    probs[1, :4] = 0.25
    probs[2] = 1 / 8
    torch.testing.assert_close(perplexity(probs), torch.tensor([1.0, 4.0, 8.0]))


def test_images_that_use_one_word_each_use_many_together():
    found = bag_perplexity(torch.eye(5))
    assert found["perplexity_image"].item() == pytest.approx(1)
    assert found["perplexity_batch"].item() == pytest.approx(5)
    collapsed = bag_perplexity(torch.eye(5)[:1].expand(4, 5))
    assert collapsed["perplexity_batch"].item() == pytest.approx(1)
    with pytest.raises(ShapeError, match="at least one image"):
        bag_perplexity(torch.zeros(0, 5))
