from __future__ import annotations

import io
import json
import resource

import pytest
import torch
from rich.console import Console
from torch import nn

from tutelage import models, store, views
from tutelage.data import Arrays, DataSet
from tutelage.errors import DataError, OptionError, ShapeError, StoreError
from tutelage.targets import TopK, top_k
from tutelage.teachers import Frozen

QUIET = Console(file=io.StringIO())
CLASSES = ("a", "b", "c", "d", "e")


def data(rows=(70, 20, 10), seed=0, classes=CLASSES) -> DataSet:
    """Pictures of 1x6x6; each part's original rows are scattered over the whole."""
    generator = torch.Generator().manual_seed(seed)
    total = sum(rows)
    label = torch.arange(total) % 5
    whole = Arrays({"input": torch.rand(total, 1, 6, 6, generator=generator), "label": label}, classes=classes)
    order = torch.randperm(total, generator=generator).split(list(rows))
    return DataSet("pictures", *(whole.subset(o) for o in order))


def teacher(seed=1, outputs=5) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Dropout(0.5), nn.Linear(48, outputs))


def answers(model, inputs):
    with torch.no_grad():
        return model.eval()(inputs)


def label(out, model=None, source=None, **options):
    given = {"shard_rows": 16, "batch_size": 8, "console": QUIET} | options
    return store.label(model or teacher(), data() if source is None else source, out, **given)


@pytest.mark.parametrize(("dtype", "kind"), [("fp16", torch.float16), ("bf16", torch.bfloat16), ("fp32", torch.float32)])
def test_dense_logits_of_every_sample_come_back_by_its_original_row(tmp_path, dtype, kind):
    source, model = data(), teacher()
    kept = label(tmp_path / "s", model, source, dtype=dtype)
    for part, arrays in source.parts.items():
        rows = torch.randperm(len(arrays))
        batch = arrays.gather(rows)
        got = kept.gather(part, batch["index"])["logits"]
        assert got.dtype == kind
        # batches of 8 and of the whole part may differ in the last bits
        torch.testing.assert_close(got.float(), answers(model, batch["input"]).to(kind).float(), rtol=1e-2, atol=1e-3)
        assert kept.read(part, batch["index"]).dtype == torch.float32
    assert kept.complete
    assert store.verify(tmp_path / "s") == []


@pytest.mark.parametrize("k", [1, 3, 5, 9])
def test_top_k_is_that_of_the_targets(tmp_path, k):
    source, model = data(), teacher()
    kept = label(tmp_path / "s", model, source, keep=f"top-k:{k}", dtype="fp32", temperature=2.5)
    batch = source.train.gather()
    expected = top_k(answers(model, batch["input"]), k, temperature=2.5)
    found = kept.read("train", batch["index"])
    assert isinstance(found, TopK)
    assert found.temperature == 2.5
    torch.testing.assert_close(found.log_probs, expected.log_probs)
    torch.testing.assert_close(found.log_rest, expected.log_rest)
    assert torch.equal(found.indices, expected.indices)
    raw = kept.gather("train", batch["index"])
    assert {n: (v.dtype, tuple(v.shape)) for n, v in raw.items()} == {
        "log_probs": (torch.float32, (70, min(k, 5))),
        "indices": (torch.int32, (70, min(k, 5))),
        "log_rest": (torch.float32, (70,)),
    }


def test_indices_beyond_two_bytes_are_kept(tmp_path):
    class Wide(nn.Module):
        def forward(self, x):
            return nn.functional.one_hot(70_000 + x[:, 0].long(), 80_000) * 5.0

    rows = torch.arange(6).float()[:, None]
    kept = label(tmp_path / "s", Wide(), Arrays({"input": rows}), keep="top-k:2")
    assert kept.read("train", torch.tensor([3, 0])).indices[:, 0].tolist() == [70_003, 70_000]


@pytest.mark.parametrize("wrap", [lambda m: m, Frozen, lambda m: Frozen(models.Adapted(m, mean=0.0))])
def test_features_are_those_of_the_layer(tmp_path, wrap):
    source, model = data(), teacher()
    kept = label(tmp_path / "s", wrap(model), source, keep="features:2", dtype="fp32")
    batch = source.validation.gather()
    expected = answers(model[:3], batch["input"])
    torch.testing.assert_close(kept.read("validation", batch["index"]), expected)
    assert kept.about["outputs"] == {"features": {"shape": [3, 4, 4], "dtype": "F32"}}


class Detector(nn.Module):
    """Finds as many boxes as the first pixel says, none included."""

    def forward(self, images):
        found = []
        for image in images:
            count = int(image[0, 0, 0] * 4)
            corners = image.flatten()[: 4 * count].reshape(count, 4) * 4000
            found.append({"boxes": corners, "scores": image.flatten()[:count], "labels": torch.arange(count)})
        return found


def test_boxes_come_back_picture_by_picture(tmp_path):
    source = data()
    kept = label(tmp_path / "s", Detector(), source, keep="boxes", dtype="fp32")
    batch = source.train.gather(torch.randperm(70)[:33])
    found = kept.read("train", batch["index"])
    for got, expected in zip(found, Detector()(batch["input"]), strict=True):
        assert all(torch.equal(got[name], expected[name]) for name in expected)
    flat = kept.gather("train", batch["index"])
    assert flat["counts"].tolist() == [len(f["scores"]) for f in found]
    assert kept.gather("train", torch.zeros(0, dtype=torch.int64))["boxes"].shape == (0, 4)


def test_views_are_regenerated_from_their_stored_seed(tmp_path):
    source, model, view = data(), teacher(), views.from_name("crop-flip-erase")
    kept = label(tmp_path / "s", model, source, view="crop-flip-erase", views=3, view_seed=7, dtype="fp32")
    assert (kept.view, kept.views, kept.view_seed) == ("crop-flip-erase", 3, 7)
    batch = source.train.gather(torch.randperm(70))
    for number in range(3):
        seen = views.per_row(view, batch["input"], views.row_seeds(7, batch["index"], number))
        torch.testing.assert_close(kept.read("train", batch["index"], number), answers(model, seen))
    plain = source.test.gather()
    torch.testing.assert_close(kept.read("test", plain["index"]), answers(model, plain["input"]))
    with pytest.raises(OptionError, match=r"has 3 view\(s\) of train"):
        kept.read("train", batch["index"], 3)
    with pytest.raises(OptionError, match=r"has 1 view\(s\) of test"):
        kept.read("test", plain["index"], 1)


def test_the_teacher_is_left_as_it_was(tmp_path):
    model = teacher().train()
    model[1].eval()
    before = {n: t.clone() for n, t in model.state_dict().items()}
    label(tmp_path / "s", model)
    assert model.training
    assert not model[1].training
    assert all(torch.equal(before[n], t) for n, t in model.state_dict().items())
    assert all(p.requires_grad for p in model.parameters())


def tree(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_resuming_fills_what_is_missing_and_touches_nothing_else(tmp_path):
    label(tmp_path / "s")
    whole = tree(tmp_path / "s")
    (tmp_path / "s/train/view-0/00001.safetensors").unlink()
    (tmp_path / "s/train/view-0/00003.json").unlink()
    (tmp_path / "s/train/view-0/.00004.77.tmp.safetensors").write_bytes(b"half")
    (tmp_path / "s/validation/view-0/00000.safetensors").write_bytes(b"truncated")
    (tmp_path / "s/test/index.safetensors").unlink()
    times = {name: (tmp_path / "s" / name).stat().st_mtime_ns for name in whole if "00002" in name}
    asked = []
    model = teacher()
    model.register_forward_hook(lambda m, inputs, output: asked.append(len(output)))
    kept = label(tmp_path / "s", model, resume=True)
    assert tree(tmp_path / "s") == whole
    assert sum(asked) == 16 + 16 + 16  # three shards, and no probe
    assert kept.complete
    assert times == {name: (tmp_path / "s" / name).stat().st_mtime_ns for name in times}


def test_nothing_is_overwritten(tmp_path):
    label(tmp_path / "s")
    before = tree(tmp_path / "s")
    with pytest.raises(StoreError, match="is a label store already"):
        label(tmp_path / "s")
    assert tree(tmp_path / "s") == before
    (tmp_path / "other").mkdir()
    (tmp_path / "other/thesis.txt").write_text("mine")
    with pytest.raises(StoreError, match="is not a label store"):
        label(tmp_path / "other", resume=True)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(StoreError, match="is not a label store"):
        label(tmp_path / "file")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": teacher(2)}, "teacher: Sequential"),
        ({"source": data(seed=1)}, "train data: .*contents or order differ"),
        ({"source": data((71, 19, 10))}, "train data: 70 rows, here 71"),
        ({"dtype": "fp32"}, "dtype: 'fp16', here 'fp32'"),
        ({"keep": "top-k:2"}, "what is kept: 'logits', here 'top-k:2'"),
        ({"view": "crop", "views": 1}, "view: None, here 'crop'"),
        ({"view_seed": 3}, "seed of the views: 0, here 3"),
        ({"shard_rows": 8}, "rows of a shard: 16, here 8"),
        ({"parts": ["train"]}, "parts: train, validation, test, here train"),
    ],
)
def test_a_resume_of_something_else_says_what_differs(tmp_path, options, message):
    label(tmp_path / "s")
    with pytest.raises(StoreError, match=message):
        label(tmp_path / "s", options.pop("model", None), options.pop("source", None), resume=True, **options)


def test_the_same_contents_numbered_otherwise_are_other_data(tmp_path):
    source = data()
    label(tmp_path / "s", source=source)
    turned = source.train.replace(index=source.train.index.flip(0))
    with pytest.raises(StoreError, match="numbered otherwise"):
        label(tmp_path / "s", source=DataSet("d", turned, source.validation, source.test), resume=True)


def test_an_engine_that_was_chosen_is_kept(tmp_path):
    label(tmp_path / "s", Frozen(teacher(), engine="folded"))
    assert json.loads((tmp_path / "s/store.json").read_text())["teacher"]["engine"] == "folded"
    chosen = Frozen(teacher(), engine="auto")
    label(tmp_path / "s", chosen, resume=True)
    assert chosen.chosen == "folded"
    with pytest.raises(StoreError, match="engine folded, here eager"):
        label(tmp_path / "s", resume=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"keep": "logit"}, "Did you mean 'logits'"),
        ({"keep": "top-k"}, "such as top-k:32"),
        ({"keep": "top-k:0"}, "at least 1"),
        ({"keep": "features"}, "features:stages"),
        ({"keep": "features:7"}, "has no layer '7'"),
        ({"keep": "text"}, "complete"),
        ({"dtype": "fp8"}, "fp16, bf16, fp32"),
        ({"temperature": 2.0}, "dense logits serve every temperature"),
        ({"keep": "top-k:2", "temperature": 0.0}, "above 0"),
        ({"view": "crop"}, "give both"),
        ({"views": 2}, "give both"),
        ({"view": "crops", "views": 2}, "Did you mean"),
        ({"parts": ["train", "tset"]}, "Did you mean 'test'"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"shard_rows": 0}, "shard_rows is 0"),
        ({"rank": 2, "world": 2}, "rank is 2"),
    ],
)
def test_bad_options_are_named_and_leave_nothing_behind(tmp_path, options, message):
    with pytest.raises(OptionError, match=message):
        label(tmp_path / "s", **options)
    assert not (tmp_path / "s").exists()


class Changing(nn.Module):
    """Goes wrong from the given row on."""

    def __init__(self, wrong, row=40):
        super().__init__()
        self.wrong, self.row, self.seen = wrong, row, 0

    def forward(self, x):
        logits = x.flatten(1)[:, :5]
        self.seen += len(x) if len(x) > 2 else 0
        return self.wrong(logits) if self.seen > self.row else logits


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        (lambda y: y[:, :4], ShapeError, r"answers 4 classes|became"),
        (lambda y: y[:, None].expand(-1, 2, -1), ShapeError, r"became .*'shape': \[2, 5\].* so far"),
        (lambda y: y[:-1], ShapeError, r"train rows 40 to 47\) with torch.float32 \[7, 5\]"),
        (lambda y: y.long(), ShapeError, "int64"),
        (lambda y: [y], ShapeError, "a list"),
        (lambda y: y.masked_fill(y == y.max(), float("nan")), DataError, "NaN or infinity for 1 of 8 rows"),
        (lambda y: y + float("inf"), DataError, "NaN or infinity for 8 of 8 rows"),
        (lambda y: y * 1e6, OptionError, "fp16 ends at 65504.*--dtype bf16"),
        (lambda y: y @ torch.zeros(3, 3), ShapeError, "cannot run on the data's inputs .*train rows 40"),
    ],
)
def test_a_teacher_that_goes_wrong_half_way_keeps_what_was_labelled(tmp_path, wrong, error, message):
    with pytest.raises(error, match=message):
        label(tmp_path / "s", Changing(wrong))
    kept = store.Store.open(tmp_path / "s")
    assert "train/view-0/00002.safetensors" in kept.missing()
    rows = data().train.index[:32]
    assert kept.gather("train", rows)["logits"].shape == (32, 5)
    with pytest.raises(StoreError, match=r"00002\.safetensors is not labelled yet"):
        kept.gather("train", data().train.index[32:33])
    assert label(tmp_path / "s", Changing(lambda y: y), resume=True).complete


def test_top_k_of_logits_that_are_not_finite_is_refused(tmp_path):
    with pytest.raises(DataError, match="NaN or infinity"):
        label(tmp_path / "s", Changing(lambda y: y * float("nan")), keep="top-k:2")
    masked = label(tmp_path / "masked", Changing(lambda y: y.index_fill(1, torch.tensor([0]), -float("inf")), row=-1), keep="top-k:2")
    assert masked.complete  # a class that the teacher rules out is no mistake


def test_classes_of_teacher_and_data_must_agree(tmp_path):
    with pytest.raises(ShapeError, match="answers 7 classes but the data has 5"):
        label(tmp_path / "s", teacher(outputs=7))
    assert not (tmp_path / "s").exists()


def test_data_that_cannot_be_labelled_are_refused(tmp_path):
    with pytest.raises(DataError, match="no rows"):
        label(tmp_path / "s", source=Arrays({"input": torch.rand(0, 1, 6, 6)}))
    with pytest.raises(ShapeError, match="size=, channels="):
        label(tmp_path / "s", source=Arrays({"input": torch.rand(4, 3, 6, 6)}))


def test_a_full_disk_is_named_and_what_is_whole_stays(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    model = teacher()
    seen: list[int] = []

    def fill(module, inputs, output):
        seen.append(len(output))
        if sum(seen) > 2 + 40:
            resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))  # as a full disk does, from here on every file ends after some bytes

    hook = model.register_forward_hook(fill)
    try:
        with pytest.raises(
            StoreError, match=r"Shard train/view-0/00002\.safetensors .* 2 of 8 shards are whole.*Free disk space.*--resume"
        ):
            label(tmp_path / "s", model)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    hook.remove()
    label(tmp_path / "s", resume=True)
    label(tmp_path / "t")
    assert tree(tmp_path / "s") == tree(tmp_path / "t")


def test_fingerprints_know_weights_structure_and_files(tmp_path):
    same, other = store.fingerprint(teacher(1)), store.fingerprint(teacher(2))
    assert store.fingerprint(teacher(1)) == same != other
    assert store.fingerprint(Frozen(teacher(1), engine="folded")) == same
    turned = teacher(1)
    turned[2] = nn.LeakyReLU()
    assert store.fingerprint(turned) != same  # the same weights in another structure

    class Rule(nn.Module):
        def __init__(self, function):
            super().__init__()
            self.function = function

        def extra_repr(self):
            return repr(self.function)

    assert store.fingerprint(Rule(torch.relu)) == store.fingerprint(Rule(torch.relu)) != store.fingerprint(Rule(torch.tanh))

    class Lambda(Rule):
        pass

    assert store.fingerprint(Lambda(lambda x: x)) == store.fingerprint(Lambda(lambda x: x))  # addresses do not count


def test_fitted_classifiers_are_told_apart():
    from sklearn.linear_model import LogisticRegression

    x, y = torch.rand(60, 4, generator=torch.Generator().manual_seed(0)).numpy(), [0, 1, 2] * 20
    fits = [models.SklearnModel(LogisticRegression(C=c).fit(x, y), num_classes=3) for c in (1.0, 1.0, 5.0)]
    prints = [store.fingerprint(m) for m in fits]
    assert prints[0] == prints[1] != prints[2]
