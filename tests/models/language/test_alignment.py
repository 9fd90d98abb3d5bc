"""Two tokenizers: the same tokens under other numbers, the same text in other pieces, and pairs that do not fit."""

from __future__ import annotations

import pytest
import torch

from tutelage.errors import DataError, ShapeError
from tutelage.models.language import Rollouts, align, align_texts, character_tokenizer, encode, log_probs, sample, spans, tiny_decoder

transformers = pytest.importorskip("transformers")
tokenizers = pytest.importorskip("tokenizers")


def made(vocabulary, merges=(), end="<end>", pad="<pad>", byte_level=False):
    tokens = [pad, end, "<unknown>", *vocabulary, *("".join(pair) for pair in merges)]
    inner = tokenizers.Tokenizer(
        tokenizers.models.BPE(vocab={t: i for i, t in enumerate(tokens)}, merges=list(merges), unk_token="<unknown>")
    )
    inner.decoder = tokenizers.decoders.Fuse()
    if byte_level:
        inner.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        inner.decoder = tokenizers.decoders.ByteLevel()
    return transformers.PreTrainedTokenizerFast(tokenizer_object=inner, pad_token=pad, eos_token=end, unk_token="<unknown>")


CHARACTERS = made("abcd ")
PIECES = made("abcd ", [("a", "b"), ("c", "d"), ("ab", "cd"), (" ", "a")])


def test_same_tokenizer_needs_nothing():
    found = align(CHARACTERS, made("abcd "))
    assert found.identity
    rollouts = Rollouts.of([[3, 4]], [[5, 1]])
    assert found.rollouts(rollouts) is rollouts


def test_other_numbers_and_other_special_texts():
    teacher = made("d cba", end="</s>", pad="[pad]")
    found = align(CHARACTERS, teacher)
    assert not found.identity
    text = "a cab d"
    assert found.tokens(torch.tensor(encode(CHARACTERS, [text])[0])).tolist() == encode(teacher, [text])[0]
    assert found.tokens(torch.tensor([1, 0])).tolist() == [teacher.eos_token_id, teacher.pad_token_id]
    for ours, theirs in zip(found.student.tolist()[3:], found.teacher.tolist()[3:], strict=True):
        assert CHARACTERS.convert_ids_to_tokens(ours) == teacher.convert_ids_to_tokens(theirs)
    with pytest.raises(ShapeError, match="Token 9 is none of the 8"):
        found.tokens(torch.tensor([9]))


def test_a_permuted_teacher_scores_as_the_original():
    """The same network with its rows in another order, and with a larger embedding, gives the same logits through the map."""
    teacher_words = made("d cba")
    found = align(CHARACTERS, teacher_words)
    original, permuted = tiny_decoder(8, width=16, heads=2), tiny_decoder(13, width=16, heads=2)
    state = original.state_dict()
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        wide = torch.randn(13, 16)
        wide[found.teacher] = state[name][found.student]
        state[name] = wide
    permuted.load_state_dict(state)
    rollouts = sample(original, [[3, 4], [5]], max_new_tokens=6, end=1)
    theirs = found.rollouts(rollouts)
    with torch.no_grad():
        ours = original(rollouts.tokens[:1]).logits[..., found.student]
        torch.testing.assert_close(permuted(theirs.tokens[:1]).logits[..., found.teacher], ours, atol=1e-5, rtol=1e-5)
        # Without the rows that are no tokens the log-probabilities are the same too.
        permuted.lm_head.weight[8:] = 0
        got = log_probs(permuted, theirs)
    assert got.shape == rollouts.mask.shape


def test_other_tokens_are_refused_with_the_reason():
    with pytest.raises(ShapeError, match="2 of the 10 tokens of the student are unknown to the teacher \\('x', 'y'\\), and 1 of the 9"):
        align(made("abcd xy"), made("abcd z"))
    with pytest.raises(ShapeError, match=r"0 of the 8 tokens of the student .* 4 of the 12 tokens of the teacher .*' a'.*align_texts"):
        align(CHARACTERS, PIECES)


def test_spans_end_where_tokens_of_both_end():
    text = "abcd abc"
    ours, theirs = encode(CHARACTERS, [text])[0], encode(PIECES, [text])[0]
    assert PIECES.convert_ids_to_tokens(theirs) == ["abcd", " ", "ab", "c"]
    assert spans(CHARACTERS, ours, PIECES, theirs) == ([0, 0, 0, 0, 1, 2, 2, 3], [0, 1, 2, 3])
    crossed = [PIECES.convert_tokens_to_ids(token) for token in ("ab", "cd", " a", "b", "c")]
    other = [PIECES.convert_tokens_to_ids(token) for token in ("a", "b", "cd", " ", "ab", "c")]
    assert spans(PIECES, crossed, PIECES, other) == ([0, 1, 2, 2, 3], [0, 0, 1, 2, 2, 3])
    assert spans(CHARACTERS, [], PIECES, []) == ([], [])
    with pytest.raises(DataError, match="differ at character 1"):
        spans(CHARACTERS, encode(CHARACTERS, ["ab"])[0], PIECES, encode(PIECES, ["ac"])[0])


def test_bytes_of_one_character_stay_together():
    letters = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    of_bytes = made(sorted(letters), byte_level=True)
    ours = character_tokenizer("aé€")
    a, b = encode(ours, ["a€é"])[0], encode(of_bytes, ["a€é"])[0]
    assert len(b) == 1 + 3 + 2
    assert spans(ours, a, of_bytes, b) == ([0, 1, 2], [0, 1, 1, 1, 2, 2])


def test_sums_over_spans_are_those_of_the_texts():
    texts, ended = ["abcd a", "cd", ""], [True, False, True]
    continuations = [row + [1] * over for row, over in zip(encode(CHARACTERS, texts), ended, strict=True)]
    rollouts = Rollouts.of(encode(CHARACTERS, ["ab", "d", "a a"]), continuations, ended=ended)
    found = align_texts(rollouts, CHARACTERS, PIECES)
    assert found.rollouts.texts(PIECES) == texts
    assert [PIECES.decode(row) for row in found.rollouts.prompts()] == ["ab", "d", "a a"]
    assert found.mask.sum(1).tolist() == [3, 1, 1]  # 'abcd', ' a', end; 'cd'; end
    student, teacher = tiny_decoder(8, width=16, heads=2), tiny_decoder(len(PIECES), width=16, heads=2, seed=1)
    ours, theirs = log_probs(student, rollouts), log_probs(teacher, found.rollouts)
    torch.testing.assert_close(found.of_student(ours).sum(1), ours.sum(1))
    torch.testing.assert_close(found.of_teacher(theirs).sum(1), theirs.sum(1))
    torch.testing.assert_close(found.of_student(ours)[0, 0], ours[0, :4].sum())
    torch.testing.assert_close(found.of_teacher(theirs)[0, 0], theirs[0, 0])
    torch.testing.assert_close(found.of_student(ours)[0, 2], ours[0, 6])
    assert found.of_student(ours)[~found.mask].eq(0).all()
    (gradient,) = torch.autograd.grad(found.of_student(ours).sum(), student.lm_head.weight)
    assert gradient.abs().sum() > 0


def test_the_same_tokenizer_gives_one_span_per_token():
    rollouts = Rollouts.of([[3]], [[4, 5, 1]], ended=[True])
    found = align_texts(rollouts, CHARACTERS, CHARACTERS)
    values = torch.tensor([[-1.0, -2.0, -3.0]])
    assert torch.equal(found.of_student(values), values)
    assert torch.equal(found.of_teacher(values), values)
