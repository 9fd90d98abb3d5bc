from __future__ import annotations

import dataclasses

import pytest
import torch

from tutelage import data, models
from tutelage.errors import OptionError
from tutelage.methods.self_supervised.obow import OBoW
from tutelage.recipes.pretrain import pretrain
from tutelage.recipes.recipe import PretrainSetting
from tutelage.recipes.self_supervised import obow, words
from tutelage.train import Run, TrainOptions


@pytest.fixture(scope="module")
def report():
    return obow.RECIPE().quick().run(Run(seeds=(0,), quick=True, name="obow"))


def test_the_small_run_trains_every_arm(report):
    assert set(report.values) == {"random init", "OBoW", "static teacher", "fixed linear head"}
    assert all({"accuracy", "knn", "validation_accuracy", "effective_rank"} <= set(row) for row in report.values.values())
    (chosen,) = [note for note in report.notes if note.startswith("Probes that validation data chose")]
    assert all(f"{arm}: " in chosen for arm in report.values)
    assert [picture.title for picture in report.pictures] == ["Visual words"]
    assert {curve.y_label for curve in report.curves} >= {"perplexity", "KL, nats", "accuracy, percent"}


def test_the_small_run_learns_with_its_vocabulary_in_use(report):
    loss = next(curve for curve in report.curves if curve.y_label == "KL, nats").y["OBoW"]
    assert loss[-1] < 0.9 * loss[0]
    assert report.mean("OBoW", "words_per_image") > 2
    assert report.mean("OBoW", "words_per_batch") > 256 / 10
    assert report.mean("OBoW", "effective_rank") > 5
    assert report.mean("OBoW", "accuracy") > 75  # chance is 10


def test_every_ablation_changes_what_its_name_says():
    recipe = obow.RECIPE()
    ours, arms = recipe.options, recipe.arms()
    changes = {
        arm: {f.name: getattr(options, f.name) for f in dataclasses.fields(ours) if getattr(options, f.name) != getattr(ours, f.name)}
        for arm, options in arms.items()
    }
    assert changes == {
        "OBoW": {},
        "static teacher": {"momentum": 1.0},
        "fixed linear head": {"head": "linear"},
        "k-means vocabulary": {"vocabulary": "k-means"},
        "average pooling": {"pooling": "average"},
        "hard codes": {"inverse_delta": None},
        "one level": {"levels": ("blocks.3",)},
        "vanilla": {"levels": ("blocks.3",), "crops": 1, "patches": 0},
    }


def test_the_small_experiments_crops_have_the_sizes_of_the_plan():
    kinds = obow.digit_views(28, obow.RECIPE().options)
    shapes = {name: tuple(draw(torch.rand(3, 1, 28, 28), None).shape) for name, draw in kinds.items()}
    assert shapes == {"crops": (2, 3, 1, 20, 20), "patches": (2, 3, 1, 12, 12)}


def setting(spec="tutelage:cnn?widths=4,8&grid=1", size: int = 28, number: int = 40, **changes):
    images = data.Arrays({"input": torch.rand(number, 1, size, size), "label": torch.arange(number) % 3}, ("a", "b", "c"))
    network, width = models.backbone(spec, images.shape)
    train = dataclasses.replace(obow.PRETRAIN, batch_size=16)
    return dataclasses.replace(PretrainSetting(network, width, images, train, 0, Run(), 3), **changes)


def test_the_door_builds_views_levels_and_probe_from_the_options():
    options = obow.OPTIONS(words=32, patches=3, online_probe=True)
    method, batches = obow.pretrain(setting(), options)
    assert isinstance(method, OBoW)
    assert method.levels == ("stages.0", "stages")  # 28x28 and 14x14
    losses = method.losses(batches.batch(0, 0))
    assert set(losses) == {"crops", "patches", "probe"}
    shapes = [draw(torch.rand(2, 1, 28, 28), None).shape for draw in method.crops.values()]
    assert [tuple(shape) for shape in shapes] == [(2, 2, 1, 20, 20), (3, 2, 1, 12, 12)]
    assert (batches.batch_size, batches.drop_last) == (16, True)


def test_the_door_takes_named_levels_and_the_users_view():
    options = obow.OPTIONS(words=32, levels=("stages.1",), crops=1, patches=1)
    method, _ = obow.pretrain(setting(view=lambda images, generator: images.flip(-1)), options)
    images = torch.rand(2, 1, 28, 28)
    assert method.levels == ("stages.1",)
    assert method.view is None
    assert torch.equal(method.crops["crops"](images, None), images.flip(-1).expand(2, -1, -1, -1, -1))
    with pytest.raises(OptionError, match=r"no layer 'stage.1'.*stages.1"):
        obow.pretrain(setting(), obow.OPTIONS(levels=("stage.1",)))


def test_batches_must_divide_the_words_and_shrink_to_little_data():
    with pytest.raises(OptionError, match=r"100 words .* batches of 16: give a batch size .* --batch-size 10"):
        obow.pretrain(setting(), obow.OPTIONS(words=100))
    _, batches = obow.pretrain(setting(number=13), obow.OPTIONS(words=64))
    assert batches.batch_size == 8
    _, batches = obow.pretrain(setting(), obow.OPTIONS(words=100, vocabulary="k-means"))
    assert batches.batch_size == 16


def test_backbones_without_maps_or_of_one_size_are_refused():
    with pytest.raises(OptionError, match="maps of at least 5x5"):
        obow.pretrain(setting(size=4), obow.OPTIONS(words=32))
    with pytest.raises(OptionError, match=r"maps|convolutional"):
        obow.pretrain(setting("tutelage:vit?depth=1"), obow.OPTIONS(words=32))


def test_pretrain_learns_features_and_writes_them(tmp_path):
    arrays = setting(number=64).images
    report = pretrain(
        "tutelage:cnn?widths=4,8&grid=1",
        arrays,
        method="obow",
        options=obow.OPTIONS(words=32, crops=1, patches=1),
        train=TrainOptions(epochs=2, batch_size=16, learning_rate=0.02, accelerator="cpu"),
        out=tmp_path / "run",
    )
    assert {"untrained", "obow"} <= set(report.values)
    network, width = models.load_backbone(tmp_path / "run")
    assert width == 8
    assert torch.isfinite(network(torch.rand(2, 1, 28, 28))).all()


def test_the_surest_places_of_a_word_are_those_nearest_to_it():
    torch.manual_seed(0)
    network = models.ConvBlocks(widths=(3, 4), strides=(1, 2))
    method = OBoW(network, {"blocks.1": 4}, 4, {"all": lambda images, generator: images[None]}, words=8, inverse_delta=5.0)
    images = torch.rand(8, 1, 16, 16)
    method.losses({"input": images})
    used, chosen, places, size = words.surest(method, images, 3, 4)
    assert size == (6, 6)
    assert (used.shape, chosen.shape, places.shape) == ((3,), (3, 4), (3, 4))
    assert all(len(row.unique()) == 4 for row in chosen)
    assert int(places.max()) < 36
    assert len(words.drawn(method, images, rows=3, columns=4).axes) == 12
