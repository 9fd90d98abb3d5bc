"""The on-policy race: our lane does the work it is timed for, and all prompts of a turn are as long as they should be."""

from __future__ import annotations

import pytest
from benchmarks.races.on_policy import OURS, TASKS, Options, judged, make, prepare

pytest.importorskip("transformers")

TINY = Options().tiny()


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return make(TINY, tmp_path_factory.mktemp("models"))


@pytest.mark.parametrize("task", sorted(TASKS))
def test_our_lane_writes_and_learns(task, models):
    _, tokens, moved = prepare(task, OURS, TINY, models)()
    assert TINY.rows <= tokens <= TINY.rows * TINY.steps * TINY.answer
    assert moved > 0


def test_prompts():
    prompts = Options().prompts
    lengths = [len(prompt.split()) for prompt in prompts]
    assert len(prompts) == Options().rows * Options().steps
    assert min(lengths) == 8
    assert max(lengths) == 24


def test_reward():
    assert judged("w3 w4 w18") == pytest.approx(2 / 3)
    assert judged("") == 0
