"""Curves of several trainings, averaged over seeds for a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tutelage.train import History


def mean_curves(histories: Mapping[str, Sequence[History]], name: str) -> tuple[list[int], dict[str, list[float]]]:
    """Average one quantity over the trainings of each arm, at the epochs at which all trainings measured it.

    Args:
        histories: the trainings of each arm, one per seed; arms that never measured the quantity are left out.
        name: the quantity, as in the rows of `History.epochs`.

    Returns:
        Numbers of the epochs, counted from 1, and for each arm one mean per epoch; fewer epochs than were trained where
        some were not validated, or a training stopped early.
    """
    rows = {arm: [history.epochs for history in runs] for arm, runs in histories.items()}
    rows = {arm: runs for arm, runs in rows.items() if any(name in row for epochs in runs for row in epochs)}
    length = min((len(epochs) for runs in rows.values() for epochs in runs), default=0)
    shared = [i for i in range(length) if all(name in epochs[i] for runs in rows.values() for epochs in runs)]
    means = {arm: [sum(float(epochs[i][name]) for epochs in runs) / len(runs) for i in shared] for arm, runs in rows.items()}
    return [i + 1 for i in shared], means
