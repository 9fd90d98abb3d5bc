import numpy as np
import pytest

from tutelage.environments.cells import SENTENCES
from tutelage.environments.rooms import TwoRooms
from tutelage.environments.subgoals import SubgoalTracker
from tutelage.errors import MissingExtra
from tutelage.teachers.subgoals import oracle, sentence_embeddings


def test_sentences_are_embedded_by_meaning():
    try:
        found = sentence_embeddings()
    except MissingExtra as error:
        pytest.skip(str(error))
    assert set(found) == set(SENTENCES)
    assert all(np.linalg.norm(vector) == pytest.approx(1, abs=1e-5) for vector in found.values())
    assert found["red_door"] @ found["locked_door"] > found["red_door"] @ found["goal"]
    env = SubgoalTracker(TwoRooms(), oracle, kind="language", embed=found.__getitem__)
    assert np.array_equal(env.reset(seed=0)[0]["subgoal"], found["key"])
