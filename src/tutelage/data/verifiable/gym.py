"""Questions of the reasoning-gym library, with verifiers of our own.

The library's scorers evaluate what the model wrote as Python (countdown, among others) and pay in part for a long text that holds the
answer somewhere; so none of them is called.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tutelage.data.arrays import Arrays
from tutelage.data.verifiable.answers import MARKER, FinalAnswer, Kind
from tutelage.data.verifiable.expressions import reaches
from tutelage.errors import DataError, OptionError, nearest, optional


def reasoning_gym(name: str, count: int, *, seed: int = 0, short: bool = False, **options: Any) -> Arrays:
    """Make questions of one of the library's generators.

    Args:
        name: the generator: `chain_sum`, `countdown`, `knights_knaves` or any other.
        count: questions; equal ones are left out, so a small world gives fewer.
        seed: of the questions, at least 0.
        short: write the prompts in few characters, for small models: `4+3-2=`; `3,5,7:22=`; statements as formulas. Only of the three
            named.
        **options: of the generator, such as `min_terms`, `max_digits` or `n_people`.

    Returns:
        Columns `input` (the prompt), `answer` (one right answer), and `metadata` (JSON of what the generator tells), to be verified by
        `GymAnswer(name)`.

    Raises:
        OptionError: for an unknown generator or option, or a short form of another generator.
        DataError: if the generator fails.
        MissingExtra: if the library is not installed.
    """
    library = optional("reasoning_gym", "language")
    known = optional("reasoning_gym.factory", "language").DATASETS
    if name not in known:
        raise OptionError(f"reasoning-gym has no generator '{name}'.{nearest(name, known)}")
    if short and name not in _SHORT:
        raise OptionError(f"There is no short form of '{name}'; those that have one: {', '.join(_SHORT)}.")
    if count < 1 or seed < 0:
        raise OptionError(f"count is {count} and seed {seed}: expected a count of at least 1 and a seed of at least 0")
    try:
        made = library.create_dataset(name, seed=seed, size=count, **options)
    except (TypeError, AssertionError, ValueError) as error:
        raise OptionError(f"The generator '{name}' does not take {options}: {error}") from error
    rows: dict[str, tuple[str, str]] = {}
    try:
        for entry in made:
            prompt, answer = _SHORT[name](entry) if short else (entry["question"], entry["answer"])
            rows.setdefault(prompt, (str(answer), json.dumps(entry["metadata"], default=str)))
    except Exception as error:
        raise DataError(f"The generator '{name}' with {options} failed ({type(error).__name__}: {error}).") from error
    answers, metadata = zip(*rows.values(), strict=True)
    return Arrays({"input": list(rows), "answer": list(answers), "metadata": list(metadata)}, name=name)


PEOPLE = "PQRSUVWXYZ"


@dataclass(frozen=True)
class GymAnswer:
    """A reward of 1 for a right final answer to a question of `reasoning_gym`, else 0; no part payments.

    An expression for `countdown` is right if it uses exactly the given numbers and equals the target, whatever it looks like; the roles
    of `knights_knaves` may be named in any order; of all other generators the final answer must be the generator's own.

    Args:
        name: the generator.
        marker: text before the final answer, as for `FinalAnswer`.
        longest: characters of an answer. Default 200.
    """

    name: str
    marker: str = MARKER
    longest: int = 200

    def __call__(self, response: str, row: Mapping[str, Any]) -> float:
        """Return 1 or 0.

        Args:
            response: what the model wrote.
            row: `answer`, `metadata` as `reasoning_gym` gives them, and where known `prompt` and `finished`.
        """
        said = self.read(response, row)
        if said is None:
            return 0.0
        if self.name == "countdown":
            known = json.loads(row["metadata"])
            return float(reaches(said, known["numbers"], known["target"]))
        if self.name == "knights_knaves":
            return float(_roles(said) == _roles(row["answer"]))
        return FinalAnswer("", "auto", self.longest)(said, {"answer": row["answer"]})

    def read(self, response: str, row: Mapping[str, Any] | None = None) -> str | None:
        """Return the final answer that a response gives, or `None`.

        Args:
            response: what the model wrote.
            row: as for a call.
        """
        kind: Kind = "text" if self.name in ("countdown", "knights_knaves") else "auto"
        said = FinalAnswer(self.marker, kind, self.longest).read(response, row)
        if said is None or (self.name == "knights_knaves" and _roles(said) is None):
            return None
        return said


_ROLE = re.compile(r"([A-Za-z]{1,40})(?: is (?:an? )?|=)([A-Za-z]{1,40})")


def _roles(text: str) -> dict[str, str] | None:
    """Return the role that a text gives each name: `A is a knight, B is a knave.` or `A=knight,B=knave`; `None` for contradictions."""
    roles: dict[str, str] = {}
    for part in text.strip().removesuffix(".").replace(" and ", ",").split(","):
        found = _ROLE.fullmatch(part.strip().removeprefix("and "))
        if found is None and part.strip():
            return None
        if found is not None and roles.setdefault(found[1].lower(), found[2].lower()) != found[2].lower():
            return None
    return roles or None


def _chain_sum(entry: dict[str, Any]) -> tuple[str, str]:
    return entry["metadata"]["expression"].replace(" ", "") + "=", entry["answer"]


def _countdown(entry: dict[str, Any]) -> tuple[str, str]:
    known = entry["metadata"]
    return ",".join(map(str, known["numbers"])) + f":{known['target']}=", entry["answer"].replace(" ", "")


def _knights(entry: dict[str, Any]) -> tuple[str, str]:
    """Write the statements as formulas: people are P, Q, ...; `P:` begins what P says, `PT` is that P tells the truth, `PL` that P lies."""
    known = entry["metadata"]

    def formula(part: Any) -> str:
        kind = part[0]
        if kind == "telling-truth":
            return PEOPLE[part[1]] + "T"
        if kind == "lying":
            return PEOPLE[part[1]] + "L"
        if kind == "not":
            return f"!({formula(part[1])})"
        sign = {"and": "&", "or": "|", "->": ">", "<=>": "="}[kind]
        return "(" + sign.join(formula(inner) for inner in part[1:]) + ")"

    said = ";".join(f"{PEOPLE[person]}:{formula(statement)}" for person, statement in enumerate(known["statements"]))
    terms = known["knight_knave_terms"]
    answer = ",".join(
        f"{PEOPLE[person]}={(terms['knight'] if honest else terms['knave']).lower()}" for person, honest in enumerate(known["solution"])
    )
    return f"{said};{terms['knight'].lower()}/{terms['knave'].lower()}?", answer


_SHORT = {"chain_sum": _chain_sum, "countdown": _countdown, "knights_knaves": _knights}
