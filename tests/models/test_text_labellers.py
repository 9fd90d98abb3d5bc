"""Classifiers of texts and what labels for them: bags of words, calibrated TF-IDF, prompts, and a language model that scores names."""

from __future__ import annotations

import math

import pytest
import torch

from tutelage import models
from tutelage.data.words import Vocabulary
from tutelage.errors import DataError, OptionError, ShapeError, SpecError
from tutelage.models.calibrated import fit_temperature
from tutelage.models.label_prompt import LabelPrompt
from tutelage.models.label_scorer import LabelScorer
from tutelage.models.tfidf import tfidf_teacher
from tutelage.models.word_bag import WordBag


def test_a_word_bag_is_the_mean_of_its_words_and_ignores_padding_and_order():
    torch.manual_seed(0)
    model = WordBag(num_classes=3, vocabulary=20, dim=5, hidden=0)
    ids = torch.tensor([[4, 7, 4, 0, 0], [7, 4, 4, 0, 0], [0, 0, 0, 0, 0]])
    logits = model(ids)
    mean = model.embedding.weight[torch.tensor([4, 7, 4])].mean(0)
    assert torch.allclose(logits[0], model.head(mean), atol=1e-6)
    assert torch.allclose(logits[0], logits[1], atol=1e-6)
    assert torch.equal(logits[2], model.head.bias)


def test_a_word_bag_takes_texts_and_comes_by_specification():
    model = models.build("tutelage:word-bag?vocabulary=50&dim=4&hidden=3&length=8", num_classes=2, input_shape=())
    texts = ["a ship at sea", "planes"]
    assert model.embedding.num_embeddings == 50
    assert torch.equal(model(texts), model(model.words.encode(texts, 8)))
    known = Vocabulary.of(texts)
    own = WordBag(num_classes=2, words=known, length=3)
    assert own.embedding.num_embeddings == len(known)
    assert own(texts).shape == (2, 2)
    with pytest.raises(SpecError, match="takes texts"):
        models.build("tutelage:word-bag", num_classes=2, input_shape=(4,))
    with pytest.raises(SpecError, match="word-bag"):
        models.build("tutelage:mlp", num_classes=2, input_shape=())
    with pytest.raises(OptionError, match="dropout"):
        WordBag(num_classes=2, dropout=1.0)


@pytest.mark.parametrize("scale", [0.3, 1.0, 4.0])
def test_the_temperature_of_calibrated_logits_is_their_scale(scale):
    source = torch.Generator().manual_seed(0)
    honest = torch.randn(20_000, 5, generator=source) * 2
    labels = torch.multinomial(honest.softmax(1), 1, generator=source)[:, 0]
    assert fit_temperature(honest * scale, labels) == pytest.approx(scale, rel=0.05)


def test_the_temperature_is_where_the_likelihood_is_highest():
    source = torch.Generator().manual_seed(1)
    logits, labels = torch.randn(200, 4, generator=source) * 3, torch.randint(4, (200,), generator=source)
    best = fit_temperature(logits, labels)

    def nll(t):
        return float(torch.nn.functional.cross_entropy(logits.double() / t, labels))

    assert nll(best) < min(nll(best * 1.02), nll(best / 1.02))
    assert fit_temperature(torch.tensor([[1.0, 0.0]]), torch.tensor([0])) == pytest.approx(1e-3)
    with pytest.raises(ShapeError):
        fit_temperature(logits, labels[:3])


def corpus(count=60, seed=0):
    source = torch.Generator().manual_seed(seed)
    topics = [["sea", "ship", "port", "sail"], ["plane", "wing", "pilot", "air"], ["train", "rail", "track", "steam"]]
    shared = ["the", "a", "goes", "far", "slow", "fast"]
    texts, labels = [], []
    for i in range(count):
        label = i % 3
        other = int(torch.randint(3, (1,), generator=source))
        drawn = [
            topics[label if torch.rand((), generator=source) < 0.7 else other][int(k)] for k in torch.randint(4, (3,), generator=source)
        ]
        texts.append(" ".join(drawn + [shared[int(k)] for k in torch.randint(6, (3,), generator=source)]))
        labels.append(label)
    return texts, labels


def test_the_tfidf_teacher_is_good_and_says_how_good():
    texts, labels = corpus(60)
    unseen, truth = corpus(600, seed=1)
    teacher = tfidf_teacher(texts, labels, 3, seed=0)
    probs = teacher(unseen).softmax(1)
    right = (probs.argmax(1) == torch.tensor(truth)).float()
    assert right.mean() > 0.75
    assert abs(float(probs.amax(1).mean() - right.mean())) < 0.1
    assert teacher(unseen).requires_grad is False
    again = tfidf_teacher(texts, labels, 3, seed=0)
    assert torch.equal(again(unseen), teacher(unseen))
    assert models.fingerprint(again) == models.fingerprint(teacher)
    assert models.fingerprint(tfidf_teacher(texts[:30], labels[:30], 3)) != models.fingerprint(teacher)
    with pytest.raises(DataError, match="at least 2"):
        tfidf_teacher(texts[:4], labels[:4], 3)


def test_a_class_that_the_few_texts_lack_is_never_answered():
    texts, labels = corpus(30)
    teacher = tfidf_teacher(texts, labels, 5)
    assert teacher(texts).shape == (30, 5)
    assert int(teacher(texts).argmax(1).max()) <= 2


def test_a_prompt_lists_the_classes_and_shows_demonstrations():
    prompt = LabelPrompt(("sea", "air"), [("a {ship}\non   the water " + "far " * 300, 0)], most_words=5)
    asked = prompt.ask("planes fly high and far away")
    assert asked.startswith("Classify the text.")
    assert "- sea\n- air" in asked
    assert "Text: a {ship} on the water\nClass: sea" in asked
    assert asked.endswith("Text: planes fly high and far\nClass:")
    with pytest.raises(OptionError, match="two or more"):
        LabelPrompt(("sea", "sea"))
    with pytest.raises(OptionError, match="from 0 to 1"):
        LabelPrompt(("sea", "air"), [("text", 2)])


def tiny(chat=False, seed=0, context=512):
    transformers, tokenizers = pytest.importorskip("transformers"), pytest.importorskip("tokenizers")
    raw = tokenizers.Tokenizer(tokenizers.models.BPE(unk_token="<unk>"))
    raw.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=320, special_tokens=["<unk>", "<pad>"], initial_alphabet=alphabet, show_progress=False
    )
    raw.train_from_iterator(["the sea and the ship", "Text: Class: sea air"] * 5, trainer)
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=raw, unk_token="<unk>", pad_token="<pad>")
    if chat:
        tokenizer.chat_template = "{% for m in messages %}<{{ m.role }}>{{ m.content }}\n{% endfor %}<assistant>"
    torch.manual_seed(seed)
    config = transformers.LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=context,
        initializer_range=0.3,
    )
    return transformers.LlamaForCausalLM(config).eval(), tokenizer


@pytest.mark.parametrize("chat", [False, True])
@pytest.mark.parametrize("normalise", ["sum", "mean"])
def test_names_are_scored_as_if_each_stood_behind_the_question_alone(chat, normalise):
    model, tokenizer = tiny(chat)
    prompt = LabelPrompt(("sea", "open air", "space"), [("ships", 0)])
    scorer = LabelScorer(model, tokenizer, prompt, normalise=normalise, batch_size=2)
    texts = ["the ship", "planes fly far away over the sea", "x"]
    found = scorer(texts)
    assert found.shape == (3, 3)
    for row, text in enumerate(texts):
        question = prompt.ask(text)
        if chat:
            question = f"<user>{question}\n<assistant>"
        for column, name in enumerate(prompt.classes):
            ids = tokenizer(question)["input_ids"]
            behind = tokenizer(name if chat else f" {name}")["input_ids"]
            with torch.no_grad():
                log_p = model(torch.tensor([ids + behind])).logits[0].log_softmax(-1)
            total = sum(float(log_p[len(ids) - 1 + i, token]) for i, token in enumerate(behind))
            expected = total if normalise == "sum" else total / len(behind)
            assert float(found[row, column]) == pytest.approx(expected, abs=2e-4)


def test_the_scorer_answers_alike_in_any_batch_and_refuses_what_does_not_fit():
    model, tokenizer = tiny()
    prompt = LabelPrompt(("sea", "open air"))
    texts = ["the ship", "planes fly far away", "over the sea", "x y z"]
    one, four = LabelScorer(model, tokenizer, prompt, batch_size=1), LabelScorer(model, tokenizer, prompt, batch_size=4)
    assert torch.allclose(one(texts), four(texts), atol=1e-4)
    assert math.isclose(float(one(texts).softmax(1).sum()), 4.0, rel_tol=1e-5)
    free = LabelScorer(model, tokenizer, prompt, content_free="N/A")
    assert torch.allclose(free(texts), one(texts) - one(["N/A"]), atol=1e-4)
    assert torch.allclose(free(["N/A"]), torch.zeros(1, 2), atol=1e-4)
    assert repr(one) != repr(LabelScorer(model, tokenizer, LabelPrompt(("sea", "air"))))
    small, tokenizer = tiny(context=32)
    with pytest.raises(DataError, match="most_words"):
        LabelScorer(small, tokenizer, prompt)(["word " * 100])
    with pytest.raises(OptionError, match="normalise"):
        LabelScorer(model, tokenizer, prompt, normalise="max")


@pytest.fixture(scope="module")
def roberta(tmp_path_factory):
    """An encoder of RoBERTa's kind in the files that transformers writes, untrained and small."""
    transformers = pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("roberta")
    _, tokenizer = tiny()
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = transformers.RobertaConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=66,
        pad_token_id=tokenizer.pad_token_id,
    )
    transformers.RobertaModel(config, add_pooling_layer=False).save_pretrained(folder)
    return folder


def test_an_encoder_by_name_gets_a_linear_head(roberta):
    model = models.build(f"hf:{roberta}?head=linear&max_length=24", num_classes=5, input_shape=()).eval()
    texts = ["the sea", "the ship and the sea " * 20]
    logits = model(texts)
    assert logits.shape == (2, 5)
    assert isinstance(model.model.head, torch.nn.Linear)
    assert torch.allclose(model(["the sea"]), logits[:1], atol=1e-5)
    from tutelage.data.words import token_ids

    assert torch.allclose(model(token_ids(texts, model.tokenizer, 24)), logits, atol=1e-5)
    logits.sum().backward()
    assert all(p.grad is not None for p in model.model.head.parameters())
    with pytest.raises(SpecError, match="own or linear"):
        models.build(f"hf:{roberta}?head=round", num_classes=5, input_shape=())


def test_class_means_of_an_encoder_label_with_a_calibrated_scale():
    from tutelage.models.prototype_labeller import prototype_teacher

    class Counts(torch.nn.Module):
        def forward(self, texts):
            vocabulary = ["sea", "ship", "port", "sail", "plane", "wing", "pilot", "air", "train", "rail", "track", "steam", "far"]
            return torch.tensor([[float(text.split().count(word)) for word in vocabulary] for text in texts]) + 0.01

    texts, labels = corpus(90)
    unseen, truth = corpus(600, seed=1)
    teacher = prototype_teacher(Counts(), texts, labels)
    probs = teacher(unseen).softmax(1)
    right = (probs.argmax(1) == torch.tensor(truth)).float()
    assert right.mean() > 0.75
    assert abs(float(probs.amax(1).mean() - right.mean())) < 0.1
    with pytest.raises(DataError, match="at least 2"):
        prototype_teacher(Counts(), texts[:4], labels[:4])


def test_minilm_labels_texts_that_it_was_shown_a_few_of():
    pytest.importorskip("transformers")
    from tutelage.errors import MissingExtra
    from tutelage.models.prototype_labeller import prototype_teacher

    try:
        from tutelage.models.pretrained import minilm

        encoder = minilm(max_length=32)
    except MissingExtra as error:
        pytest.skip(str(error))
    few = ["the goalkeeper saved a penalty", "our team won the match", "the court convicted the thief", "a judge signed the warrant"]
    teacher = prototype_teacher(encoder, few, [0, 0, 1, 1])
    assert teacher(["the striker scored twice", "the lawyer appealed the verdict"]).argmax(1).tolist() == [0, 1]


def test_the_tfidf_teacher_is_known_again_in_another_process():
    import subprocess
    import sys

    texts, labels = corpus(30)
    imports = "from tutelage import models; from tutelage.models.tfidf import tfidf_teacher"
    program = f"{imports}; print(models.fingerprint(tfidf_teacher({texts!r}, {labels!r}, 3)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=200, check=True)
    assert done.stdout.strip() == models.fingerprint(tfidf_teacher(texts, labels, 3))
