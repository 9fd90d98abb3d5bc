from __future__ import annotations

from functools import partial

import gymnasium
import numpy as np
import pytest
import torch

pytest.importorskip("minigrid")
pytest.importorskip("stable_baselines3")
from stable_baselines3 import PPO

from tutelage.errors import OptionError
from tutelage.methods.control.words_as_beacons import POLICY, BeaconFeatures, WordsAsBeacons
from tutelage.models.grid_encoder import GridEncoder
from tutelage.recipes.control.words_as_beacons import world
from tutelage.teachers.subgoals import Noise, oracle
from tutelage.train.policies import train, vectorise

NAME = "MiniGrid-MultiRoom-N2-S4-v0"


# Importable by name, as processes of their own need it.
make = partial(world, NAME)


@pytest.mark.parametrize(("kind", "inputs"), [("relative", 34), ("representation", 35), ("language", 416)])
def test_the_network_is_the_papers(kind, inputs):
    environments = vectorise(WordsAsBeacons(kind=kind).factories(make, 1))
    policy = WordsAsBeacons(kind=kind).student(environments).policy
    body = policy.features_extractor.network
    assert body.convolutions(torch.zeros(5, 3, 7, 7)).shape == (5, 32)
    assert [tuple(m.shape) for m in body.parameters()][-2:] == [(256, inputs), (256,)]
    assert (policy.action_net.weight.shape, policy.value_net.weight.shape) == ((7, 256), (1, 256))
    assert policy.share_features_extractor
    assert not body.mixed[0].bias.any()
    weight = body.mixed[0].weight.detach()
    small = weight if weight.shape[0] < weight.shape[1] else weight.T
    assert torch.allclose(small @ small.T, 2 * torch.eye(len(small)), atol=1e-4)


def test_the_student_has_the_papers_constants():
    student = WordsAsBeacons().student(vectorise(WordsAsBeacons().factories(make, 2)))
    assert (student.n_steps, student.batch_size, student.n_epochs, student.gamma, student.gae_lambda) == (128, 256, 4, 0.99, 0.95)
    assert (student.ent_coef, student.vf_coef, student.max_grad_norm, student.clip_range(1.0)) == (5e-4, 0.5, 0.5, 0.2)
    group = student.policy.optimizer.param_groups[0]
    assert (group["lr"], group["eps"]) == (1e-4, 1e-8)


def test_symbols_reach_the_network_as_they_are():
    environments = vectorise(WordsAsBeacons().factories(make, 1))
    student = WordsAsBeacons().student(environments)
    seen = environments.reset()
    tensor, _ = student.policy.obs_to_tensor(seen)
    assert tensor["image"].shape == (1, 3, 7, 7)
    assert tensor["image"].max() >= 2
    body = student.policy.features_extractor
    assert torch.equal(student.policy.extract_features(tensor), body.network(tensor["image"].float(), tensor["subgoal"].float()))


def test_without_a_teacher_it_is_plain_ppo():
    class Bare(gymnasium.ObservationWrapper):
        def __init__(self, env):
            super().__init__(env)
            self.observation_space = gymnasium.spaces.Dict({"image": gymnasium.spaces.Box(0, 15, (3, 7, 7), np.float32)})

        def observation(self, seen):
            return {"image": seen["image"].astype(np.float32).transpose(2, 0, 1)}

        def reset(self, *, seed=None, options=None):
            # Levels are those that a tracker draws: it resets with the very seed that it is given.
            return super().reset(seed=seed, options=options)

    method = WordsAsBeacons(None)
    weights = []
    for makers in (method.factories(make, 2), [lambda: Bare(make())] * 2):
        student = method.student(vectorise(makers, seed=3), learning_rate=3e-4, steps=128, seed=0)
        train(student, 512)
        weights.append([p.detach().clone() for p in student.policy.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*weights, strict=True))


def test_trainings_are_taken_up_bit_for_bit(tmp_path):
    def student():
        method = WordsAsBeacons(noise=Noise(0.5, 2, 1), kind="relative", extra=1)
        return method.student(vectorise(method.factories(make, 2), seed=1), steps=64, seed=0)

    whole = student()
    train(whole, 512)
    train(student(), 256, directory=tmp_path, every=128)
    taken_up = student()
    train(taken_up, 512, directory=tmp_path, every=128, resume=True)
    assert all(torch.equal(a, b) for a, b in zip(whole.policy.parameters(), taken_up.policy.parameters(), strict=True))


def test_it_runs_in_subprocesses_and_with_pre_training():
    method = WordsAsBeacons(kind="relative", levels=10)
    environments = vectorise(method.factories(make, 2, pretrain=True, near=2), subprocess=True)
    student = method.student(environments, steps=128)
    train(student, 256)
    assert np.mean(student.ep_success_buffer) > 0
    environments.close()
    student.set_env(vectorise(method.factories(make, 2)))
    student.learn(256)


def test_options_and_observations_that_do_not_fit():
    with pytest.raises(OptionError, match="kind is 'words'"):
        WordsAsBeacons(kind="words")
    with pytest.raises(OptionError, match="takes an 'image'"):
        BeaconFeatures(gymnasium.spaces.Dict({"observation": gymnasium.spaces.Discrete(3)}))
    assert GridEncoder()(torch.zeros(2, 3, 7, 7)).shape == (2, 256)
    assert POLICY["net_arch"] == []
    assert WordsAsBeacons().teacher is oracle
    assert PPO
