"""Language models: loading, sampling with log-probabilities, scoring, adapting; the ground of on-policy methods."""

from tutelage.models.language.adapters import lora, merge
from tutelage.models.language.alignment import Alignment, TextAlignment, align, align_texts, spans
from tutelage.models.language.generation import sample
from tutelage.models.language.loading import LanguageModel, causal, load, masked, save, smollm2
from tutelage.models.language.pairs import answer_pairs, encode
from tutelage.models.language.parts import body, decomposes, ends, head, unwrapped
from tutelage.models.language.rollouts import Rollouts
from tutelage.models.language.scoring import chosen, log_probs, states, token_log_probs
from tutelage.models.language.tiny import character_tokenizer, tiny_decoder

__all__ = [
    "Alignment",
    "LanguageModel",
    "Rollouts",
    "TextAlignment",
    "align",
    "align_texts",
    "answer_pairs",
    "body",
    "causal",
    "character_tokenizer",
    "chosen",
    "decomposes",
    "encode",
    "ends",
    "head",
    "load",
    "log_probs",
    "lora",
    "masked",
    "merge",
    "sample",
    "save",
    "smollm2",
    "spans",
    "states",
    "tiny_decoder",
    "token_log_probs",
    "unwrapped",
]
