"""From the name of a method to its recipe, its options and its door for the user's own models."""

from __future__ import annotations

import importlib
from typing import Any, Protocol, cast

from tutelage import catalog
from tutelage.errors import OptionError
from tutelage.recipes.recipe import Recipe


class RecipeModule(Protocol):
    """What a recipe's module holds."""

    RECIPE: type[Recipe]
    OPTIONS: type[Any]


def module(slug: str) -> RecipeModule:
    """Import a method's recipe, which does not import torch.

    Args:
        slug: name of the method.

    Raises:
        OptionError: if no method has that name.
    """
    return cast(RecipeModule, importlib.import_module(catalog.find(slug).recipe_module))


DOORS = {
    "distil": "does not distil a given teacher into a given student",
    "pretrain": "does not learn features from images without labels",
    "semi": "does not learn to classify images from few labels",
    "prompts": "does not teach a language model on prompts",
}
"""Functions by which methods take the user's own models and data, and what it means for one to lack them."""


def door(slug: str, kind: str = "distil") -> Any:
    """Return a method's function `(setting, options) -> (method, batches)`, by which it takes the user's own models and data.

    Args:
        slug: name of the method.
        kind: `"distil"`, from a teacher into a student, given a `Setting`; `"pretrain"`, a backbone from images, given a
            `PretrainSetting`; `"semi"`, from few labels and many unlabelled samples, given a `SemiSetting`; or
            `"prompts"`, a language model on prompts, given a `PromptSetting`.

    Raises:
        OptionError: if the method has no such door.
    """
    found = getattr(module(slug), kind, None)
    if found is None:
        able = [s for s in catalog.slugs() if hasattr(module(s), kind)]
        raise OptionError(f"'{slug}' {DOORS[kind]}: use 'tutelage run {slug}'. Those that do: {', '.join(able)}.")
    return found
