from __future__ import annotations

import copy
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import LinearSVC
from torch import nn

from tutelage.errors import ShapeError, SpecError
from tutelage.models import Adapted, OnnxModel, SklearnModel, build, check_fits, fingerprint, small_cnn
from tutelage.teachers import Frozen


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


# timm


def test_timm_network_states_its_own_normalisation() -> None:
    model = build("timm:resnet10t", num_classes=4, input_shape=(1, 16, 16))
    assert isinstance(model, Adapted)
    assert model.channels == 3
    assert model.size is None
    assert torch.allclose(model.mean, torch.tensor([0.485, 0.456, 0.406]))
    assert model(torch.rand(2, 1, 16, 16)).shape == (2, 4)


def test_timm_fixed_sizes_and_arguments() -> None:
    model = build("timm:vit_tiny_patch16_224?img_size=32&depth=1&num_classes=6", num_classes=3, input_shape=(3, 20, 20), role="teacher")
    assert model.size == (32, 32)
    assert model(torch.rand(1, 3, 20, 20)).shape == (1, 6)
    with pytest.raises(ShapeError, match="answers 6 classes but the data has 3"):
        check_fits(model, torch.rand(1, 3, 20, 20), 3, "teacher")
    assert build("timm:vit_tiny_patch16_224?depth=1", num_classes=3, input_shape=(3, 20, 20)).size == (224, 224)
    grey = build("timm:resnet10t?in_chans=1", num_classes=3, input_shape=(1, 16, 16))
    assert grey.channels == 1
    assert grey(torch.rand(2, 1, 16, 16)).shape == (2, 3)


def test_timm_mistakes_are_named() -> None:
    with pytest.raises(SpecError, match=r"timm does not take these options.*Did you mean 'img_size'"):
        build("timm:vit_tiny_patch16_224?img_sise=32", num_classes=3, input_shape=(3, 20, 20))
    with pytest.raises(SpecError, match="pretrained=maybe should be like pretrained=false"):
        build("timm:resnet10t?pretrained=maybe", num_classes=3, input_shape=(3, 20, 20))


# transformers


@pytest.fixture
def image_directory(tmp_path: Path) -> Path:
    from transformers import ViTConfig, ViTForImageClassification

    torch.manual_seed(0)
    config = ViTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, image_size=16, patch_size=8, num_labels=3
    )
    ViTForImageClassification(config).save_pretrained(tmp_path / "vit")
    processor = {"do_normalize": True, "image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.2, 0.2], "size": {"height": 16, "width": 16}}
    (tmp_path / "vit" / "preprocessor_config.json").write_text(json.dumps(processor))
    return tmp_path / "vit"


def test_hf_image_classifier_reads_its_processor(image_directory: Path) -> None:
    from transformers import ViTForImageClassification

    model = build(f"hf:{image_directory}", num_classes=3, input_shape=(1, 8, 8), role="teacher").eval()
    assert model.size == (16, 16)
    images = torch.rand(2, 3, 16, 16)
    normal = (images - torch.tensor([0.5, 0.4, 0.3])[:, None, None]) / 0.2
    expected = ViTForImageClassification.from_pretrained(image_directory).eval()(pixel_values=normal).logits
    assert torch.allclose(model(images), expected, atol=1e-5)
    assert model(torch.rand(2, 1, 8, 8)).shape == (2, 3)


def test_hf_without_a_processor_takes_the_models_own_size(image_directory: Path) -> None:
    (image_directory / "preprocessor_config.json").unlink()
    model = build(f"hf:{image_directory}?mean=0.5&std=0.5", num_classes=3, input_shape=(1, 8, 8), role="teacher")
    assert model.size == (16, 16)
    assert model.channels == 3
    assert model.mean.tolist() == [0.5]


def test_hf_student_gets_the_datas_classes_and_a_teacher_keeps_its_own(image_directory: Path) -> None:
    images = torch.rand(2, 1, 8, 8)
    assert build(f"hf:{image_directory}", num_classes=5, input_shape=(1, 8, 8))(images).shape == (2, 5)
    assert build(f"hf:{image_directory}", num_classes=5, input_shape=(1, 8, 8), role="teacher")(images).shape == (2, 3)


def test_hf_without_safetensors_is_refused(image_directory: Path) -> None:
    weights = image_directory / "model.safetensors"
    torch.save({}, image_directory / "pytorch_model.bin")
    weights.unlink()
    with pytest.raises(SpecError, match=r"model.safetensors only.*save_pretrained"):
        build(f"hf:{image_directory}", num_classes=3, input_shape=(1, 8, 8), role="teacher")


def test_hf_text_classifier_takes_texts(tmp_path: Path) -> None:
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "bad", "film"]
    (tmp_path / "vocab.txt").write_text("\n".join(words))
    BertTokenizerFast(vocab_file=str(tmp_path / "vocab.txt")).save_pretrained(tmp_path / "bert")
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=8,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=12,
        num_labels=2,
    )
    BertForSequenceClassification(config).save_pretrained(tmp_path / "bert")
    model = build(f"hf:{tmp_path / 'bert'}?class_order=1,0", num_classes=2, input_shape=(), role="teacher").eval()
    texts = ["good film", "bad", "good " * 50]
    logits = model(texts)
    assert logits.shape == (3, 2)
    assert torch.allclose(model(["bad"]), logits[1:2], atol=1e-5)
    assert torch.equal(model.model(texts), logits.flip(1))
    check_fits(model, texts, 2, "teacher")
    with pytest.raises(SpecError, match=r"no option 'max_lenght'. Did you mean 'max_length'"):
        build(f"hf:{tmp_path / 'bert'}?max_lenght=3", num_classes=2, input_shape=(), role="teacher")


def test_hf_model_that_does_not_classify_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "whisper", "architectures": ["WhisperModel"]}))
    with pytest.raises(SpecError, match="only image and text classifiers"):
        build(f"hf:{tmp_path}", num_classes=2, input_shape=(3, 8, 8), role="teacher")


# ONNX


def exported(file: Path, model: nn.Module, example: torch.Tensor, dynamic: bool) -> Path:
    shapes = ({0: torch.export.Dim("n")},) if dynamic else None
    torch.onnx.export(model.eval(), (example,), str(file), dynamo=True, dynamic_shapes=shapes, verbose=False)
    return file


@pytest.mark.parametrize("dynamic", [True, False])
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_onnx_file_teaches_what_its_network_says(tmp_path: Path, dynamic: bool) -> None:
    torch.manual_seed(0)
    network = small_cnn(num_classes=4, in_channels=3)
    file = exported(tmp_path / "net.onnx", network, torch.rand(2, 3, 14, 14), dynamic)
    model = build(f"onnx:{file}?mean=0.5", num_classes=4, input_shape=(3, 14, 14), role="teacher")
    images = torch.rand(5, 3, 14, 14, requires_grad=True)
    teacher = Frozen(model)
    assert torch.allclose(teacher(images), network(images - 0.5), atol=1e-5)
    assert not teacher(images).requires_grad
    assert model(torch.rand(3, 1, 20, 20)).shape == (3, 4)
    twin = copy.deepcopy(teacher)
    assert torch.equal(twin(images), teacher(images))
    assert fingerprint(twin) == fingerprint(teacher)
    network.head.bias.data += 1
    other = exported(tmp_path / "other.onnx", network, torch.rand(2, 3, 14, 14), dynamic)
    assert fingerprint(OnnxModel(other)) != fingerprint(OnnxModel(file))


def test_onnx_mistakes_are_named(tmp_path: Path) -> None:
    import onnx
    from onnx import TensorProto, helper

    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"not a network")
    with pytest.raises(SpecError, match="is not an ONNX network"):
        OnnxModel(broken)
    tensors = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["n", 2]) for n in ("a", "b", "sum")]
    graph = helper.make_graph([helper.make_node("Add", ["a", "b"], ["sum"])], "two", tensors[:2], tensors[2:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), tmp_path / "two.onnx")
    with pytest.raises(SpecError, match=r"takes a: tensor\(float\), b: tensor\(float\); expected one float input"):
        OnnxModel(tmp_path / "two.onnx")
    graph = helper.make_graph([helper.make_node("Relu", ["a"], ["sum"])], "one", tensors[:1], tensors[2:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), tmp_path / "one.onnx")
    with pytest.raises(SpecError, match=r"has no output 'sun'. Did you mean 'sum'"):
        OnnxModel(tmp_path / "one.onnx", output="sun")
    assert OnnxModel(tmp_path / "one.onnx")(torch.tensor([[-1.0, 1.0]])).tolist() == [[0.0, 1.0]]


# scikit-learn


@pytest.fixture
def table() -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 3, 90)
    return generator.normal(size=(90, 4)) + labels[:, None], labels


def test_classifier_answers_the_logarithm_of_its_probabilities(table: tuple[np.ndarray, np.ndarray]) -> None:
    x, y = table
    classifier = make_pipeline(StandardScaler(), LogisticRegression()).fit(x, y)
    teacher = Frozen(build(classifier, num_classes=3, input_shape=(1, 2, 2), role="teacher"))
    logits = teacher(torch.tensor(x, dtype=torch.float32).reshape(-1, 1, 2, 2))
    assert np.allclose(logits.softmax(-1).numpy(), classifier.predict_proba(x), atol=1e-5)
    assert fingerprint(teacher) == fingerprint(copy.deepcopy(teacher))
    with pytest.raises(SpecError, match="teacher but not a student"):
        build(classifier, num_classes=3, input_shape=(4,))
    with pytest.raises(ShapeError, match="fitted on 4 columns, got inputs of 5"):
        teacher(torch.zeros(1, 5))


def test_columns_are_put_into_the_datas_order(table: tuple[np.ndarray, np.ndarray]) -> None:
    x, y = table
    names = np.array(["cat", "ant", "bee"])
    inputs = torch.tensor(x, dtype=torch.float32)
    named = build(
        LogisticRegression().fit(x, names[y]), num_classes=4, input_shape=(4,), role="teacher", classes=("dog", "cat", "ant", "bee")
    )
    plain = build(LogisticRegression().fit(x, y), num_classes=3, input_shape=(4,), role="teacher")
    assert torch.allclose(named(inputs)[:, 1:], plain(inputs), atol=1e-3)
    gap = build(LogisticRegression().fit(x, y * 2), num_classes=6, input_shape=(4,), role="teacher")(inputs)
    assert torch.allclose(gap[:, [0, 2, 4]], plain(inputs), atol=1e-3)
    assert (gap[:, [1, 3, 5]].exp() < 1e-5).all()
    assert gap.isfinite().all()


def test_classifiers_that_cannot_teach_are_refused(table: tuple[np.ndarray, np.ndarray]) -> None:
    x, y = table
    options = {"num_classes": 3, "input_shape": (4,), "role": "teacher"}
    for classifier, message in (
        (LogisticRegression(), "not fitted"),
        (LinearSVC().fit(x, y), "no predict_proba.*CalibratedClassifierCV"),
        (LogisticRegression().fit(x, y + 5), r"fitted on labels \[5, 6, 7\], but the data's are 0 to 2"),
        (LogisticRegression().fit(x, y.astype(str)), "class names, of which the data lacks"),
        (RandomForestClassifier(2).fit(x, np.stack([y, y], 1)), "several outputs"),
    ):
        with pytest.raises(SpecError, match=message):
            build(classifier, **options)


def test_skops_file_is_read_and_nothing_that_runs_code(tmp_path: Path, table: tuple[np.ndarray, np.ndarray]) -> None:
    import skops.io

    x, y = table
    classifier = LogisticRegression().fit(x, y)
    skops.io.dump(classifier, tmp_path / "good.skops")
    model = build(f"sklearn:{tmp_path / 'good.skops'}", num_classes=3, input_shape=(4,), role="teacher")
    live = SklearnModel(classifier, num_classes=3)
    inputs = torch.tensor(x, dtype=torch.float32)
    assert torch.allclose(model(inputs), live(inputs), atol=1e-6)
    skops.io.dump(make_pipeline(FunctionTransformer(exec), classifier), tmp_path / "bad.skops")
    with pytest.raises(SpecError, match=r"types that are not trusted.*It was not read"):
        build(f"sklearn:{tmp_path / 'bad.skops'}", num_classes=3, input_shape=(4,), role="teacher")
    (tmp_path / "cut.skops").write_bytes((tmp_path / "good.skops").read_bytes()[:200])
    with pytest.raises(SpecError, match="truncated"):
        build(f"sklearn:{tmp_path / 'cut.skops'}", num_classes=3, input_shape=(4,), role="teacher")
    (tmp_path / "model.pkl").write_bytes(pickle.dumps(classifier))
    with pytest.raises(SpecError, match=r"skops\.io\.dump"):
        build(f"sklearn:{tmp_path / 'model.pkl'}", num_classes=3, input_shape=(4,), role="teacher")
