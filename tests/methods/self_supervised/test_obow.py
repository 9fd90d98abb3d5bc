from __future__ import annotations

import copy
import dataclasses
import inspect
import itertools
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tutelage import data, models, views
from tutelage.errors import OptionError, ShapeError
from tutelage.methods.self_supervised.obow import OBoW, crops_and_patches
from tutelage.recipes.self_supervised.obow import BUILDING, OPTIONS
from tutelage.train import Trainer, TrainOptions

IMAGES = torch.rand(8, 1, 16, 16, generator=torch.Generator().manual_seed(0))
WHOLE = {"whole": lambda images, generator: images[None]}


def small(words: int = 16, levels=("blocks.1", "blocks.2"), crops=None, seed: int = 0, **options):
    """OBoW of a network whose maps are 8x8 and 8x8."""
    torch.manual_seed(seed)
    network = models.ConvBlocks(widths=(3, 4, 6), strides=(1, 2, 1))
    crops = {"crops": views.Several(views.random_resized_crop(10), 2)} if crops is None else crops
    channels = {"blocks.1": 4, "blocks.2": 6}
    method = OBoW(network, {name: channels[name] for name in levels}, 6, crops, words=words, **options)
    method.generator = torch.Generator().manual_seed(1)
    return method


def by_hand(method, images, crops):
    """The loss of crops [n, N, C, h, w] without any part of the library: loops over images, places and levels."""
    total = []
    with torch.no_grad():
        x, maps = images, []
        for block in method.teacher.model.blocks:
            x = block(x)
            maps.append(x)
    features = method.student(crops.flatten(0, 1)).view(*crops.shape[:2], -1)
    for level, bag, memory, head in zip((1, 2), method.bags, method.vocabularies, method.heads, strict=True):
        cells, words = maps[level][:, :, 1:-1, 1:-1], memory.words.clone()
        distances = [[[(t - v).square().sum() for v in words] for t in image.flatten(1).T] for image in cells]
        nearest = [min(place) for image in distances for place in image]
        mu = 0.99 * float(bag.mean_distance) + 0.01 * float(sum(nearest)) / len(nearest)
        for i, image in enumerate(distances):
            codes = [torch.softmax(-15.0 / mu * torch.stack(place), 0) for place in image]
            y = torch.stack(codes).max(0).values
            y = y / y.sum()
            for f in features[:, i]:
                log_p = torch.log_softmax(8.0 * (head(words) @ f), 0)
                total.append((torch.xlogy(y, y) - y * log_p).sum())
    return sum(total) / len(total)


def test_the_loss_is_that_of_the_algorithm_by_hand():
    crops = torch.rand(2, 8, 1, 10, 10)
    method = small(crops={"crops": lambda images, generator: crops})
    twin = copy.deepcopy(method)
    expected = by_hand(twin, IMAGES, crops)
    torch.testing.assert_close(method.losses({"input": IMAGES})["crops"], expected, rtol=1e-4, atol=1e-6)


def test_kinds_of_crops_are_losses_of_their_own_and_levels_are_averaged():
    kinds = {"crops": views.Several(views.random_resized_crop(10), 2), "patches": views.GridPatches(6, jitter=1, count=3)}
    losses = small(crops=kinds).losses({"input": IMAGES})
    assert set(losses) == {"crops", "patches"}
    one, two, both = (small(levels=levels, crops=WHOLE) for levels in (("blocks.1",), ("blocks.2",), ("blocks.1", "blocks.2")))
    for method, donor, place in ((one, both, 0), (two, both, 1)):
        method.heads[0].load_state_dict(donor.heads[place].state_dict())
        method.vocabularies[0].load_state_dict(donor.vocabularies[place].state_dict())
    single = [method.losses({"input": IMAGES})["whole"] for method in (one, two)]
    torch.testing.assert_close(both.losses({"input": IMAGES})["whole"], (single[0] + single[1]) / 2)


def test_targets_are_made_before_the_new_words_come_in():
    method = small(words=16, levels=("blocks.2",))
    before = method.vocabularies[0].snapshot()
    first, _ = method.targets(IMAGES, [before])
    assert int(method.vocabularies[0].pointer) == 8
    assert not torch.equal(method.vocabularies[0].words[:8], before[:8])
    assert torch.equal(method.vocabularies[0].words[8:], before[8:])
    again = small(words=16, levels=("blocks.2",))
    again.vocabularies[0].push = lambda rows: None
    torch.testing.assert_close(again.targets(IMAGES, [before])[0][0], first[0])


def test_new_words_are_means_of_squares_of_the_teachers_map():
    method = small(levels=("blocks.2",))
    with models.tap(method.teacher.model, "blocks.2") as maps:
        method.teacher(IMAGES)
    method.losses({"input": IMAGES})
    squares = F.avg_pool2d(maps["blocks.2"][:, :, 1:-1, 1:-1], 3, 1).flatten(2)
    pushed = method.vocabularies[0].words[:8]
    assert (squares - pushed[:, :, None]).abs().amax(1).min(1).values.max() < 1e-5


def test_a_permutation_of_the_vocabulary_leaves_the_loss():
    method, order = small(crops=WHOLE), torch.randperm(16, generator=torch.Generator().manual_seed(5))
    other = copy.deepcopy(method)
    for memory in other.vocabularies:
        memory.words.copy_(memory.words[order])
    targets = [m.targets(IMAGES, [v.snapshot() for v in m.vocabularies])[0] for m in (copy.deepcopy(method), copy.deepcopy(other))]
    torch.testing.assert_close(targets[1][0], targets[0][0][:, order])
    torch.testing.assert_close(other.losses({"input": IMAGES})["whole"], method.losses({"input": IMAGES})["whole"])


def test_equal_words_make_uniform_bags_and_the_loss_that_of_a_uniform_target():
    method = small(crops=WHOLE, levels=("blocks.2",))
    method.vocabularies[0].words.fill_(0.3)
    y = method.targets(IMAGES, [method.vocabularies[0].snapshot()])[0][0]
    torch.testing.assert_close(y, torch.full_like(y, 1 / 16))
    features, weights = torch.randn(8, 6), F.normalize(torch.randn(16, 6), dim=1)
    log_p = torch.log_softmax(8 * features @ weights.T, -1)
    torch.testing.assert_close(method.divergence(features, weights, y)[0], (-math.log(16) - log_p.mean(-1)))


def test_no_gradient_reaches_teacher_vocabulary_or_target_and_all_of_student_and_generators_learn():
    method = small()
    words = [memory.snapshot() for memory in method.vocabularies]
    targets, features = method.targets(IMAGES, words)
    assert not any(t.requires_grad for t in [*targets, features, *words])
    sum(method.losses({"input": IMAGES}).values()).backward()
    assert all(p.grad is None for p in method.teacher.parameters())
    learned = [*method.student.named_parameters(), *method.heads.named_parameters()]
    assert all(p.grad is not None for _, p in learned)
    assert all(p.grad.abs().max() > 0 for name, p in method.heads.named_parameters())
    assert {id(p) for p in method.players()["student"].parameters} == {id(p) for _, p in learned}


def test_each_crop_of_an_image_is_compared_with_that_images_target():
    method = small(levels=("blocks.2",))
    y, weights = torch.rand(4, 16).softmax(-1), F.normalize(torch.randn(16, 6), dim=1)
    features = torch.randn(3, 4, 6)  # three crops of four images
    found = method.divergence(features.flatten(0, 1), weights, y)
    assert found.shape == (3, 4)
    # In the order of the authors' code the crops of an image lie together, and its target is repeated as often.
    minor = features.transpose(0, 1).flatten(0, 1)
    expanded = y.repeat_interleave(3, 0)
    log_p = torch.log_softmax(8 * minor @ weights.T, -1)
    expected = (expanded * (expanded.log() - log_p)).sum(-1)
    torch.testing.assert_close(found.T.flatten(), expected)


def test_the_teachers_momentum_rises_from_099_to_1():
    momentum = small().teacher.momentum
    assert [momentum(t) for t in (0.0, 0.5, 1.0)] == pytest.approx([0.99, 0.995, 1.0])


@pytest.mark.parametrize(("options", "progress"), [({}, 1.0), ({"momentum": 1.0}, 0.0), ({"momentum": 1.0}, 0.5)])
def test_at_a_momentum_of_1_the_teacher_stays(options, progress):
    method = small(**options)
    before = copy.deepcopy(dict(method.teacher.model.named_parameters()))
    for p in method.student.parameters():
        p.data.add_(1)
    method.progress = progress
    method.update_teachers()
    assert all(torch.equal(before[name], p) for name, p in method.teacher.model.named_parameters())


def test_only_parameters_are_averaged_and_the_teacher_uses_the_batchs_statistics():
    method = small()
    for p in method.student.parameters():
        p.data.add_(1)
    for name, buffer in method.student.named_buffers():
        buffer.add_(50 if "running" in name else 0)
    held = {name: buffer.clone() for name, buffer in method.teacher.model.named_buffers()}
    weight = method.teacher.model.blocks[0][0].weight.clone()
    method.update_teachers()
    torch.testing.assert_close(method.teacher.model.blocks[0][0].weight, weight + 0.01)
    assert all(torch.equal(held[name], buffer) for name, buffer in method.teacher.model.named_buffers())
    method.train()
    for name, buffer in method.teacher.model.named_buffers():
        if "running" in name:
            buffer.add_(3)
    with models.tap(method.teacher.model, "blocks.0.1") as first:
        method.teacher(IMAGES)
    torch.testing.assert_close(first["blocks.0.1"].mean((0, 2, 3)), method.teacher.model.blocks[0][1].bias, atol=1e-4, rtol=0)


def test_hard_codes_average_pooling_and_k_means_are_options():
    hard = small(inverse_delta=None).targets(IMAGES, [torch.rand(16, 4), torch.rand(16, 6)])[0][0]
    for row in hard:
        assert len(row[row > 0].unique()) == 1
    average = small(inverse_delta=None, pooling="average").targets(IMAGES, [torch.rand(16, 4), torch.rand(16, 6)])[0][0]
    assert ((average * 36 - (average * 36).round()).abs() < 1e-4).all()
    means = small(words=10, vocabulary="k-means")  # no multiple of the batch
    before = means.vocabularies[0].snapshot()
    assert torch.isfinite(means.losses({"input": IMAGES})["crops"])
    assert not torch.equal(before, means.vocabularies[0].words)


def test_the_fixed_head_has_a_weight_per_place_of_the_vocabulary():
    method = small(head="linear")
    assert [tuple(p.shape) for p in method.heads.parameters()] == [(16, 6), (16, 6)]
    method.losses({"input": IMAGES})["crops"].backward()
    assert method.heads[0].weight.grad.abs().max() > 0


def test_the_probe_learns_from_detached_features_of_the_teacher():
    torch.manual_seed(0)
    method = small()
    method.probe = nn.Linear(6, 3)
    batch = {"input": IMAGES, "label": torch.arange(8) % 3}
    losses = method.losses(batch)
    losses["probe"].backward()
    assert method.probe.weight.grad.abs().max() > 0
    assert all(p.grad is None for p in [*method.student.parameters(), *method.teacher.parameters()])
    assert "probe_accuracy" in method.take_logged()
    assert "probe" not in method.losses({"input": IMAGES})


def test_the_words_in_use_are_logged_for_each_level():
    method = small()
    method.losses({"input": IMAGES})
    logged = method.take_logged()
    assert set(logged) == {f"{name}_{level}" for name in ("perplexity_image", "perplexity_batch", "distance") for level in (1, 2)}
    assert all(1 <= logged[f"perplexity_image_{n}"] <= logged[f"perplexity_batch_{n}"] <= 16 for n in (1, 2))


def test_words_that_the_batch_does_not_divide_and_maps_that_are_too_small_are_refused():
    with pytest.raises(OptionError, match="18 entries got 8 vectors"):
        small(words=18).losses({"input": IMAGES})
    with pytest.raises(ShapeError, match="3x3"):
        small().losses({"input": IMAGES[:, :, :8, :8]})
    small(words=64).losses({"input": IMAGES})  # more words than images


@pytest.mark.parametrize("wrong", [{"kappa": 0.0}, {"head": "mlp"}, {"vocabulary": "stack"}, {"pooling": "sum"}, {"inverse_delta": -1.0}])
def test_wrong_options_are_named(wrong):
    with pytest.raises(OptionError, match=next(iter(wrong))):
        small(**wrong)


def test_a_method_without_levels_or_crops_is_refused():
    for levels, crops in (({}, WHOLE), ({"blocks.2": 6}, {})):
        with pytest.raises(OptionError, match="at least one"):
            OBoW(models.ConvBlocks(widths=(3,), strides=(1,)), levels, 3, crops)


def test_a_training_that_was_left_goes_on_to_the_same_words(tmp_path):
    def train(directory, epochs_before_leaving=None):
        method = small()
        batches = data.Batches(data.Arrays({"input": torch.rand(32, 1, 16, 16, generator=torch.Generator().manual_seed(7))}), 8)

        def leave(method):
            if epochs_before_leaving is not None and method.epoch + 1 == epochs_before_leaving:
                raise InterruptedError
            return {}

        options = TrainOptions(epochs=3, batch_size=8, learning_rate=0.05, accelerator="cpu")
        Trainer(method, batches, options, directory=directory, validate=leave).fit(resume=directory is not None)
        return method.state_dict()

    whole = train(None)
    with pytest.raises(InterruptedError):
        train(tmp_path, 2)
    resumed = train(tmp_path)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


@pytest.mark.slow
def test_two_processes_hold_the_same_words():
    program = Path(__file__).parents[2] / "programs" / "words_of_ranks.py"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("same words") == 2


def test_the_published_views_have_the_published_sizes():
    images = torch.rand(2, 3, 256, 256)
    view, crops = crops_and_patches()
    assert view(images, None).shape == (2, 3, 224, 224)
    assert {name: tuple(draw(images, None).shape) for name, draw in crops.items()} == {
        "crops": (2, 2, 3, 160, 160),
        "patches": (5, 2, 3, 96, 96),
    }
    assert (crops["patches"].grid, crops["patches"].jitter) == (3, 24)
    _, little = crops_and_patches(28, crops=1, patches=2)
    assert [draw(images[:, :, :28, :28], None).shape[-1] for draw in little.values()] == [20, 12]
    assert list(crops_and_patches(28, patches=0)[1]) == ["crops"]
    with pytest.raises(OptionError, match="nothing to see"):
        crops_and_patches(28, crops=0, patches=0)


def test_views_of_one_seed_are_the_same():
    for draw in itertools.chain(*(kinds.values() for _, kinds in [crops_and_patches(28)])):
        images = torch.rand(3, 3, 28, 28)
        assert torch.equal(draw(images, torch.Generator().manual_seed(3)), draw(images, torch.Generator().manual_seed(3)))


def test_options_are_the_keyword_arguments():
    keywords = {p.name: p.default for p in inspect.signature(OBoW).parameters.values() if p.kind is p.KEYWORD_ONLY}
    assert {f.name: f.default for f in dataclasses.fields(OPTIONS) if f.name not in BUILDING} == keywords
