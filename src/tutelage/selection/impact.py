"""Impact statistics of what was taught, and pruning of what does not help."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tutelage.errors import OptionError


@dataclass(frozen=True)
class Impact:
    """What was seen of an entry since it was written.

    Args:
        sessions: judged sessions.
        hits: those in which its cue was found.
        adoptions: those in which its tool was used too, with success.
        reward_with: sum of the rewards of the sessions with a hit.
        reward_without: sum of the others.
        families: families of tasks in which it had hits.
    """

    sessions: int = 0
    hits: int = 0
    adoptions: int = 0
    reward_with: float = 0.0
    reward_without: float = 0.0
    families: tuple[str, ...] = ()

    def seen(self, reward: float, *, hit: bool, adopted: bool = False, family: str = "") -> Impact:
        """Return the statistics with one more session.

        Args:
            reward: of the session, in [0, 1].
            hit: whether the cue was found.
            adopted: whether the tool was used with success.
            family: of the task.
        """
        return Impact(
            self.sessions + 1,
            self.hits + hit,
            self.adoptions + (hit and adopted),
            self.reward_with + (reward if hit else 0.0),
            self.reward_without + (0.0 if hit else reward),
            tuple(sorted({*self.families, family})) if hit else self.families,
        )

    @property
    def hit_rate(self) -> float:
        """Share of sessions with a hit."""
        return self.hits / self.sessions if self.sessions else 0.0

    @property
    def adoption(self) -> float:
        """Share of hits with an adoption."""
        return self.adoptions / self.hits if self.hits else 0.0

    @property
    def gain(self) -> float | None:
        """Mean reward with hits minus mean reward without; `None` where one of them is not known."""
        without = self.sessions - self.hits
        return self.reward_with / self.hits - self.reward_without / without if self.hits and without else None

    def to_json(self) -> dict[str, Any]:
        """Return values that JSON can hold."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Impact:
        """Return the statistics that `to_json` took apart."""
        return cls(**{**values, "families": tuple(values["families"])})


@dataclass(frozen=True)
class Pruning:
    """When an entry is dropped.

    Args:
        sessions: sessions before which nothing is dropped; 10.
        hit_rate: drop below this share of hits; 0.05.
        harm: drop if rewards with hits are lower by more than this; 0.01.
        harm_hits: hits from which harm counts; 5.
        neutral: drop if rewards with hits are not higher by this; 0.01.
        neutral_adoption: ... although it was adopted more often than this; 0.5.
        neutral_hits: hits from which being of no use counts; 10.
        families: drop what had hits in fewer families of tasks; 2.
        families_sessions: sessions from which that counts; 20.

    Raises:
        OptionError: for a negative number.

    Source: the published code of arXiv 2511.01093.
    """

    sessions: int = 10
    hit_rate: float = 0.05
    harm: float = 0.01
    harm_hits: int = 5
    neutral: float = 0.01
    neutral_adoption: float = 0.5
    neutral_hits: int = 10
    families: int = 2
    families_sessions: int = 20

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            if getattr(self, field.name) < 0:
                raise OptionError(f"Pruning option {field.name}={getattr(self, field.name)}: expected at least 0.")

    def verdict(self, impact: Impact) -> str:
        """Return why an entry is dropped; empty where it is kept.

        Args:
            impact: what was seen of it.
        """
        if impact.sessions < self.sessions:
            return ""
        if impact.hit_rate < self.hit_rate:
            return f"its cue was found in {impact.hits} of {impact.sessions} sessions"
        gain = impact.gain
        if gain is not None and impact.hits >= self.harm_hits and gain < -self.harm:
            return f"rewards with it are {-gain:.2f} lower"
        if gain is not None and impact.hits >= self.neutral_hits and gain < self.neutral and impact.adoption > self.neutral_adoption:
            return f"it was adopted in {impact.adoption:.0%} of its hits and changed rewards by {gain:+.3f}"
        if impact.sessions >= self.families_sessions and len(impact.families) < self.families:
            return f"it had hits in {len(impact.families)} families of tasks"
        return ""
