import numpy as np
import pytest

from tutelage.environments.mazes import SerpentineMaze
from tutelage.errors import OptionError
from tutelage.train.q_learning import Learner, Starts, q_learning


def everywhere(maze, steps, limit=20):
    cells = np.flatnonzero(~maze.walls.reshape(-1))[:-1]
    return Starts(cells, np.full(len(cells), 1 / len(cells)), limit, steps)


def test_values_come_to_those_of_value_iteration():
    maze = SerpentineMaze(4, slip=0.0)
    _, success, table = q_learning(maze, [Learner((0,), everywhere(maze, 30_000))], 30_000, rate=1.0, explore=1.0, discount=0.9)
    free = ~maze.walls.reshape(-1)
    free[maze.goal] = False
    assert table[0][free] == pytest.approx(maze.action_values(0.9)[free], abs=1e-9)
    assert success[0, -1] == 1.0


def test_a_learner_does_not_depend_on_its_company():
    maze = SerpentineMaze(6)
    learners = [Learner((0,), everywhere(maze, 500)), Learner((1,)), Learner((2,), everywhere(maze, 1500, limit=7))]
    _, together, tables = q_learning(maze, learners, 3000, every=1000)
    for number, learner in enumerate(learners):
        _, alone, table = q_learning(maze, [learner], 3000, every=1000)
        assert np.array_equal(alone[0], together[number])
        assert np.array_equal(table[0], tables[number])


def test_no_steps_from_snapshots_is_plain_learning():
    maze = SerpentineMaze(6)
    _, _, tables = q_learning(maze, [Learner((3,)), Learner((3,), everywhere(maze, 0))], 2000)
    assert np.array_equal(tables[0], tables[1])


def test_measurements_are_taken_in_time():
    said = []
    at, success, _ = q_learning(SerpentineMaze(4), [Learner((0,))], 1050, every=500, watch=said.append)
    assert at.tolist() == said == [500, 1000, 1050]
    assert success.shape == (1, 3)


def test_nothing_to_learn_is_refused():
    with pytest.raises(OptionError, match="0 learners"):
        q_learning(SerpentineMaze(4), [], 10)
