from __future__ import annotations

import dataclasses
import importlib
import inspect
import subprocess
import sys

import pytest

from tutelage import catalog
from tutelage.errors import OptionError
from tutelage.recipes import find
from tutelage.recipes.recipe import Recipe


def test_every_method_has_a_page_with_title_reference_and_tags():
    for entry in catalog.entries():
        assert ": " in entry.title, entry.slug
        assert "arXiv" in entry.section("Reference"), entry.slug
        assert len(entry.section("Tags").split(",")) >= 3, entry.slug
        assert "Batch" in entry.detail, entry.slug


@pytest.mark.parametrize("slug", catalog.slugs())
def test_the_options_are_those_of_the_method(slug):
    entry = catalog.find(slug)
    module = find.module(slug)
    method = getattr(importlib.import_module(entry.module), entry.class_name)
    takes = {n: p.default for n, p in inspect.signature(method).parameters.items() if p.kind is p.KEYWORD_ONLY}
    fields = {f.name: f for f in dataclasses.fields(module.OPTIONS)}
    assert issubclass(module.RECIPE, Recipe)
    for name, field in fields.items():
        if name in takes and isinstance(takes[name], bool | int | float | str | type(None)):
            assert field.default == takes[name], f"{slug}: {name}"
    stated = catalog.options(entry)
    assert [o.name for o in stated] == list(fields)
    assert all(o.help for o in stated), slug


def test_a_search_finds_every_word_anywhere_in_the_page():
    assert [e.slug for e in catalog.search("CALIBRATION co-training")] == ["bd-kd"]
    assert catalog.search("calibration zebra") == []
    assert {e.family for e in catalog.search(family="distillation")} == {"distillation"}
    with pytest.raises(OptionError, match="Did you mean 'distillation'"):
        catalog.search(family="destillation")


def test_an_unknown_method_is_offered_the_nearest():
    with pytest.raises(OptionError, match="Did you mean 'bd-kd'"):
        catalog.find("bdkd")


def test_recipes_and_the_catalogue_do_not_import_torch():
    code = (
        "import sys, tutelage\nfrom tutelage import catalog, cli, report\nfrom tutelage.recipes import find\n"
        "import tutelage.cli.browse, tutelage.cli.run, tutelage.cli.distill, tutelage.cli.ship\n"
        "[find.module(s) for s in catalog.slugs()]\n"
        "heavy = {'torch', 'numpy', 'matplotlib', 'lightning_fabric'} & set(sys.modules)\nassert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
