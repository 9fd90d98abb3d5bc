"""Engines answer as the network does, are no part of its state, and are built when they are needed."""

from __future__ import annotations

import copy
import logging
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tutelage.errors import OptionError
from tutelage.models import SklearnModel, cnn, mlp, resnet, tap, vit
from tutelage.teachers import EngineError, Ensemble, Frozen, Routed
from tutelage.teachers.engines import choose as choosing

PLAIN = ("folded", "onnxruntime")


def lively(model: nn.Module) -> nn.Module:
    """A network whose batch norms have statistics and weights that matter."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.3, 3.0)
            nn.init.uniform_(module.weight, 0.5, 2.0)
            nn.init.normal_(module.bias)
    return model.eval()


def small() -> nn.Module:
    return lively(cnn(num_classes=5, widths=(4, 8)))


IMAGES = {"cnn": (1, 12, 12), "resnet": (3, 8, 8), "mlp": (1, 12, 12), "vit": (3, 16, 16)}


def network(name: str) -> nn.Module:
    return {
        "cnn": small,
        "resnet": lambda: lively(resnet(num_classes=5, widths=(4, 8), depth=1)),
        "mlp": lambda: mlp(num_classes=5, input_shape=IMAGES["mlp"], widths=(16,)),
        "vit": lambda: vit(num_classes=5, input_shape=IMAGES["vit"], width=16, depth=1, heads=2),
    }[name]().eval()


def near(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and float((a - b).detach().abs().max()) <= 1e-5 * float(b.detach().abs().max())


@pytest.mark.parametrize("name", IMAGES)
@pytest.mark.parametrize("engine", PLAIN)
def test_engines_answer_as_the_network_does(engine: str, name: str) -> None:
    model = network(name)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    teacher = Frozen(copy.deepcopy(model), engine)
    images = torch.rand(6, *IMAGES[name])
    for rows in (6, 4, 1, 9):  # a smaller last batch, and one that is larger than the first
        batch = torch.cat([images, images])[:rows]
        answer = teacher(batch)
        assert near(answer, model(batch))
        assert not answer.requires_grad
        assert answer.is_contiguous()
    assert teacher(images[:0]).shape == (0, 5)
    assert teacher.chosen == engine
    assert list(teacher.state_dict()) == [f"model.{key}" for key in before]
    assert [n for n, _ in teacher.named_parameters()] == [f"model.{n}" for n, _ in model.named_parameters()]
    assert [n for n, _ in teacher.named_modules()] == ["", "model"] + [f"model.{n}" for n, _ in model.named_modules() if n]
    assert all(torch.equal(value, before[key.removeprefix("model.")]) for key, value in teacher.state_dict().items())
    assert all(value.is_contiguous() for value in teacher.state_dict().values())


@pytest.mark.slow
def test_compile_serves_every_batch_size_with_one_compilation_and_one_single_sample_without() -> None:
    torch._dynamo.reset()
    model = small()
    teacher = Frozen(copy.deepcopy(model), "compile")
    images = torch.rand(8, 1, 12, 12)
    assert near(teacher(images), model(images))
    compiled = torch._dynamo.utils.counters["frames"]["total"]
    for rows in (5, 1, 8, 3):
        assert near(teacher(images[:rows]), model(images[:rows]))
    assert torch._dynamo.utils.counters["frames"]["total"] == compiled
    with pytest.raises(EngineError, match=r"does not run hooks.*'stages\.0'.*engine='folded'"), tap(teacher.model, "stages.0"):
        teacher(images)
    twin = copy.deepcopy(teacher)
    with torch.no_grad():
        twin.model.head.bias.add_(1.0)
    assert near(twin(images), model(images) + 1.0)
    assert near(teacher(images), model(images))


def test_changed_weights_are_seen() -> None:
    teacher, other = Frozen(small(), "folded"), small().requires_grad_(False)
    images = torch.rand(4, 1, 12, 12)
    first = teacher(images)
    teacher.load_state_dict(Frozen(other).state_dict())
    assert near(teacher(images), other(images))
    assert not near(first, other(images))
    with torch.no_grad():
        teacher.model.stages[0][1].running_mean.add_(1.0)
    assert near(teacher(images), teacher.model(images))
    teacher.model.head = nn.Linear(128, 2).eval()
    assert near(teacher(images), teacher.model(images))


def test_a_teacher_whose_state_moves_at_every_call_is_refused() -> None:
    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = small()
            self.register_buffer("calls", torch.zeros(()))

        def forward(self, images: Tensor) -> Tensor:
            self.calls.add_(1)
            return self.net(images)

    images = torch.rand(2, 1, 12, 12)
    teacher = Frozen(Counting(), "folded")
    for _ in range(5):
        teacher(images)
    with pytest.raises(EngineError, match=r"changed before 5 calls in a row.*engine='eager'"):
        teacher(images)
    chosen = Frozen(Counting(), "auto").use("folded")
    chosen._serving.choice = choosing.Choice("folded", "as measured", 2)
    for _ in range(6):
        chosen(images)
    assert chosen.chosen == "eager"
    assert "changed before 5 calls" in chosen.reason


def test_training_mode_runs_the_network_itself() -> None:
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Dropout(0.5), nn.Linear(64, 3))
    teacher = Frozen(model, "folded")
    images = torch.rand(8, 1, 6, 6)
    still = teacher(images)
    assert torch.equal(still, teacher(images))
    model[3].train()
    assert not torch.equal(teacher(images), teacher(images))
    model[3].eval()
    model[1].train()
    mean = model[1].running_mean.clone()
    teacher(images)
    assert not torch.equal(mean, model[1].running_mean)


def test_gradients_and_compilers_see_the_network_itself() -> None:
    teacher = Frozen(small(), "onnxruntime")
    images = torch.rand(2, 1, 12, 12, requires_grad=True)
    teacher.forward(images).sum().backward()
    assert images.grad is not None
    assert teacher._serving._built == {}


@pytest.mark.parametrize("layer", ["stages.0.0", "stages.0.1", "stages.0", "stages.1.2", "pool", "head", "stages"])
def test_hooks_see_the_same_values_on_a_folded_teacher(layer: str) -> None:
    model = small()
    teacher, images = Frozen(model, "folded"), torch.rand(4, 1, 12, 12)
    seen: list[tuple[nn.Module, Tensor]] = []
    with tap(model, layer) as features:
        expected = model(images)
        wanted = features[layer].clone()
    for _ in range(2):
        with tap(teacher, f"model.{layer}") as features:
            handle = model.get_submodule(layer).register_forward_hook(lambda m, i, o: seen.append((m, i[0])))
            answer = teacher(images)
            handle.remove()
        assert near(features[f"model.{layer}"], wanted)
        assert near(answer, expected)
    assert [m for m, _ in seen] == [model.get_submodule(layer)] * 2  # the teacher's own layer, once a call
    assert near(teacher(images), expected)
    assert len(seen) == 2


def test_hooks_that_change_what_flows_change_the_answer() -> None:
    model = small()
    teacher, images = Frozen(model, "folded"), torch.rand(4, 1, 12, 12)
    handles = [
        model.stages[0][1].register_forward_pre_hook(lambda m, args: (args[0] * 2,)),
        model.stages[0].register_forward_hook(lambda m, args, kwargs, out: out + 1, with_kwargs=True),
        model.head.register_forward_pre_hook(lambda m, args, kwargs: ((args[0] - 1,), kwargs), with_kwargs=True),
    ]
    assert near(teacher(images), model(images))
    changed = model(images)
    for handle in handles:
        handle.remove()
    assert near(teacher(images), model(images))
    assert not near(changed, model(images))


def test_auto_keeps_to_engines_that_run_hooks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choosing, "COSTS", {"folded": 0.0, "onnxruntime": 0.0})
    teacher, images = Frozen(small(), "auto"), torch.rand(4, 1, 12, 12)
    with tap(teacher.model, "stages.1") as features:
        teacher(images)
    assert teacher.chosen in ("eager", "folded")
    assert "onnxruntime does not run hooks" in teacher.reason
    assert "stages.1" in features
    without = Frozen(small(), "auto")
    without._serving.choice = choosing.Choice("onnxruntime", "as measured", 4)
    without(images)
    with tap(without.model, "stages.1") as features:  # for these calls alone
        assert near(without(images), without.model(images))
    assert "stages.1" in features
    assert without.chosen == "onnxruntime"


def test_auto_takes_the_fastest_that_agrees_and_says_why(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(choosing, "COSTS", {"folded": 0.0, "onnxruntime": 0.0})
    times = iter([3.0, 2.0, 1.0])
    monkeypatch.setattr(choosing, "_time", lambda *_: next(times))
    told: list[str] = []
    teacher = Frozen(small(), "auto", batch=16)
    assert teacher.chosen is None
    teacher.on_choice(lambda choice: told.append(choice.engine))
    images = torch.rand(4, 1, 12, 12)
    with caplog.at_level(logging.INFO, "tutelage.teachers"):
        assert near(teacher(images), teacher.model(images))
        teacher(images)
    assert teacher.chosen == "onnxruntime"
    assert teacher.reason.startswith("onnxruntime: 1e+03 ms a batch of 16, 3 times eager's speed; its answers differ by at most")
    assert "folded 2e+03 ms" in teacher.reason
    assert told == ["onnxruntime"]
    assert len(caplog.records) == 1


def test_auto_on_the_clock_agrees_with_the_network() -> None:
    teacher, images = Frozen(small(), "auto"), torch.rand(32, 1, 12, 12)
    state = torch.get_rng_state()
    assert near(teacher(images), teacher.model(images))
    assert torch.equal(state, torch.get_rng_state())
    assert teacher.chosen in ("eager", "folded")
    assert "onnxruntime was not tried (about 6 s to build" in teacher.reason


def test_auto_tries_costly_engines_only_if_the_calls_make_up_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[str] = []

    def build(name: str, *_: Any, **__: Any) -> Any:
        tried.append(name)
        raise EngineError(f"no {name}")

    monkeypatch.setattr(choosing, "build", build)
    monkeypatch.setattr(choosing, "_time", lambda *_: 0.01)
    images = torch.rand(2, 1, 12, 12)
    for calls, expected in ((None, ["folded"]), (2500, ["folded", "onnxruntime"]), (10_000, ["folded", "onnxruntime", "compile"])):
        tried.clear()
        teacher = Frozen(small(), "auto", calls=calls)
        teacher(images)
        assert tried == expected
        assert teacher.chosen == "eager"
    assert "no compile" in teacher.reason
    told = Frozen(small(), "auto")
    told.expect(2500)
    told(images)
    assert tried[-2:] == ["folded", "onnxruntime"]


def test_auto_leaves_random_and_foreign_teachers_alone() -> None:
    class Uncertain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = small()

        def forward(self, images: Tensor) -> Tensor:
            return nn.functional.dropout(self.net(images), 0.5, training=True)

    images = torch.rand(8, 1, 12, 12)
    teacher = Frozen(Uncertain(), "auto")
    torch.manual_seed(3)
    answer = teacher(images)
    torch.manual_seed(3)
    assert torch.equal(answer, teacher.model(images))
    assert teacher.chosen == "eager"
    assert "differ from call to call" in teacher.reason
    with pytest.raises(EngineError, match="answers otherwise than Uncertain itself"):
        Frozen(Uncertain(), "folded")(images)

    ensemble = pytest.importorskip("sklearn.dummy")
    model = SklearnModel(ensemble.DummyClassifier().fit([[0.0], [1.0]], [0, 1]), num_classes=2)
    forest = Frozen(model, "auto")
    forest(torch.rand(3, 1))
    assert "no weights in PyTorch" in forest.reason
    with pytest.raises(EngineError, match="engine='onnxruntime' cannot be built for SklearnModel: it has no weights"):
        Frozen(model, "onnxruntime")(torch.rand(3, 1))


def test_bad_options_are_named() -> None:
    with pytest.raises(OptionError, match=r"engine='fold'.*Did you mean 'folded'"):
        Frozen(small(), "fold")
    with pytest.raises(OptionError, match="batch=0"):
        Frozen(small(), "auto", batch=0)
    with pytest.raises(OptionError, match="bound=-1"):
        Frozen(small(), "auto", bound=-1.0)
    with pytest.raises(OptionError, match=r"'onnx'.*Did you mean 'onnxruntime'"):
        Frozen(small(), "auto").chosen = "onnx"
    with pytest.raises(OptionError, match="built with engine='folded', so it cannot use 'compile'"):
        Frozen(small(), "folded").use("compile")


def test_a_difference_above_the_bound_is_refused_with_its_size() -> None:
    images = torch.rand(4, 1, 12, 12)
    with pytest.raises(EngineError, match=r"differ by \S+e-0[678] of the answers' scale.*at most 0 is accepted.*engine='eager'"):
        Frozen(small(), "folded", bound=0.0)(images)
    teacher = Frozen(small(), "auto", bound=0.0)
    assert torch.equal(teacher(images), teacher.model(images))
    assert teacher.chosen == "eager"
    assert "at most 0 is accepted" in teacher.reason


def test_what_an_engine_cannot_serve_is_named() -> None:
    class TwoInputs(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(()))

        def forward(self, a: Tensor, *, b: Tensor) -> dict[str, Tensor]:
            return {"sum": (a + b) * self.scale}

    inputs = torch.rand(3, 2)
    with pytest.raises(EngineError, match=r"engine='onnxruntime' cannot be built for TwoInputs: .*one tensor.*engine='folded'"):
        Frozen(TwoInputs(), "onnxruntime")(inputs, b=inputs)
    assert torch.equal(Frozen(TwoInputs(), "folded")(inputs, b=inputs)["sum"], inputs * 2)

    class Branching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(2, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.linear(x) if float(x.sum()) > 0 else x

    with pytest.raises(EngineError, match=r"engine='onnxruntime' cannot be built for Branching: \w+: .* Give engine='eager', or 'auto'"):
        Frozen(Branching(), "onnxruntime")(inputs)


def test_another_precision_or_image_size_gets_its_own_engine() -> None:
    model = lively(resnet(num_classes=3, in_channels=1, widths=(4,), depth=1))
    teacher = Frozen(model, "onnxruntime")
    for side in (8, 6):
        images = torch.rand(4, 1, side, side)
        assert near(teacher(images), model(images))
    assert len(teacher._serving._built) == 2
    with torch.autocast("cpu", torch.bfloat16), pytest.raises(EngineError, match="does not follow autocast"):
        teacher(images)
    folded = Frozen(small(), "folded")
    images = torch.rand(4, 1, 12, 12)
    with torch.autocast("cpu", torch.bfloat16):
        assert folded(images).dtype == torch.bfloat16


def test_copies_build_their_own_engines() -> None:
    teacher, images = Frozen(small(), "folded"), torch.rand(4, 1, 12, 12)
    answer = teacher(images)
    twin = copy.deepcopy(teacher)
    assert (twin.chosen, twin._serving._built) == ("folded", {})
    with torch.no_grad():
        twin.model.head.bias.add_(1.0)
    assert near(twin(images), answer + 1.0)
    assert near(teacher(images), answer)


def test_members_of_ensembles_and_routes_run_on_their_engines() -> None:
    models = [small(), small()]
    images = torch.rand(5, 1, 12, 12)
    ensemble = Ensemble([Frozen(m, "folded") for m in models])
    assert near(ensemble(images), (models[0](images) + models[1](images)) / 2)
    route = torch.tensor([0, 1, 1, 0, 0])
    routed = Routed([Frozen(m, "folded") for m in models], [range(5), range(5)])
    assert near(routed(images, route), torch.stack([models[r](i[None])[0] for r, i in zip(route, images, strict=True)]))
    assert ensemble.constant
    assert routed.constant
