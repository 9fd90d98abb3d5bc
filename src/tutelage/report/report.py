"""The report of a run: what was measured, for each arm and seed, and what it says about the paper's claims."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tutelage.errors import OptionError, nearest
from tutelage.report import intervals
from tutelage.report.parts import Claim, Curve, Picture
from tutelage.report.tables import lower_is_better
from tutelage.report.versions import versions

if TYPE_CHECKING:
    from rich.table import Table

    from tutelage.report.tables import ArmsTable


@dataclass
class Report:
    """Arms, metrics, seeds, curves, pictures, notes and claims of one run.

    Args:
        name: slug of the method or job.
        title: heading of the page.
        seeds: seeds of the run.
        config: options of the run, ready for JSON.
        versions: versions of what it ran with; read from the installation by default.
        wall_seconds: how long the run took, in seconds.
    """

    name: str
    title: str
    seeds: tuple[int, ...]
    config: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=versions)
    wall_seconds: float = 0.0
    values: dict[str, dict[str, dict[int, float]]] = field(default_factory=dict)
    claims: list[Claim] = field(default_factory=list)
    curves: list[Curve] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    calibration: dict[str, dict[int, dict[str, list[float]]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.seeds = tuple(int(seed) for seed in self.seeds)

    def add(self, arm: str, seed: int, **metrics: float) -> None:
        """Record what one arm reached with one seed.

        Args:
            arm: name of the arm ("teacher", "alone", "bd-kd").
            seed: the seed it was trained with.
            **metrics: numbers by name; accuracies in percent. A later number of the same name replaces an earlier.
        """
        row = self.values.setdefault(arm, {})
        for metric, value in metrics.items():
            row.setdefault(metric, {})[int(seed)] = float(value)

    def reliability(self, arm: str, seed: int, bins: Mapping[str, Iterable[float]]) -> None:
        """Record a calibration table, which the page draws, pooled over seeds.

        Args:
            arm: name of the arm.
            seed: the seed it was trained with.
            bins: what `evaluate.reliability` returns.
        """
        self.calibration.setdefault(arm, {})[int(seed)] = {key: [float(v) for v in column] for key, column in bins.items()}

    def curve(self, title: str, x: Iterable[float], y: Mapping[str, Iterable[float]], x_label: str = "epoch", y_label: str = "") -> None:
        """Record a chart with one line per arm.

        Args:
            title: heading.
            x: positions on the shared axis.
            y: for each arm one number per position.
            x_label: name and unit of the axis.
            y_label: name and unit of the values.

        Raises:
            OptionError: if an arm has another number of points than the axis.
        """
        axis = tuple(float(v) for v in x)
        lines = {arm: tuple(float(v) for v in line) for arm, line in y.items()}
        for arm, line in lines.items():
            if len(line) != len(axis):
                raise OptionError(
                    f"curve '{title}': arm '{arm}' has {len(line)} points, its axis has {len(axis)}; give one value per position."
                )
        self.curves.append(Curve(title, axis, lines, x_label, y_label))

    def picture(self, title: str, figure: Any, caption: str) -> None:
        """Record a picture; it is read or drawn at once, so the figure may be changed or the file removed afterwards.

        Args:
            title: heading.
            figure: a matplotlib figure, or the path of a PNG file.
            caption: what a reader sees in it; also its alternative text.

        Raises:
            OptionError: if it is neither a figure nor a PNG file.
        """
        if hasattr(figure, "savefig"):
            buffer = io.BytesIO()
            figure.savefig(buffer, format="png", dpi=150, bbox_inches="tight")
            content = buffer.getvalue()
        else:
            try:
                content = Path(figure).read_bytes()
            except (OSError, TypeError) as error:
                raise OptionError(
                    f"picture '{title}': got {figure!r}, expected a matplotlib figure or the path of a PNG file ({error})."
                ) from error
        if not content.startswith(b"\x89PNG\r\n\x1a\n"):
            raise OptionError(f"picture '{title}': {figure!r} is not a PNG file; save it as PNG first.")
        self.pictures.append(Picture(title, caption, content))

    def note(self, text: str) -> None:
        """Record a sentence for the reader: what was left out, why a claim did not hold."""
        self.notes.append(text)

    def claim(self, text: str, arm: str, versus: str, metric: str, *, margin: float = 0.0, higher_is_better: bool | None = None) -> Claim:
        """Check a sentence on the difference between two arms, paired over the seeds that both have.

        Args:
            text: the sentence.
            arm: the arm it speaks for.
            versus: the arm it is compared with.
            metric: the metric it is about.
            margin: smallest mean improvement at which it holds, in units of the metric; negative for "not worse than by".
            higher_is_better: direction of the metric; `None` takes it from the metric's name (`lower_is_better`).

        Returns:
            The claim, which is also kept in the report.

        Raises:
            OptionError: if an arm, the metric or a common seed is missing.
        """
        ours, theirs = self._seeds_of(arm, metric), self._seeds_of(versus, metric)
        common = [seed for seed in ours if seed in theirs]
        if not common:
            raise OptionError(
                f"claim '{text}': arms '{arm}' and '{versus}' have no common seed for '{metric}'; add both for the same seeds."
            )
        sign = 1.0 if (not lower_is_better(metric) if higher_is_better is None else higher_is_better) else -1.0
        return self.check(text, [sign * (ours[seed] - theirs[seed]) for seed in common], at_least=margin)

    def check(self, text: str, values_per_seed: Sequence[float], *, at_least: float = 0.0) -> Claim:
        """Check a sentence on any quantity measured once per seed.

        Args:
            text: the sentence.
            values_per_seed: the quantity, one value per seed.
            at_least: smallest mean at which the sentence holds.

        Returns:
            The claim, which is also kept in the report.

        Raises:
            OptionError: if there is no value.
        """
        values = tuple(float(v) for v in values_per_seed)
        if not values:
            raise OptionError(f"claim '{text}': got no values; give one per seed.")
        value = intervals.mean(values)
        found = Claim(text, value, intervals.interval(values), bool(value >= at_least), float(at_least), values)
        self.claims.append(found)
        return found

    def mean(self, arm: str, metric: str) -> float:
        """Return the mean of a metric over the seeds of an arm."""
        return intervals.mean(list(self._seeds_of(arm, metric).values()))

    def spread(self, arm: str, metric: str) -> float:
        """Return the standard deviation (divisor n - 1) of a metric over the seeds of an arm; 0 for one seed."""
        return intervals.spread(list(self._seeds_of(arm, metric).values()))

    def _seeds_of(self, arm: str, metric: str) -> dict[int, float]:
        if arm not in self.values:
            raise OptionError(f"report '{self.name}' has no arm '{arm}'." + nearest(arm, self.values))
        if metric not in self.values[arm]:
            raise OptionError(f"arm '{arm}' of report '{self.name}' has no metric '{metric}'." + nearest(metric, self.values[arm]))
        return self.values[arm][metric]

    def table(self) -> ArmsTable:
        """Return the table of arms and metrics (mean ± standard deviation over seeds, best in bold), for `rich.print`."""
        from tutelage.report.tables import ArmsTable

        return ArmsTable(self)

    def claims_table(self) -> Table:
        """Return the table of claims, with what was measured and whether each held, for a terminal."""
        from tutelage.report.tables import rich_claims

        return rich_claims(self)

    def results(self) -> dict[str, Any]:
        """Return what `results/METHOD.json` holds, ready for JSON (numbers that are not finite as null)."""
        from tutelage.report.storage import results

        return results(self)

    def save(self, directory: str | Path) -> Path | None:
        """Write `report.json`, the pictures and the page `report.html` to a folder, each file whole or not at all.

        Args:
            directory: folder, made if missing.

        Returns:
            The path of the page, or `None` where the extra `report` that draws it is not installed.
        """
        from tutelage.report.storage import save

        return save(self, Path(directory))

    @classmethod
    def load(cls, directory: str | Path) -> Report:
        """Read a report that `save` wrote.

        Args:
            directory: its folder, or its `report.json`.

        Raises:
            CheckpointError: if it is missing or damaged.
        """
        from tutelage.report.storage import load

        return load(Path(directory))
