from __future__ import annotations

import pytest
import torch
from torch import nn

from tutelage import models
from tutelage.errors import OptionError, ShapeError, SpecError
from tutelage.models.timesformer import DividedBlock, DropPath

SHAPE = (16, 3, 32, 32)


def small_timesformer(**changed):
    options = {"num_classes": 5, "input_shape": SHAPE, "width": 48, "depth": 3, "heads": 3, "patch": 8, "hidden": 16}
    return models.TimeSformer(**{**options, **changed})


def elements(number=4, side=32):
    return [torch.rand(number, t, 3, side, side) for t in (2, 2, 4)]


def test_fusion_is_what_the_formula_says():
    head = models.PairwiseFusion(6, 3, 4, hidden=8).eval()
    f = torch.randn(2, 3, 6)

    def part(layer, x):
        return nn.functional.layer_norm(nn.functional.gelu(x @ layer[0].weight.T + layer[0].bias), (8,), layer[2].weight, layer[2].bias)

    vectors = [part(head.pair, torch.cat([f[:, i], f[:, j]], 1)) for i, j in ((0, 1), (0, 2), (1, 2))]
    vectors += [part(head.single, f[:, i]) for i in range(3)]
    expected = head.out(part(head.joined, torch.cat(vectors, 1)))
    torch.testing.assert_close(head(f), expected)
    assert head.joined[0].in_features == 6 * 8
    assert models.PairwiseFusion(768, 3, 99).joined[0].in_features == 1536  # paper
    assert models.PairwiseFusion(6, 1, 4)(f[:, :1]).shape == (2, 4)  # one element has no pairs


@pytest.mark.parametrize("build", [lambda: models.VideoCNN(num_classes=5, input_shape=SHAPE), small_timesformer])
def test_elements_of_one_length_go_through_the_trunk_together_and_are_encoded_each_on_its_own(build):
    model = build().eval()
    nn.init.normal_(model.times[0])
    seen = elements()
    tokens = model.tokens(seen)
    features = model.features(tokens)
    for i, token in enumerate(tokens):
        alone = model.encode(token, model.times[i].expand(4, -1, -1))
        torch.testing.assert_close(features[:, i], alone, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(model(seen), model.head(features))
    loss = model.train()(seen).sum()
    loss.backward()
    assert all(p.grad is not None for p in model.parameters())


@pytest.mark.parametrize("build", [lambda: models.VideoCNN(num_classes=5, input_shape=SHAPE), small_timesformer])
def test_order_of_frames_matters_once_time_embeddings_differ(build):
    model = build().eval()
    for time in model.times:
        nn.init.normal_(time)
    seen = elements()
    turned = [e.flip(1) for e in seen]
    assert (model(seen) - model(turned)).abs().max() > 1e-3


def test_whole_clips_are_seen_in_the_middle_of_their_bins():
    model = models.VideoCNN(num_classes=5, input_shape=SHAPE).eval()
    clips = torch.randint(0, 256, (2, *SHAPE), dtype=torch.uint8)
    index = model.elements.middle(torch.tensor([16, 16]))
    expected = [clips[torch.arange(2)[:, None], i].float() / 255 for i in index]
    torch.testing.assert_close(model(clips), model(expected))
    with pytest.raises(ShapeError, match=r"elements of \(2, 2, 4\) frames"):
        model([expected[2], expected[1], expected[0]])


def test_attention_over_time_starts_at_nothing_except_in_the_first_layer():
    model = small_timesformer()
    assert [bool(b.temporal_fc.weight.abs().sum() > 0) for b in model.blocks] == [True, False, False]
    later = [b for b in model.blocks if not b.temporal_fc.weight.any()]
    assert all(not b.temporal_fc.bias.any() for b in later)
    assert [b.drop_path.rate for b in model.blocks] == pytest.approx([0, 0.05, 0.1])


def test_a_block_divides_attention_as_the_paper_says():
    torch.manual_seed(3)
    block = DividedBlock(12, 2, 0.0, zero_time=False).eval()
    cls, x = torch.randn(2, 12), torch.randn(2, 3, 4, 12)
    time = torch.stack([block.temporal_attn(block.temporal_norm1(x[:, :, p])) for p in range(4)], 2)
    x1 = x + block.temporal_fc(time)
    frames = [torch.cat([cls[:, None], x1[:, t]], 1) for t in range(3)]
    space = [block.attn(block.norm1(f)) for f in frames]
    cls2 = cls + sum(s[:, 0] for s in space) / 3
    x2 = torch.stack([x1[:, t] + space[t][:, 1:] for t in range(3)], 1)
    expected = x2 + block.mlp(block.norm2(x2)), cls2 + block.mlp(block.norm2(cls2))
    got = block(cls, x)
    torch.testing.assert_close(got[1], expected[0])
    torch.testing.assert_close(got[0], expected[1])


def test_dropped_paths_are_whole_samples_and_keep_the_mean():
    layer, x = DropPath(0.25).train(), torch.ones(8000, 3)
    out = layer(x)
    assert torch.equal(out.amin(1), out.amax(1))
    assert out.mean().item() == pytest.approx(1, abs=0.03)
    assert layer.eval()(x) is x


def test_with_image_weights_a_still_clip_is_seen_as_the_image_network_sees_the_image():
    # Attention over time of the first layer is silenced, so that what is left is the image network in every frame.
    timm = pytest.importorskip("timm")
    image = timm.create_model("vit_tiny_patch16_224", img_size=32, depth=3, num_classes=0).eval()
    for p in image.parameters():
        nn.init.normal_(p, std=0.05) if p.ndim == 1 else None
    model = small_timesformer(width=192, patch=16).load_image_weights(image).eval()
    nn.init.zeros_(model.blocks[0].temporal_fc.weight)
    nn.init.zeros_(model.blocks[0].temporal_fc.bias)
    still = torch.rand(2, 3, 32, 32)
    clip = [still[:, None].expand(-1, t, -1, -1, -1) for t in (2, 2, 4)]
    expected = image.forward_features((still - 0.5) / 0.5)[:, 0]
    features = model.features(model.tokens(clip))
    for i in range(3):
        torch.testing.assert_close(features[:, i], expected, atol=1e-4, rtol=1e-4)
    for a, b in zip(model.blocks[1].temporal_attn.parameters(), model.blocks[1].attn.parameters(), strict=True):
        assert torch.equal(a, b)


def test_positions_are_resampled_and_other_networks_refused():
    timm = pytest.importorskip("timm")
    image = timm.create_model("vit_tiny_patch16_224", img_size=64, depth=3, num_classes=7)
    model = small_timesformer(width=192, patch=16).load_image_weights(image)
    assert model.pos_embed.shape == (1, 5, 192)
    torch.testing.assert_close(model.pos_embed[:, 0], image.pos_embed[:, 0])
    with pytest.raises(SpecError, match="more than the 2 layers"):
        small_timesformer(width=192, patch=16, depth=2).load_image_weights(image)
    with pytest.raises(SpecError, match="its width and patch"):
        small_timesformer(patch=16).load_image_weights(image)
    with pytest.raises(SpecError, match="expected a vision transformer"):
        small_timesformer().load_image_weights(nn.Linear(2, 2))


def test_the_base_size_has_the_published_number_of_parameters():
    # ViT-B/16 has 85.8 million without its head; each layer gets another attention, norm and projection: 12 (4 D^2 + D^2 + ...).
    with torch.device("meta"):
        model = models.timesformer(num_classes=99, input_shape=(8, 3, 224, 224))
    trunk = sum(p.numel() for n, p in model.named_parameters() if not n.startswith(("head.", "times.")))
    width, more = 768, 12
    image = 85_798_656
    each = (3 * width * width + 3 * width) + (width * width + width) * 2 + 2 * width
    assert trunk == image + more * each


def test_networks_of_clips_by_specification():
    model = models.build("tutelage:video-cnn?width=32&depth=1", num_classes=3, input_shape=SHAPE)
    assert model(torch.rand(2, *SHAPE)).shape == (2, 3)
    model = models.build("tutelage:timesformer?width=24&depth=2&heads=2&patch=16", num_classes=3, input_shape=SHAPE)
    assert model(torch.rand(2, *SHAPE)).shape == (2, 3)
    with pytest.raises(SpecError, match="takes clips"):
        models.build("tutelage:video-cnn", num_classes=3, input_shape=(3, 32, 32))
    with pytest.raises(SpecError, match="divides the frame"):
        models.build("tutelage:video-cnn?patch=5", num_classes=3, input_shape=SHAPE)


def test_options_out_of_range_are_refused():
    with pytest.raises(OptionError, match="heads that divide"):
        small_timesformer(heads=5)
    with pytest.raises(OptionError, match="dropout from 0"):
        small_timesformer(dropout=1.0)
    with pytest.raises(ShapeError, match="crop them"):
        small_timesformer()(elements(side=40))
