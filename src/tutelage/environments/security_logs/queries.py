"""Queries by name, the links of a chain that they make, and the families of tasks that need a chain."""

from __future__ import annotations

from dataclasses import dataclass

AFFECTED, SIGNED_IN, RISKY, CLICKED = "affected device", "signed-in account", "risky address", "clicked mail"
BLOCKED, HASH, PEER, OWNER = "blocked file", "current hash", "largest transfer", "present owner"


@dataclass(frozen=True)
class Query:
    """A query by name, from one entity to another.

    Args:
        name: its name.
        takes: kind of entity that it is given.
        gives: kind of its value, the first column of its first row.
        sql: the query, with one question mark.
    """

    name: str
    takes: str
    gives: str
    sql: str


@dataclass(frozen=True)
class Skill:
    """One link of a chain.

    Args:
        phrase: the words of a task that call for it.
        right: the query that gives what the words mean.
        wrong: the query whose table or column only looks like it.
    """

    phrase: str
    right: Query
    wrong: Query


def _skill(phrase: str, takes: str, gives: str, right: tuple[str, str], wrong: tuple[str, str]) -> Skill:
    return Skill(phrase, Query(right[0], takes, gives, right[1]), Query(wrong[0], takes, gives, wrong[1]))


SKILLS: dict[str, Skill] = {
    "device": _skill(
        AFFECTED,
        "alert",
        "device",
        ("evidence_device", "SELECT entity, entity_type FROM alert_evidence WHERE alert_id = ? AND entity_type = 'device'"),
        ("alert_device", "SELECT device, a.* FROM alerts AS a ORDER BY id <> ?, time"),
    ),
    "account": _skill(
        SIGNED_IN,
        "device",
        "account",
        ("last_sign_in", "SELECT account, time FROM sign_ins WHERE device = ? AND result = 'success' ORDER BY time DESC LIMIT 1"),
        ("registered_account", "SELECT account, d.* FROM devices AS d ORDER BY device <> ?, device"),
    ),
    "address": _skill(
        RISKY,
        "account",
        "address",
        ("risky_address", "SELECT address, time FROM sign_ins WHERE account = ? AND result = 'risky' ORDER BY time DESC LIMIT 1"),
        ("summary_address", "SELECT address, s.* FROM sign_in_summary AS s WHERE account = ? ORDER BY week DESC"),
    ),
    "sender": _skill(
        CLICKED,
        "account",
        "sender",
        ("clicked_sender", "SELECT sender, subject FROM emails WHERE recipient = ? AND clicked = 1 ORDER BY time LIMIT 2"),
        ("latest_sender", "SELECT sender, e.* FROM emails AS e WHERE recipient = ? ORDER BY time DESC"),
    ),
    "file": _skill(
        BLOCKED,
        "device",
        "file",
        ("blocked_file", "SELECT file, time FROM processes WHERE device = ? AND action = 'blocked' ORDER BY time LIMIT 1"),
        ("frequent_file", "SELECT file, count(*) AS runs, max(raw) FROM processes WHERE device = ? GROUP BY file ORDER BY runs DESC, file"),
    ),
    "hash": _skill(
        HASH,
        "file",
        "hash",
        ("file_hash", "SELECT sha256, seen FROM files WHERE file = ? ORDER BY seen DESC LIMIT 1"),
        ("first_hash", "SELECT sha256, f.* FROM files AS f WHERE file = ? ORDER BY seen"),
    ),
    "peer": _skill(
        PEER,
        "device",
        "address",
        ("largest_transfer", "SELECT address, bytes FROM network WHERE device = ? ORDER BY bytes DESC LIMIT 1"),
        (
            "frequent_peer",
            "SELECT address, count(*) AS n, max(raw) FROM network WHERE device = ? GROUP BY address ORDER BY n DESC, address",
        ),
    ),
    "organisation": _skill(
        OWNER,
        "address",
        "organisation",
        ("current_owner", "SELECT organisation, updated FROM address_registry WHERE address = ? ORDER BY updated DESC LIMIT 1"),
        ("listed_owner", "SELECT organisation, r.* FROM address_registry AS r WHERE address = ? ORDER BY updated"),
    ),
}
"""The links by what they find."""

QUERIES: dict[str, Query] = {query.name: query for skill in SKILLS.values() for query in (skill.right, skill.wrong)}
"""All queries by name: right and tempting ones."""


@dataclass(frozen=True)
class Family:
    """A kind of task.

    Args:
        name: its name.
        takes: kind of entity that a task names.
        chain: links from there to the answer.
        text: what is asked about it.
    """

    name: str
    takes: str
    chain: tuple[str, ...]
    text: str


FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        Family("phishing", "alert", ("device", "account", "sender"), f"who sent the {CLICKED} of the {SIGNED_IN} of the {AFFECTED}?"),
        Family("intrusion", "alert", ("device", "account", "address"), f"which is the {RISKY} of the {SIGNED_IN} of the {AFFECTED}?"),
        Family("malware", "alert", ("device", "file", "hash"), f"what is the {HASH} of the {BLOCKED} on the {AFFECTED}?"),
        Family("takeover", "device", ("account", "address", "organisation"), f"who is the {OWNER} of the {RISKY} of its {SIGNED_IN}?"),
        Family("lure", "device", ("account", "sender"), f"who sent the {CLICKED} of its {SIGNED_IN}?"),
        Family(
            "campaign",
            "alert",
            ("device", "account", "address", "organisation"),
            f"who is the {OWNER} of the {RISKY} of the {SIGNED_IN} of the {AFFECTED}?",
        ),
        Family("sample", "device", ("file", "hash"), f"what is the {HASH} of its {BLOCKED}?"),
        Family(
            "exfiltration",
            "alert",
            ("device", "peer", "organisation"),
            f"who is the {OWNER} of the peer of the {PEER} from the {AFFECTED}?",
        ),
    )
}
"""The families by name."""
INCIDENTS = {
    5: ("phishing", "intrusion", "malware", "takeover", "lure", "campaign"),
    55: ("phishing", "intrusion", "malware", "takeover", "sample", "exfiltration"),
}
"""Two incidents, which share four of their six families."""
