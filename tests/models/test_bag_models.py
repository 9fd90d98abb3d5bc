from __future__ import annotations

import pytest
import torch

from tutelage.errors import OptionError, ShapeError
from tutelage.models.attention_mil import DSMIL, AttentionMIL, PooledMIL
from tutelage.models.trans_mil import PPEG, NystromAttention, TransMIL, iterative_pinv, segment_means

MODELS = {
    "ab-mil": lambda **o: AttentionMIL(attention=8, **o),
    "gated": lambda **o: AttentionMIL(attention=8, gated=True, **o),
    "dsmil": lambda **o: DSMIL(attention=8, **o),
    "mean": lambda **o: PooledMIL(pooling="mean", **o),
    "max": lambda **o: PooledMIL(pooling="max", **o),
    "trans-mil": lambda **o: TransMIL(heads=4, **o),
}
HEADS = {"ab-mil": 1, "gated": 1, "dsmil": 3, "mean": 1, "max": 1, "trans-mil": 4}


def model(name: str, **options):
    return MODELS[name](**({"num_classes": 3, "input_shape": (6,), "width": 16} | options)).eval()


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("size", [1, 2, 40])
def test_every_model_answers_bags_of_any_size(name, size):
    net = model(name)
    answer = net.answer(torch.randn(size, 6))
    assert answer.logits.shape == (3,)
    assert answer.embedding.shape[1] == 16
    assert answer.scores.shape == answer.attention.shape == (HEADS[name], size)
    if name != "trans-mil":
        torch.testing.assert_close(answer.attention.sum(1), torch.ones(HEADS[name]))
    assert (answer.instance_logits is not None) == (name == "dsmil")


@pytest.mark.parametrize("name", MODELS)
def test_a_list_of_bags_is_answered_one_by_one(name):
    net = model(name)
    bags = [torch.randn(n, 6) for n in (5, 30, 2)]
    logits = net(bags)
    assert logits.shape == (3, 3)
    torch.testing.assert_close(net(bags[1]), logits[1:2])
    torch.testing.assert_close(net.answer(bags[1]).logits, logits[1])


@pytest.mark.parametrize("name", [name for name in MODELS if name != "trans-mil"])
def test_the_order_of_instances_permutes_the_scores_and_nothing_else(name):
    net, bag = model(name), torch.randn(20, 6)
    order = torch.randperm(20)
    one, two = net.answer(bag), net.answer(bag[order])
    torch.testing.assert_close(one.logits, two.logits)
    torch.testing.assert_close(one.scores[:, order], two.scores)


@pytest.mark.parametrize("gated", [False, True])
def test_attention_mil_is_the_formula(gated):
    net, bag = model("gated" if gated else "ab-mil"), torch.randn(7, 6)
    z = torch.relu(bag @ net.front[0].weight.T + net.front[0].bias)
    hidden = torch.tanh(z @ net.hidden[0].weight.T + net.hidden[0].bias)
    if gated:
        hidden = hidden * torch.sigmoid(z @ net.gate[0].weight.T + net.gate[0].bias)
    score = (hidden @ net.score.weight.T).squeeze(1) + net.score.bias
    weight = score.exp() / score.exp().sum()
    embedding = sum(w * row for w, row in zip(weight, z, strict=True))
    answer = net.answer(bag)
    torch.testing.assert_close(answer.embedding[0], embedding)
    torch.testing.assert_close(answer.scores[0], score)
    torch.testing.assert_close(answer.logits, net.head(embedding))


def test_an_instance_without_attention_does_not_count():
    net, bag = model("ab-mil"), torch.randn(7, 6)
    with torch.no_grad():
        net.score.weight.mul_(0)
        net.score.weight[0, 0] = 1e4  # attention is all or nothing
    answer = net.answer(bag)
    ignored = answer.attention[0] == 0
    assert ignored.any()
    torch.testing.assert_close(net.answer(bag[~ignored]).embedding, answer.embedding)


def test_dsmil_attends_from_the_highest_instance_of_each_class():
    net, bag = model("dsmil"), torch.randn(9, 6)
    z = net.front(bag)
    classes = net.instance_head(z)
    answer = net.answer(bag)
    torch.testing.assert_close(answer.instance_logits, classes.max(0).values)
    queries = net.query(z)
    for c in range(3):
        weight = (queries @ queries[classes[:, c].argmax()] / 8**0.5).softmax(0)
        torch.testing.assert_close(answer.attention[c], weight)
        torch.testing.assert_close(answer.embedding[c], weight @ z)


def test_pooling_is_of_instance_logits():
    for name, pool in (("mean", lambda x: x.mean(0)), ("max", lambda x: x.max(0).values)):
        net, bag = model(name), torch.randn(9, 6)
        torch.testing.assert_close(net(bag)[0], pool(net.head(net.front(bag))))


def test_weights_begin_xavier_normal_with_zero_biases_or_as_pytorch_has_them():
    net = AttentionMIL(num_classes=2, input_shape=(1024,))
    weight = net.front[0].weight
    assert weight.std().item() == pytest.approx((2 / (1024 + 512)) ** 0.5, rel=0.02)
    assert all((p == 0).all() for n, p in net.named_parameters() if n.endswith("bias"))
    other = AttentionMIL(num_classes=2, input_shape=(1024,), initial="torch")
    assert other.front[0].weight.abs().max() <= 1 / 32
    assert net.front[2].p == 0.25
    assert (net.width, net.hidden[0].out_features) == (512, 128)


def test_images_are_flattened():
    net = AttentionMIL(num_classes=2, input_shape=(1, 4, 4), width=8)
    assert net([torch.rand(3, 1, 4, 4)]).shape == (1, 2)


@pytest.mark.parametrize("bag", [torch.zeros(0, 6), torch.zeros(3, 5), torch.zeros(6)])
def test_bags_that_do_not_fit_are_refused(bag):
    with pytest.raises(ShapeError, match=r"\[N, 6\] of at least one instance"):
        model("ab-mil")([bag])


def test_wrong_options_are_named():
    for wrong in ({"width": 0}, {"dropout": 1.0}, {"initial": "he"}, {"activation": "sine"}, {"attention": 0}):
        with pytest.raises(OptionError, match=next(iter(wrong))):
            AttentionMIL(**({"num_classes": 2, "input_shape": (3,)} | wrong))
    with pytest.raises(OptionError, match="heads"):
        TransMIL(num_classes=2, input_shape=(3,), width=10, heads=4)


# ---- the parts of TransMIL ----


def test_the_iterative_inverse_is_the_inverse():
    matrix = torch.randn(2, 12, 12).mul(2).softmax(-1)
    torch.testing.assert_close(iterative_pinv(matrix, 20) @ matrix, torch.eye(12).expand(2, 12, 12), atol=2e-3, rtol=0)


def test_segments_differ_by_at_most_one():
    values = torch.arange(11.0).reshape(1, 11, 1)
    means = segment_means(values, 4)[0, :, 0]
    torch.testing.assert_close(means, torch.tensor([1.0, 4.0, 7.0, 9.5]))


def explicit(layer: NystromAttention, tokens: torch.Tensor, landmarks: int | None) -> tuple[torch.Tensor, torch.Tensor]:
    """Self-attention with all matrices written out; exact when there are no landmarks."""
    length, width = tokens.shape
    query, key, value = layer.qkv(tokens).reshape(length, 3, layer.heads, -1).permute(1, 2, 0, 3)
    scale = query.shape[-1] ** -0.5
    if landmarks is None:
        weight = (scale * query @ key.transpose(1, 2)).softmax(-1)
    else:
        q, k = segment_means(query, landmarks), segment_means(key, landmarks)
        inverse = iterative_pinv((scale * q @ k.transpose(1, 2)).softmax(-1))
        weight = (scale * query @ k.transpose(1, 2)).softmax(-1) @ inverse @ (scale * q @ key.transpose(1, 2)).softmax(-1)
    mixed = weight @ value
    for head in range(layer.heads):
        kernel = layer.near.weight[head, 0, :, 0]
        padded = torch.nn.functional.pad(value[head], (0, 0, len(kernel) // 2, len(kernel) // 2))
        mixed[head] = mixed[head] + sum(kernel[i] * padded[i : i + length] for i in range(len(kernel)))
    return layer.out[0](mixed.transpose(0, 1).reshape(length, width)), weight[:, 0]


@torch.no_grad()
@pytest.mark.parametrize(("length", "landmarks"), [(9, 16), (16, 16), (50, 16), (257, 7)])
def test_nystrom_attention_is_the_formula_and_exact_for_short_sequences(length, landmarks):
    layer = NystromAttention(24, heads=3, landmarks=landmarks, kernel=5).eval()
    tokens = torch.randn(length, 24)
    mixed, row = layer(tokens, ranked=True)
    expected, weight = explicit(layer, tokens, None if length <= landmarks else landmarks)
    torch.testing.assert_close(mixed, expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(row, weight, atol=1e-4, rtol=1e-4)
    assert layer(tokens)[1] is None


@torch.no_grad()
def test_with_a_landmark_per_token_the_formula_is_exact():
    layer = NystromAttention(24, heads=3, landmarks=20, iterations=20).eval()
    tokens = torch.randn(20, 24)
    exact, weight = explicit(layer, tokens, None)
    formula, row = explicit(layer, tokens, 20)
    torch.testing.assert_close(formula, exact, atol=1e-2, rtol=1e-2)
    torch.testing.assert_close(row, weight, atol=1e-2, rtol=1e-2)


@torch.no_grad()
@pytest.mark.parametrize("length", [1, 4, 5, 11])
def test_positions_are_convolutions_on_a_square_filled_up_with_the_first_tokens(length):
    layer, tokens = PPEG(3), torch.randn(length + 1, 3)
    placed = layer(tokens)
    torch.testing.assert_close(placed[0], tokens[0])
    side = next(s for s in range(1, 9) if s * s >= length)
    rows = torch.cat([tokens[1:], tokens[1:], tokens[1:], tokens[1:]])[: side * side]
    grid = rows.T.reshape(1, 3, side, side)
    expected = grid + sum(convolution(grid) for convolution in layer.convolutions)
    torch.testing.assert_close(placed[1:], expected.reshape(3, -1).T[:length])


def test_gradients_reach_every_parameter_of_every_model():
    for name in MODELS:
        net = model(name).train()
        answer = net.answer(torch.randn(30, 6))
        total = answer.logits.square().sum() + (0 if answer.instance_logits is None else answer.instance_logits.square().sum())
        total.backward()
        # Softmax does not see a shift of all scores.
        silent = {"score.bias"}
        assert {n for n, p in net.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0} <= silent, name
