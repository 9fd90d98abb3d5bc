import numpy as np
import pytest

from tutelage.environments.simulators import how_saved, load_state, save_state, time_limit
from tutelage.errors import DataError, OptionError

gymnasium = pytest.importorskip("gymnasium")

MUJOCO = [
    "Hopper-v5",
    "Walker2d-v5",
    "HalfCheetah-v5",
    "Ant-v5",
    "Swimmer-v5",
    "Humanoid-v5",
    "InvertedDoublePendulum-v5",
    "Reacher-v5",
    "Pusher-v5",
]
CLASSIC = ["CartPole-v1", "Acrobot-v1", "MountainCar-v0", "MountainCarContinuous-v0", "Pendulum-v1"]


def actions(env, count, seed=0):
    env.action_space.seed(seed)
    return [env.action_space.sample() for _ in range(count)]


def follow(env, moves):
    rows = []
    for action in moves:
        observation, reward, terminated, truncated, _ = env.step(action)
        rows.append((np.array(observation), float(reward), terminated, truncated))
        if terminated:
            break
    return rows


def equal(one, other):
    return len(one) == len(other) and all(
        a[0].tobytes() == b[0].tobytes() and a[0].dtype == b[0].dtype and a[1:] == b[1:] for a, b in zip(one, other, strict=True)
    )


@pytest.mark.parametrize("name", MUJOCO + CLASSIC)
@pytest.mark.parametrize("lead", [0, 4])
def test_a_state_is_put_back_bit_for_bit(name, lead):
    env, other = (gymnasium.make(name, max_episode_steps=1000) for _ in range(2))
    assert how_saved(env) == ("mujoco" if name in MUJOCO else "attributes")
    moves = actions(env, lead + 25)
    env.reset(seed=3)
    assert len(follow(env, moves[:lead])) == lead
    state = save_state(env)
    expected = follow(env, moves[lead:])
    # Another copy, elsewhere in another episode; and the first itself, which has gone on.
    other.reset(seed=9)
    follow(other, actions(other, 5, seed=4))
    load_state(other, state)
    assert equal(follow(other, moves[lead:]), expected)
    load_state(env, state)
    assert equal(follow(env, moves[lead:]), expected)


def test_qpos_and_qvel_alone_would_not_be_exact_for_the_ant():
    env = gymnasium.make("Ant-v5")
    env.reset(seed=0)
    moves = actions(env, 30)
    follow(env, moves[:20])
    state, inner = save_state(env), env.unwrapped
    expected = follow(env, moves[20:])
    inner.set_state(state["qpos"], state["qvel"])
    assert not equal(follow(env, moves[20:]), expected)


def test_two_states_are_independent():
    env = gymnasium.make("Hopper-v5")
    env.reset(seed=0)
    state = save_state(env)
    kept = {name: value.copy() for name, value in state.items()}
    load_state(env, state)
    follow(env, actions(env, 5))
    assert all(np.array_equal(state[name], kept[name]) for name in state)


def test_a_state_of_another_model_is_refused():
    hopper, walker = gymnasium.make("Hopper-v5"), gymnasium.make("Walker2d-v5")
    hopper.reset(seed=0)
    walker.reset(seed=0)
    with pytest.raises(DataError, match="qpos has 6 numbers, the model 9"):
        load_state(walker, save_state(hopper))
    cart, car = gymnasium.make("CartPole-v1"), gymnasium.make("MountainCar-v0")
    cart.reset(seed=0)
    car.reset(seed=0)
    with pytest.raises(DataError, match="not of"):
        load_state(car, save_state(cart))


def test_what_cannot_be_read_out_is_replayed():
    lander = gymnasium.make("LunarLander-v3")
    assert how_saved(lander) == "replay"
    with pytest.raises(OptionError, match="record"):
        save_state(lander)
    with pytest.raises(OptionError, match="replayed"):
        load_state(lander, {})
    stacked = gymnasium.wrappers.FrameStackObservation(gymnasium.make("Hopper-v5"), 2)
    assert how_saved(stacked) == "replay"


def test_a_state_before_the_first_reset_is_refused():
    with pytest.raises(OptionError, match="reset"):
        save_state(gymnasium.make("CartPole-v1"))


def test_the_time_limit_is_found():
    assert time_limit(gymnasium.make("Hopper-v5"))._max_episode_steps == 1000
    assert time_limit(gymnasium.make("Hopper-v5").unwrapped) is None
