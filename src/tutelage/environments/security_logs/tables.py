"""The ten tables of the synthetic security database and what stands in them."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable

_TABLES = {
    "alerts": "id, time, name, device, account, severity",
    "alert_evidence": "alert_id, entity_type, entity",
    "devices": "device, account, address, system",
    "sign_ins": "time, account, device, address, result",
    "sign_in_summary": "account, week, address, sign_ins",
    "processes": "time, device, account, file, action",
    "files": "file, sha256, md5, seen",
    "emails": "time, sender, recipient, subject, clicked",
    "network": "time, device, address, bytes",
    "address_registry": "address, organisation, contact, updated",
}
_RAW = "tenant corp.example region north agent 4.2 policy default source sensor schema 3 batch nightly parser plain state parsed"
"""What stands in the last column of every row, as logs have many columns that answer nothing."""


class _Names:
    """Draws names that were not drawn before."""

    def __init__(self, draw: random.Random) -> None:
        self.draw, self.known = draw, set[str]()

    def __call__(self, make: Callable[[], str]) -> str:
        while (name := make()) in self.known:
            pass
        self.known.add(name)
        return name

    def address(self) -> str:
        return self(lambda: ".".join(str(self.draw.randrange(1, 255)) for _ in range(4)))

    def word(self, prefix: str, suffix: str = "") -> str:
        return self(lambda: f"{prefix}{self.draw.randrange(16**4):04x}{suffix}")

    def hash(self, digits: int) -> str:
        return self(lambda: f"{self.draw.randrange(16**digits):0{digits}x}")


def fill(connection: sqlite3.Connection, draw: random.Random, incident: int, count: int) -> dict[str, list[str]]:
    """Write the tables.

    Args:
        connection: to an empty database.
        draw: draws entities and times.
        incident: is part of the entities' names.
        count: number of devices, accounts and alerts.

    Returns:
        The entities that tasks can name, by kind.
    """
    for table, columns in _TABLES.items():
        connection.execute(f"CREATE TABLE {table} ({columns}, raw)")
    names = _Names(draw)

    def add(table: str, *rows: tuple[object, ...]) -> None:
        marks = ", ".join("?" * (len(rows[0]) + 1))
        connection.executemany(f"INSERT INTO {table} VALUES ({marks})", [(*row, _RAW) for row in rows])

    def when() -> str:
        return f"2024-{draw.randrange(6, 8):02d}-{draw.randrange(1, 29):02d}T{draw.randrange(24):02d}:{draw.randrange(60):02d}"

    late, early = "2024-08-01T00:00", "2024-05-01T00:00"
    devices = [names.word(f"host{incident}-") for _ in range(count)]
    accounts = [names.word("user", "@corp.example") for _ in range(count)]
    alerts = [names.word(f"AL{incident}-") for _ in range(count)]
    for i, (device, account, alert) in enumerate(zip(devices, accounts, alerts, strict=True)):
        other, another = accounts[(i + 1) % count], devices[(i + 3) % count]
        add("alerts", (alert, when(), draw.choice(("beacon", "dropper", "spray")), another, other, draw.choice(("high", "low"))))
        add("alert_evidence", (alert, "device", device), (alert, "account", other))
        add("devices", (device, other, names.address(), draw.choice(("linux", "windows"))))
        risky, usual = names.address(), names.address()
        add("sign_ins", *((when(), account, device, usual, "success") for _ in range(4)), (late, account, device, usual, "success"))
        add("sign_ins", (when(), account, another, risky, "risky"), (late, other, device, usual, "failure"))
        add("sign_in_summary", *((account, week, names.address(), draw.randrange(90)) for week in range(30)))
        bad, common = names.word("drop", ".exe"), names.word("app", ".exe")
        add("processes", *((when(), device, account, common, "allowed") for _ in range(6)), (when(), device, account, bad, "blocked"))
        add("processes", *((when(), device, account, names.word("tool", ".exe"), "allowed") for _ in range(25)))
        for file in (bad, common):
            add("files", *((file, names.hash(16), names.hash(8), seen) for seen in (early, *(when() for _ in range(25)), late)))
        add("emails", (when(), names.word("s", "@mail.example"), account, "invoice", 1))
        add("emails", *((when(), names.word("s", "@mail.example"), account, "news", 0) for _ in range(30)))
        add("emails", (late, names.word("s", "@mail.example"), account, "news", 0))
        peer, noise = names.address(), names.address()
        add("network", (when(), device, peer, 10_000_000), *((when(), device, noise, draw.randrange(1000)) for _ in range(12)))
        add("network", *((when(), device, names.address(), draw.randrange(1000)) for _ in range(25)))
        for address in (risky, peer, usual, noise):
            past = [(address, names.word("org"), "-", seen) for seen in (early, *(when() for _ in range(25)))]
            add("address_registry", *past, (address, names.word("org"), "-", late))
    return {"alert": alerts, "device": devices}
