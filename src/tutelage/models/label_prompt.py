"""What a language model is asked when it shall name the class of a text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tutelage.errors import OptionError

INSTRUCTION = "Classify the text. Answer with the name of one class and nothing else."


@dataclass(frozen=True)
class LabelPrompt:
    """An instruction, the list of classes, and texts whose classes are known.

    `system` and `template` are what `tutelage.store.chat.label_texts` takes, with `choices=classes`; `ask` puts both together for models
    that continue texts.

    Args:
        classes: their names, as the model should write them.
        demonstrations: texts with their class's number; they must not be among those to be labelled.
        instruction: the task, in a sentence or two.
        most_words: longer texts are cut to so many words, in demonstrations and where `cut` is used.

    Raises:
        OptionError: if there are fewer than two classes, or a demonstration has none of them.

    Source: the paper (arXiv 2411.08028) prompts with the class list and a few examples; the wording is ours.
    """

    classes: tuple[str, ...]
    demonstrations: Sequence[tuple[str, int]] = ()
    instruction: str = INSTRUCTION
    most_words: int = 150

    def __post_init__(self) -> None:
        if len(set(self.classes)) < 2 or len(set(self.classes)) != len(self.classes):
            raise OptionError(f"LabelPrompt got the classes {list(self.classes)}; expected two or more different names.")
        wrong = [label for _, label in self.demonstrations if not 0 <= label < len(self.classes)]
        if wrong or self.most_words < 1:
            raise OptionError(
                f"LabelPrompt got most_words={self.most_words} and demonstrations of the classes {wrong or 'as listed'}; expected at "
                f"least one word, and classes from 0 to {len(self.classes) - 1}."
            )

    @property
    def system(self) -> str:
        """The instruction, the classes and the demonstrations."""
        listed = "\n".join(f"- {name}" for name in self.classes)
        shown = "".join(f"\n\nText: {self.cut(text)}\nClass: {self.classes[label]}" for text, label in self.demonstrations)
        return f"{self.instruction}\n\nClasses:\n{listed}{shown}"

    @property
    def template(self) -> str:
        """The message of the user, with `{input}` for the text."""
        return "Text: {input}\nClass:"

    def ask(self, text: str) -> str:
        """Return the whole question about one text, which ends where the class's name begins.

        Args:
            text: what is to be labelled; it is cut to `most_words`.
        """
        return f"{self.system}\n\nText: {self.cut(text)}\nClass:"

    def cut(self, text: str) -> str:
        """Return the first `most_words` words of a text, in one line."""
        return " ".join(text.split()[: self.most_words])
