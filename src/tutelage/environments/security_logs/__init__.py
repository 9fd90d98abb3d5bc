"""A synthetic security database with tasks: each needs a chain of queries, and beside every right query stands a tempting one."""

from tutelage.environments.security_logs.logs import SecurityLogs, SecurityTask
from tutelage.environments.security_logs.queries import FAMILIES, INCIDENTS, QUERIES, SKILLS, Family, Query, Skill

__all__ = ["FAMILIES", "INCIDENTS", "QUERIES", "SKILLS", "Family", "Query", "SecurityLogs", "SecurityTask", "Skill"]
