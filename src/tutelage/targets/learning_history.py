"""What a router and a synthesizer are told of the sessions before: rewards, notes, their mean and streaks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tutelage.targets.playbook import cut

LAST, NOTE, HIGH, LOW = 10, 1024, 0.8, 0.4


@dataclass(frozen=True)
class LearningHistory:
    """The last sessions of one learning key.

    Args:
        rewards: in [0, 1], oldest first; `None` where a session was not judged.
        notes: what was written down of each.
        high_streak: judged sessions with high rewards, counted from the newest backwards.
        low_streak: the same with low rewards.
    """

    rewards: tuple[float | None, ...] = ()
    notes: tuple[str, ...] = ()
    high_streak: int = 0
    low_streak: int = 0

    @property
    def judged(self) -> tuple[float, ...]:
        """The rewards of the sessions that were judged."""
        return tuple(reward for reward in self.rewards if reward is not None)

    @property
    def mean(self) -> float | None:
        """Mean of the rewards, or `None` where there is none."""
        return sum(self.judged) / len(self.judged) if self.judged else None

    @property
    def text(self) -> str:
        """The history in words and numbers; empty where there is none."""
        if not self.rewards:
            return ""
        rewards = ", ".join("not judged" if reward is None else f"{reward:.2f}" for reward in self.rewards)
        mean = "none" if self.mean is None else f"{self.mean:.3f}"
        lines = [f"rewards, oldest first: {rewards}", f"mean: {mean}", f"streaks: {self.high_streak} high, {self.low_streak} low"]
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes if note)])


def learning_history(
    rewards: Sequence[float | None],
    notes: Sequence[str] = (),
    *,
    last: int = LAST,
    longest: int = NOTE,
    high: float = HIGH,
    low: float = LOW,
) -> LearningHistory:
    """Return a history of the newest sessions.

    Args:
        rewards: reward of every session, oldest first; `None` for one that was not judged.
        notes: a note for each, or none at all.
        last: how many of the newest count; 10.
        longest: most characters of a note; 1,024.
        high: rewards from this belong to a high streak; 0.8.
        low: rewards up to this belong to a low streak; 0.4.

    Returns:
        The history. A session that was not judged neither lengthens nor ends a streak.
    """
    kept = tuple(rewards[-last:] if last > 0 else ())
    judged = [reward for reward in reversed(kept) if reward is not None]
    high_streak = next((i for i, reward in enumerate(judged) if reward < high), len(judged))
    low_streak = next((i for i, reward in enumerate(judged) if reward > low), len(judged))
    said = tuple(cut(note, longest) for note in notes[-last:]) if last > 0 else ()
    return LearningHistory(kept, said, high_streak, low_streak)
