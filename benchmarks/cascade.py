"""Latency of a passage cascade against its own teacher that reads every passage, at several lengths of 20 documents.

Networks of the sizes of the recipe of IDCM, not trained: time does not depend on what was learned. Windows of 64 tokens, the teacher reads
k = 4 of each document.
"""

from __future__ import annotations

import functools
import statistics
from collections.abc import Iterator

import torch

from benchmarks.measure import Row, paired_ratio, take_turns
from tutelage.deploy.ranking import Cascade
from tutelage.models.ranking import ConvKernels, CrossEncoder, TopScores

VOCABULARY, DOCUMENTS, K = 22_000, 20, 4
GOALS = {8: 0.8, 16: 0.5, 40: 0.25}
"""Passages of a document, and the share of the time of reading all. 40 (2,000 tokens) are the paper's longest; its latency is a quarter."""


def rows() -> Iterator[Row]:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    teacher = CrossEncoder(VOCABULARY, width=64, layers=2)
    cascade = Cascade(ConvKernels(teacher.table), teacher, TopScores(3)).eval()
    query = torch.randint(1, VOCABULARY, (1, 8))
    for length, goal in GOALS.items():
        passages = torch.randint(1, VOCABULARY, (DOCUMENTS, length, 64))
        mask = torch.ones(DOCUMENTS, length, dtype=torch.bool)
        ours, theirs = take_turns(*(functools.partial(cascade, query, passages, mask, k) for k in (K, None)), rounds=9)
        ratio = paired_ratio(ours, theirs)
        name = f"ranking {DOCUMENTS} documents of {length} passages, teacher on {K} of each against all"
        yield Row(name, 1000 * statistics.median(ours), 1000 * statistics.median(theirs), "ms", ratio, f"<= {goal:g}", ratio <= goal)
