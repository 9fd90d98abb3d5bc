"""What methods there are and what their pages say, read from their sources without importing them.

A method `bd-kd` of the family `distillation` is `methods/distillation/bd_kd.py` (its page is the docstring) and
`recipes/distillation/bd_kd.py` (its options are the fields of the dataclass `OPTIONS`).
"""

from __future__ import annotations

import ast
import inspect
from dataclasses import dataclass
from pathlib import Path

from tutelage.errors import OptionError, nearest

PACKAGE = Path(__file__).parent


@dataclass(frozen=True)
class Option:
    """One option as its dataclass states it: name, type, default, one line of help."""

    name: str
    type: str
    default: str
    help: str


@dataclass(frozen=True)
class Entry:
    """One published method.

    Args:
        slug: its name on the command line.
        family: its room inside `methods/`.
        title: the first line of its page.
        page: the docstring of its file.
        detail: the docstring of its class: batch keys, options, source.
        class_name: name of its class.
    """

    slug: str
    family: str
    title: str
    page: str
    detail: str
    class_name: str

    @property
    def module(self) -> str:
        """Dotted name of the method's module."""
        return f"tutelage.methods.{self.family}.{self.slug.replace('-', '_')}"

    @property
    def recipe_module(self) -> str:
        """Dotted name of the recipe's module."""
        return f"tutelage.recipes.{self.family}.{self.slug.replace('-', '_')}"

    def section(self, name: str) -> str:
        """Return a line of the page that begins with a name and a colon (`Reference`, `Tags`), continuation lines included."""
        lines, found = self.page.splitlines(), []
        for line in lines:
            if line.startswith(f"{name}:"):
                found.append(line.removeprefix(f"{name}:").strip())
            elif found:
                if not line.strip() or (line[:1].isupper() and ":" in line.split(" ")[0]):
                    break
                found.append(line.strip())
        return " ".join(found)

    @property
    def summary(self) -> str:
        """The first two sentences of the page, its title line included."""
        paragraphs = self.page.split("\n\n")
        text = [p for p in paragraphs if not p.startswith(("Reference:", "Tags:"))]
        return "\n\n".join(" ".join(p.split()) for p in text)


def _docstring_class(tree: ast.Module) -> ast.ClassDef | None:
    """Return the public class of a method's file that derives from `Method`, or else the first public one."""
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef) and not node.name.startswith("_")]
    derived = [c for c in classes if any(isinstance(b, ast.Name) and b.id == "Method" for b in c.bases)]
    return next(iter(derived or classes), None)


def _read(path: Path) -> Entry:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    page = ast.get_docstring(tree) or ""
    found = _docstring_class(tree)
    detail = (ast.get_docstring(found) or "") if found else ""
    title = page.splitlines()[0] if page else path.stem
    return Entry(path.stem.replace("_", "-"), path.parent.name, title, page, detail, found.name if found else "")


def entries() -> list[Entry]:
    """Return every method, sorted by family and name."""
    paths = sorted((PACKAGE / "methods").glob("*/*.py"))
    return [_read(p) for p in paths if not p.stem.startswith("_")]


def slugs() -> list[str]:
    """Return the names of all methods."""
    paths = (PACKAGE / "methods").glob("*/*.py")
    return sorted(p.stem.replace("_", "-") for p in paths if not p.stem.startswith("_"))


def find(slug: str) -> Entry:
    """Return one method.

    Args:
        slug: its name, `bd-kd`.

    Raises:
        OptionError: if there is none of that name; the nearest are offered.
    """
    for path in (PACKAGE / "methods").glob("*/*.py"):
        if path.stem.replace("_", "-") == slug and not path.stem.startswith("_"):
            return _read(path)
    raise OptionError(f"No method is called '{slug}'.{nearest(slug, slugs())} 'tutelage list' shows all.")


def search(text: str = "", family: str | None = None) -> list[Entry]:
    """Return the methods whose page, options or name hold every word of a text.

    Args:
        text: words in any order and case; empty for all methods.
        family: only methods of this family.

    Raises:
        OptionError: for a family that does not exist.
    """
    found = entries()
    families = {e.family for e in found}
    if family is not None and family not in families:
        raise OptionError(f"No family is called '{family}'.{nearest(family, families)}")
    words = text.lower().split()
    return [e for e in found if family in (None, e.family) and all(w in f"{e.slug} {e.family} {e.page} {e.detail}".lower() for w in words)]


def options(entry: Entry) -> list[Option]:
    """Return the options of a method: the fields of the dataclass that its recipe names `OPTIONS`."""
    path = PACKAGE / "recipes" / entry.family / f"{entry.slug.replace('-', '_')}.py"
    tree = ast.parse(path.read_text(encoding="utf-8"))
    name = next(
        (
            node.value.id
            for node in tree.body
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Name) and getattr(node.targets[0], "id", "") == "OPTIONS"
        ),
        None,
    )
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            return _fields(node)
    return []


def _fields(node: ast.ClassDef) -> list[Option]:
    found: list[Option] = []
    for item, after in zip(node.body, [*node.body[1:], None], strict=True):
        if not (isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name)):
            continue
        help_text = ""
        if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) and isinstance(after.value.value, str):
            help_text = inspect.cleandoc(after.value.value)
        default = ast.unparse(item.value) if item.value is not None else ""
        found.append(Option(item.target.id, ast.unparse(item.annotation), default, " ".join(help_text.split())))
    return found


def results_folder() -> Path:
    """Return where the results of full-size runs are: beside the sources of a checkout, inside an installed package."""
    installed = PACKAGE / "_results"
    return installed if installed.is_dir() else PACKAGE.parents[1] / "results"
