import numpy as np
import pytest
import torch
from torch import nn

from tutelage.errors import DataError, OptionError
from tutelage.teachers.policies import cleanrl_teacher, fit_value, rule_teacher, sb3_teacher

gymnasium = pytest.importorskip("gymnasium")


def make():
    return gymnasium.make("Pendulum-v1")


def seen(count=5):
    env = make()
    env.action_space.seed(0)
    rows = [env.reset(seed=0)[0]]
    return np.stack(rows + [env.step(env.action_space.sample())[0] for _ in range(count - 1)])


@pytest.mark.parametrize("algorithm", ["TD3", "SAC", "PPO"])
def test_a_student_of_stable_baselines_becomes_a_teacher(algorithm):
    sb3 = pytest.importorskip("stable_baselines3")
    model = getattr(sb3, algorithm)("MlpPolicy", make(), policy_kwargs={"net_arch": [8]}, seed=0, device="cpu")
    teacher, rows = sb3_teacher(model), seen()
    assert teacher.act(rows[0]).shape == (1,)
    if algorithm == "TD3":
        x = torch.as_tensor(rows)
        expected = model.critic(x, model.actor(x))[0].detach().numpy().ravel()
        assert teacher.value(rows) == pytest.approx(expected, abs=1e-6)
        assert np.array_equal(teacher.act(rows[0]), model.predict(rows[0], deterministic=True)[0])
    elif algorithm == "PPO":
        assert teacher.value(rows) == pytest.approx(model.policy.predict_values(torch.as_tensor(rows)).detach().numpy().ravel())
    else:
        assert len({float(teacher.act(rows[0])[0]) for _ in range(5)}) > 1
        assert teacher.value(rows).shape == (5,)


def test_observations_go_through_the_teachers_own_statistics():
    sb3 = pytest.importorskip("stable_baselines3")
    model = sb3.PPO("MlpPolicy", make(), seed=0, device="cpu")
    rows = seen()
    assert sb3_teacher(model, lambda given: given / 2).value(rows) == pytest.approx(sb3_teacher(model).value((rows / 2).astype(np.float32)))


def test_values_are_fitted_to_returns():
    generator = np.random.default_rng(0)
    rows = generator.uniform(-1, 1, (400, 2))
    value = fit_value(rows, np.sin(2 * rows[:, 0]) + rows[:, 1] + 50)
    new = generator.uniform(-0.9, 0.9, (100, 2))
    assert value(new) == pytest.approx(np.sin(2 * new[:, 0]) + new[:, 1] + 50, abs=0.1)


def test_the_values_of_a_rule_grow_towards_its_reward():
    env = gymnasium.make("MountainCarContinuous-v0")
    teacher = rule_teacher(lambda o: np.array([1.0 if o[1] >= 0 else -1.0], np.float32), env, episodes=3)
    near, far = np.array([[0.4, 0.05]]), np.array([[-0.5, 0.0]])
    assert 85 < teacher.value(near)[0] < 105
    assert 20 < teacher.value(far)[0] < 50


def linears(names, sizes):
    return {name: nn.Linear(*size) for name, size in zip(names, sizes, strict=True)}


def weights(layers):
    return {f"{name}.{key}": value for name, layer in layers.items() for key, value in layer.state_dict().items()}


def test_cleanrl_checkpoints_are_read(tmp_path):
    torch.manual_seed(0)
    rows, path = seen(), tmp_path / "model.pth"
    x = torch.as_tensor(rows)
    actor = linears(("fc1", "fc2", "fc_mu", "fc_mean", "fc_logstd"), ((3, 8), (8, 8), (8, 1), (8, 1), (8, 1)))
    critic = linears(("fc1", "fc2", "fc3"), ((4, 8), (8, 8), (8, 1)))
    scale = {"action_scale": torch.tensor([[2.0]]), "action_bias": torch.tensor([[0.5]])}
    torch.save((weights(actor) | scale, weights(critic), weights(critic)), path)
    teacher = cleanrl_teacher(path, "td3")
    with torch.no_grad():
        action = torch.tanh(actor["fc_mu"](actor["fc2"](actor["fc1"](x).relu()).relu())) * 2.0 + 0.5
        value = critic["fc3"](critic["fc2"](critic["fc1"](torch.cat([x, action], 1)).relu()).relu())
    assert teacher.act(rows[0]) == pytest.approx(action[0].numpy(), abs=1e-6)
    assert teacher.value(rows) == pytest.approx(value.numpy().ravel(), abs=1e-6)

    sampling = cleanrl_teacher(path, "sac")
    drawn = np.array([sampling.act(rows[0])[0] for _ in range(50)])
    assert drawn.std() > 0.01
    assert (np.abs(drawn - 0.5) <= 2.0).all()

    agent = linears(("critic.0", "critic.2", "critic.4", "actor_mean.0", "actor_mean.2", "actor_mean.4"), ((3, 8), (8, 8), (8, 1)) * 2)
    torch.save(weights(agent) | {"actor_logstd": torch.full((1, 1), -20.0)}, path)
    onpolicy = cleanrl_teacher(path, "ppo")
    with torch.no_grad():
        mean = agent["actor_mean.4"](agent["actor_mean.2"](agent["actor_mean.0"](x).tanh()).tanh())
        value = agent["critic.4"](agent["critic.2"](agent["critic.0"](x).tanh()).tanh())
    assert onpolicy.act(rows[0]) == pytest.approx(mean[0].numpy(), abs=1e-5)
    assert onpolicy.value(rows) == pytest.approx(value.numpy().ravel(), abs=1e-6)


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "model.pth"
    with pytest.raises(DataError, match="not a checkpoint of CleanRL's td3"):
        cleanrl_teacher(path, "td3")
    path.write_bytes(b"nothing")
    with pytest.raises(DataError, match="not a checkpoint"):
        cleanrl_teacher(path, "td3")
    torch.save({"weight": torch.zeros(3)}, path)
    with pytest.raises(DataError, match="not a checkpoint"):
        cleanrl_teacher(path, "ppo")
    torch.save({"weight": nn.Linear(1, 1)}, path)
    with pytest.raises(DataError, match="not a checkpoint"):
        cleanrl_teacher(path, "ppo")
    with pytest.raises(OptionError, match="'dqn'"):
        cleanrl_teacher(path, "dqn")
