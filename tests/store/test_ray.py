"""Labelling on a local Ray with two workers: the same bytes as without, whatever happens to a worker."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from tutelage import models, store
from tutelage.data import Arrays, DataSet
from tutelage.errors import OptionError, StoreError

ray = pytest.importorskip("ray")
pytest.importorskip("ray.data")
from tutelage.store import ray as on_ray  # noqa: E402
from tutelage.store import worker  # noqa: E402

pytestmark = pytest.mark.slow
NAMES = {"teacher_name": "the teacher", "data_name": "the data"}


def images(rows: int, seed: int) -> Arrays:
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (rows, 1, 12, 12), generator=generator, dtype=torch.uint8)
    return Arrays({"input": pixels, "label": torch.arange(rows) % 5}, classes=tuple("abcde"), name="images")


def data_set() -> DataSet:
    whole = images(230, 0)
    return DataSet("images", whole.subset(range(0, 200)), whole.subset(range(200, 215)), whole.subset(range(215, 230)))


def teacher() -> nn.Module:
    torch.manual_seed(3)
    return models.build("tutelage:small-cnn?widths=4,8", num_classes=5, input_shape=(1, 12, 12), role="teacher")


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def words(process: Path) -> str:
    """The command line of a process, empty if it is gone."""
    try:
        return (process / "cmdline").read_text(errors="replace")
    except OSError:
        return ""


class Falls(nn.Module):
    """Kills its process at the first batch that it sees, once."""

    def __init__(self, marker: Path, inner: nn.Module) -> None:
        super().__init__()
        self.marker, self.inner, self.home = str(marker), inner, os.getpid()

    def __repr__(self) -> str:
        return "Falls()"

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if os.getpid() != self.home:
            try:
                os.close(os.open(self.marker, os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                return self.inner(x)
            os._exit(1)
        return self.inner(x)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A Ray of two processors that the tests share, with a home of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.delenv("RAY_ADDRESS", raising=False)
        before = set(Path("/tmp").glob("ray-*"))
        with on_ray._connected(ray, workers=2, cpus=1.0, gpus=0.0):
            (folder,) = set(Path("/tmp").glob("ray-*")) - before
            yield
        assert not folder.exists()
        assert not ray.is_initialized()
        assert not [path for path in Path("/proc").glob("[0-9]*") if str(folder) in words(path)]


@pytest.mark.parametrize(
    ("options", "shared"),
    [
        ({"keep": "top-k:3", "temperature": 2.0, "view": "crop-flip", "views": 2, "view_seed": 7, "shard_rows": 90}, None),
        ({"keep": "features:LAST", "dtype": "bf16", "shard_rows": 64}, False),
    ],
)
def test_the_same_bytes_as_without_ray(cluster, tmp_path, options, shared):
    model, data = teacher(), data_set()
    options = {**options, "keep": options["keep"].replace("LAST", [name for name, _ in model.named_modules()][-1])}
    store.label(model, data, tmp_path / "serial", batch_size=32, **options, **NAMES)
    made = on_ray.label(model, data, tmp_path / "ray", workers=2, shared=shared, batch_size=32, **options, **NAMES)
    assert made.complete
    assert contents(tmp_path / "ray") == contents(tmp_path / "serial")
    assert store.verify(tmp_path / "ray") == []


def test_a_worker_that_dies_is_replaced_and_a_serial_start_is_finished(cluster, tmp_path):
    model = Falls(tmp_path / "fell", teacher())
    data = images(200, 1)
    options = {"batch_size": 32, "shard_rows": 40, **NAMES}
    store.label(model, data, tmp_path / "serial", **options)
    store.label(model, data, tmp_path / "ray", rank=0, world=2, **options)
    begun = len(contents(tmp_path / "ray"))
    on_ray.label(model, data, tmp_path / "ray", workers=2, resume=True, shared=True, **options)
    assert (tmp_path / "fell").exists()
    assert begun < len(contents(tmp_path / "ray"))
    assert contents(tmp_path / "ray") == contents(tmp_path / "serial")


def test_specifications_travel_as_words(cluster, tmp_path):
    save_file(models.build("tutelage:mlp", num_classes=10, input_shape=(1, 8, 8)).state_dict(), tmp_path / "weights.safetensors")
    words = f"tutelage:mlp?weights={tmp_path / 'weights.safetensors'}"
    load = {"validation": 0.1, "test": 0.1, "seed": 1}
    made = on_ray.label(words, "digits", tmp_path / "ray", load=load, parts=("train",), batch_size=200, shard_rows=500)
    assert made.complete
    assert made.about["teacher"]["spec"] == words
    assert made.about["data"] == {"spec": "digits", "name": "digits", "load": load}


def test_a_teacher_that_every_worker_would_build_otherwise_is_refused(cluster, tmp_path):
    with pytest.raises(StoreError, match=r"would label otherwise than was begun: teacher: .*weights or structure differ.*weights="):
        on_ray.label("tutelage:mlp", images(40, 0), tmp_path / "ray", shard_rows=20)
    assert store.info(tmp_path / "ray")["whole"] == 0


def test_a_worker_that_does_not_see_the_store_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(worker, "LOOK", 0.1)
    settings = {"keep": "logits", "dtype": "fp16", "temperature": 1.0, "view": None, "views": 0, "view_seed": 0}
    settings |= {"parts_wanted": None, "batch_size": 8, "shard_rows": 8}
    order = worker.Order(teacher(), None, images(9, 0), {}, None, 1, True, settings, {"teacher": None, "data": None})
    with pytest.raises(StoreError, match=r"does not see the store .*nowhere. Put it where all workers see it"):
        worker.Worker(order, tmp_path / "nowhere", {})


def test_what_cannot_work_is_refused_before_ray_starts(tmp_path):
    with pytest.raises(OptionError, match="workers is 0"):
        on_ray.label(teacher(), images(9, 0), tmp_path / "out", workers=0)
    with pytest.raises(OptionError, match="Texts are not labelled with Ray"):
        on_ray.label(teacher(), images(9, 0), tmp_path / "out", keep="text")
    with pytest.raises(OptionError, match="weights= belong to a function"):
        on_ray.label(teacher(), images(9, 0), tmp_path / "out", weights="w.safetensors")
    with pytest.raises(OptionError, match="teacher is a int"):
        on_ray.label(3, images(9, 0), tmp_path / "out")  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()
