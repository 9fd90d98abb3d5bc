from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from gymnasium.envs.box2d import bipedal_walker as original
from gymnasium.utils.env_checker import check_env

from tutelage.environments import Episodes, TaskEnvironment
from tutelage.environments.walker import BODIES, HEXAGONS, STUMPS, TaskWalker, hexagon_tracks, hexagons, stump_tracks, stumps
from tutelage.environments.walker.tracks import STEP
from tutelage.errors import OptionError


@pytest.mark.parametrize("make", [stump_tracks, hexagon_tracks])
@pytest.mark.parametrize("body", BODIES)
def test_every_walker_is_a_gymnasium_environment(make, body):
    env = make(body=body).unwrapped
    check_env(env, skip_render_check=True)
    sizes = {"short": (24, 4), "default": (24, 4), "quadrupedal": (34, 8)}[body]
    assert (env.observation_space.shape[0], env.action_space.shape[0]) == sizes


def test_the_default_body_is_gymnasiums_walker():
    """On the same ground, with the same pushes, observations and rewards are equal bit by bit."""
    ours = TaskWalker(stumps, STUMPS, np.array([0.3, 5.0]))

    class Theirs(original.BipedalWalker):
        track, box, task = staticmethod(stumps), STUMPS, ours.task
        _generate_terrain, _static = TaskWalker._generate_terrain, TaskWalker._static

    theirs, walk = Theirs(), original.BipedalWalkerHeuristics()
    a, b = ours.reset(seed=4)[0], theirs.reset(seed=4)[0]
    np.testing.assert_array_equal(a, b)
    for _ in range(400):
        action = walk.step_heuristic(a)
        (a, r, over, *_), (b, s, ended, *_) = ours.step(action), theirs.step(action)
        np.testing.assert_array_equal(a, b)
        assert (r, over) == (pytest.approx(s, abs=1e-12), ended)
        if over:
            break


def test_stumps_follow_their_task():
    drawn = list(stumps(np.array([1.5, 2.0]), 10.0, 5000.0, 3.0, np.random.default_rng(0)))
    heights = np.array([obstacle.corners[2][1] - 3.0 for obstacle in drawn]) / STEP
    assert heights.mean() == pytest.approx(1.5, abs=0.01)
    assert heights.std() == pytest.approx(0.1, abs=0.01)
    gaps = [b.start - a.end for a, b in pairwise(drawn)]
    np.testing.assert_allclose(gaps, 2.0)
    np.testing.assert_allclose([obstacle.end - obstacle.start for obstacle in drawn], STEP)
    low = [o.corners[2][1] for o in stumps(np.array([0.0, 0.0]), 0.0, 50.0, 0.0, np.random.default_rng(0))]
    assert min(low) == pytest.approx(0.05 * STEP)


def test_hexagons_follow_their_task_and_stand_on_the_ground():
    task = np.random.default_rng(1).random(12) * 4
    drawn = list(hexagons(task, 10.0, 9000.0, 3.0, np.random.default_rng(0)))
    corners = np.array([np.array(o.corners) - (o.start, 3.0) for o in drawn]) / STEP
    base = [(-0.5, 0), (-0.5, 0.25), (-0.25, 0.5), (0.25, 0.5), (0.5, 0.25), (0.5, 0)]
    offsets = corners.mean(0) - base
    expected = task.reshape(6, 2).copy()
    expected[[0, -1], 1] = 0
    np.testing.assert_allclose(offsets, expected, atol=0.02)
    assert not corners[:, [0, -1], 1].any()


def test_the_same_seed_gives_the_same_episode_and_another_another():
    env = stump_tracks(np.array([1.0, 1.0])).unwrapped
    tracks = []
    for seed in (1, 1, 2):
        env.reset(seed=seed)
        tracks.append([env.step(np.full(4, 0.3))[0] for _ in range(60)])
    np.testing.assert_array_equal(tracks[0], tracks[1])
    assert not np.array_equal(tracks[0], tracks[2])


@pytest.mark.parametrize(("make", "box"), [(stump_tracks, STUMPS), (hexagon_tracks, HEXAGONS)])
def test_episodes_replay_bit_for_bit(make, box):
    one, other = (Episodes(TaskEnvironment(make, box), seed=2) for _ in range(2))
    rng = np.random.default_rng(0)
    for _ in range(2):
        one.reset(options={"task": box.uniform(rng)})
        for _ in range(70):
            one.step(rng.uniform(-1, 1, 4))
    other.restore(one.position())
    for _ in range(30):
        action = rng.uniform(-1, 1, 4)
        np.testing.assert_array_equal(one.step(action)[0], other.step(action)[0])


def test_the_world_holds_what_the_track_says():
    env = stump_tracks(np.array([3.0, 6.0])).unwrapped
    env.reset(seed=0)
    tops = [max(y for _, y in body.fixtures[0].shape.vertices) for body in env.terrain]
    high = [top - original.TERRAIN_HEIGHT for top in tops if top > original.TERRAIN_HEIGHT + 0.01]
    assert len(high) == 13  # from 9.33 m to 93.33 m, one every 6.47 m
    np.testing.assert_allclose(high, 3 * STEP, atol=0.2)
    env.hull.position = (8.0, 4.6)
    env.world.ClearForces()
    seen = env.step(np.zeros(4))[0]
    assert seen[-1] < 0.4  # the flattest lidar meets the first stump, 1.3 m ahead
    env.set_task(np.array([0.0, 6.0]))
    env.reset(seed=0)
    env.hull.position = (8.0, 4.6)
    assert env.step(np.zeros(4))[0][-1] == 1


def test_all_hexagon_tasks_can_be_built():
    env = hexagon_tracks(body="quadrupedal").unwrapped
    rng = np.random.default_rng(0)
    for task in [HEXAGONS.lows, HEXAGONS.highs, *(HEXAGONS.uniform(rng) for _ in range(25))]:
        env.set_task(task)
        assert env.observation_space.contains(env.reset(seed=1)[0])


def test_pictures_and_mistakes():
    env = stump_tracks(render_mode="rgb_array", body="quadrupedal")
    env.reset(seed=0)
    assert env.render().shape == (400, 600, 3)
    with pytest.raises(OptionError, match="quadrupedal"):
        stump_tracks(body="quadruped")
    with pytest.raises(OptionError, match="'height' is 9"):
        stump_tracks(np.array([9.0, 1.0]))
