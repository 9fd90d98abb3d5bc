import numpy as np
import pytest

from tutelage.environments.mazes import SerpentineMaze
from tutelage.errors import OptionError


def test_walls_are_open_at_the_far_and_the_near_side_by_turns():
    walls = SerpentineMaze().walls
    assert walls.sum() == 3 * 8
    assert not walls[2, 8:].any()
    assert walls[2, :8].all()
    assert not walls[5, :2].any()
    assert walls[5, 2:].all()
    assert not walls[8, 8:].any()
    assert walls[8, :8].all()


def test_moves_by_hand():
    moves = SerpentineMaze().moves
    assert moves[0].tolist() == [0, 1, 10, 0]
    assert moves[10].tolist() == [0, 11, 10, 10]  # below is a wall
    assert moves[18].tolist() == [8, 19, 28, 17]  # below is the gap


def test_optimal_values_without_slipping_are_powers_of_the_discount():
    maze = SerpentineMaze(slip=0.0)
    value, cell, steps = maze.action_values(0.9), 0, 0
    while cell != maze.goal:
        cell, steps = int(maze.moves[cell, value[cell].argmax()]), steps + 1
    assert value[0].max() == pytest.approx(0.9 ** (steps - 1))
    assert maze.success(value, steps) == 1.0
    assert maze.success(value, steps - 1) == 0.0


def test_exact_success_agrees_with_episodes():
    maze = SerpentineMaze(size=6, slip=0.3)
    values = maze.action_values()
    policy, reached = values.argmax(1), 0
    unique = np.where(np.arange(4) == policy[:, None], 1.0, 0.0)  # no ties
    maze.reset(seed=0)
    for _ in range(2000):
        cell, _ = maze.reset()
        for _ in range(13):
            cell, _, done, _, _ = maze.step(policy[cell])
            if done:
                reached += 1
                break
    expected = float(maze.success(unique, 13))
    assert 0.1 < expected < 0.95
    assert reached / 2000 == pytest.approx(expected, abs=4 * np.sqrt(0.25 / 2000))


def test_a_maze_that_cannot_be_is_refused():
    with pytest.raises(OptionError, match="size 2"):
        SerpentineMaze(2)
    with pytest.raises(OptionError, match="slip 2"):
        SerpentineMaze(10, 2.0)
