"""A synthetic database of security logs, and tasks on it."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass

from tutelage.environments.guarded_sql import GuardedSql, Rows
from tutelage.environments.security_logs.queries import FAMILIES, INCIDENTS, QUERIES, SKILLS, Query, Skill
from tutelage.environments.security_logs.tables import fill
from tutelage.errors import DataError, OptionError, nearest


@dataclass(frozen=True)
class SecurityTask:
    """One question.

    Args:
        text: as an agent is asked; it begins with the incident and the number of the task.
        family: name of its family.
        entity: the entity that it names.
        answer: the right answer.
        values: the right value of every link, the answer last.
    """

    text: str
    family: str
    entity: str
    answer: str
    values: tuple[str, ...]

    @property
    def chain(self) -> tuple[Skill, ...]:
        """The links of its family."""
        return tuple(SKILLS[name] for name in FAMILIES[self.family].chain)


class SecurityLogs:
    """An incident's database of ten tables, which an agent can only read.

    Entities differ between incidents and seeds. Every right query returns one or two rows; the tempting one beside it returns many, and its
    first value is a wrong one.

    Args:
        incident: 5 or 55.
        seed: seed of everything in it.
        devices: number of devices, each with an alert and an account of its own.
        max_rows: most rows that a query returns.

    Raises:
        OptionError: for an unknown incident, or fewer than 5 devices.
    """

    def __init__(self, incident: int = 5, *, seed: int = 0, devices: int = 40, max_rows: int = 40) -> None:
        if incident not in INCIDENTS:
            raise OptionError(f"incident is {incident}; expected one of {', '.join(map(str, INCIDENTS))}.")
        if devices < 5:
            raise OptionError(f"devices is {devices}; expected at least 5.")
        self.incident, self.families = incident, INCIDENTS[incident]
        draw = random.Random(f"{incident} {seed}")
        connection = sqlite3.connect(":memory:", check_same_thread=False)
        self.starts = fill(connection, draw, incident, devices)
        connection.commit()
        self.sql = GuardedSql(connection, max_rows=max_rows)

    def run(self, query: str, entity: str) -> Rows:
        """Run a query by name; the entity is bound as a parameter.

        Raises:
            OptionError: for an unknown query.
        """
        if query not in QUERIES:
            raise OptionError(f"No query is called '{query}'.{nearest(query, QUERIES)}")
        return self.sql.query(QUERIES[query].sql, (entity,))

    def follow(self, entity: str, chain: tuple[str, ...]) -> tuple[str, ...]:
        """Return the value after each of some queries, each given the value before; empty texts after one that finds nothing."""
        values: list[str] = []
        for query in chain:
            entity = self.run(query, entity).value if entity else ""
            values.append(entity)
        return tuple(values)

    def task(self, family: str, number: int, entity: str) -> SecurityTask:
        """Return a task with its answer, which is found by the right queries.

        Args:
            family: name of its family.
            number: its number, which its text holds.
            entity: the entity that it names.

        Raises:
            DataError: if the database has no answer.
        """
        kind = FAMILIES[family]
        values = self.follow(entity, tuple(SKILLS[name].right.name for name in kind.chain))
        if not values[-1]:
            raise DataError(f"The task '{family}' about '{entity}' has no answer.")
        text = f"Incident {self.incident}-{number:03d}. {kind.takes.capitalize()} {entity}: {kind.text}"
        return SecurityTask(text, family, entity, values[-1], values)

    def stream(self, count: int, *, seed: int = 0) -> list[SecurityTask]:
        """Return tasks in which each family comes as often, in random order with random entities.

        Args:
            count: how many.
            seed: seed of the order and the entities.
        """
        draw = random.Random(f"stream {self.incident} {seed}")
        names = [self.families[i % len(self.families)] for i in range(count)]
        draw.shuffle(names)
        return [self.task(name, number, draw.choice(self.starts[FAMILIES[name].takes])) for number, name in enumerate(names)]

    def tools(self, task: SecurityTask) -> dict[str, Callable[[str], str]]:
        """Return every query as a tool that takes an entity; an empty input stands for the latest value of the right kind.

        Args:
            task: the task, whose entity is the first value.
        """
        latest = {FAMILIES[task.family].takes: task.entity}

        def use(query: Query) -> Callable[[str], str]:
            def tool(given: str) -> str:
                rows = self.run(query.name, given or latest.get(query.takes, ""))
                if rows.value:
                    latest[query.gives] = rows.value
                return rows.text()

            return tool

        return {name: use(query) for name, query in QUERIES.items()}
