"""Shipping a ranker: the cascade of student and teacher, its door for raw texts, its report, and its folder."""

from tutelage.deploy.ranking.cascade import Answer, Cascade
from tutelage.deploy.ranking.compare import Comparison, compare
from tutelage.deploy.ranking.ranker import Ranker, Ranking, Windows
from tutelage.deploy.ranking.saved import load, save

__all__ = ["Answer", "Cascade", "Comparison", "Ranker", "Ranking", "Windows", "compare", "load", "save"]
