"""KDRL: one policy-gradient step that follows a verifier's reward (GRPO) and a teacher (reverse KL on the student's own tokens).

The student answers each question several times; what is right is reinforced, and each of its tokens is pulled towards the teacher.

Reference: Xu et al., KDRL: Post-Training Reasoning LLMs via Unified Knowledge Distillation and Reinforcement Learning, arXiv 2506.02208.
Tags: language, reasoning, reinforcement learning, GRPO, verifiable reward, on-policy distillation, reverse KL, policy gradient
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal, cast, get_args

import torch
from torch import Tensor, nn

from tutelage import losses as L
from tutelage.data.verifiable import Reward, rows_of
from tutelage.errors import OptionError
from tutelage.evaluate.verified import Answers, answer
from tutelage.losses.policy import clipped_surrogate, group_advantage, linear_top_k_reverse_kl, sampled_reverse_kl
from tutelage.models import language
from tutelage.models.language import Rollouts
from tutelage.models.language.alignment import Alignment
from tutelage.schedules import Schedule, value
from tutelage.selection.reward_guided import reward_guided
from tutelage.teachers import Frozen
from tutelage.train import Batch, Engine, Method

Signal = Literal["joint", "reward", "teacher", "shaped"]
Estimator = Literal["k1", "k2", "k3", "exact", "top-k"]


@dataclass(frozen=True)
class Attempts:
    """The student's answers to one batch of questions, and what was thought of them.

    Args:
        rollouts: G answers to each of B questions, B * G rows, those to one question together.
        rewards: float32 [B, G].
        advantage: float32 [B, G].
        imitated: float32 [B, G], 1 where the teacher is imitated.
        teacher: float32 [B * G, T], the teacher's log-probabilities of the drawn tokens; `None` where no teacher was asked.
        old: float32 [B * G, T], log-probabilities under the policy that drew them; `None` while that is the student itself.
    """

    rollouts: Rollouts
    rewards: Tensor
    advantage: Tensor
    imitated: Tensor
    teacher: Tensor | None = None
    old: Tensor | None = None


class KDRL(Method):
    """Knowledge distillation and reinforcement learning in one objective, `J = J_GRPO - beta L_RKL`.

    `J_GRPO = E_q[1 / sum_i |o_i| sum_i sum_t min(rho A_i, clip(rho, 1 - eps_l, 1 + eps_h) A_i)]`, `A_i = (r_i - mean r) / (std r + eps)`,
    `L_RKL = E_q[1 / (sum_i m_i |o_i|) sum_i m_i sum_t R_it^2 / 2]`, `R = log pi_T - log pi_theta`. There is no other reference model.

    Batch:
        input: list of B prompts, as texts.
        answer: list of B right answers, as texts, where the reward asks for them; other lists are shown to the reward too.

    Args:
        student: causal language model of transformers that learns and is deployed; adapters of peft train alone.
        teacher: causal language model with the same tokens, frozen; only asked for log-probabilities. `None` for `signal="reward"`.
        tokenizer: of the student.
        reward: `(response, row) -> number`, where the row has `prompt`, the batch's lists and `finished`: whether the answer ended itself.
        alignment: of the student's tokenizer with the teacher's, where the same tokens have other numbers (`models.language.align`); the
            estimators of drawn tokens work with it, "exact" and "top-k" need the same numbers. Default the same.
        signal: "joint" (default); "reward" is GRPO; "teacher" is KD-RKL, the loss L_RKL alone with weight 1; "shaped" adds
            beta times the sequence's log-ratio, the sum of R over its tokens (ours), to the reward before normalisation.
        beta: weight of the distillation term; a number or a schedule. Default 2e-3 (ours; the paper's constant was not readable).
        beta_fall: what a constant beta loses with every optimizer step. Default 0; the paper's annealing has 5e-5, from 5e-3.
        beta_min: what beta falls to. Default 0; the paper's annealing has 1e-3.
        mask: reward-guided masking of the distillation term: "none" (default); "response" keeps failed answers; "group" keeps questions
            that were failed throughout.
        estimator: of reverse KL on each token: "k2" (default), "k3", "k1" (as a detached reward of the token), "exact" over the whole
            vocabulary, or "top-k".
        top_k: tokens of "top-k". Default 16 (ours).
        top_k_of: whose best tokens these are. Default "teacher".
        top_k_rest: what becomes of the other tokens: "drop" (default), or "lump", all of them as one outcome (ours).
        group: answers to each question, G. Default 8 (ours).
        max_new_tokens: longest answer, in tokens. Default 64 (ours).
        temperature: of sampling, and of all log-probabilities. Default 1.
        updates: optimizer steps on each batch of answers. Default 1: on-policy, where the ratio is 1 and nothing is clipped.
        clip_low: eps_l. Default 0.2.
        clip_high: eps_h. Default 0.2.
        std: the deviation that advantages are divided by: "population" (default), "sample", or "none" for no division.
        eps: added to it. Default 1e-6.
        average: "group" (default) averages tokens over each question's answers, then questions, as the equations say; "batch" averages
            over all tokens of the batch, as most implementations do.
        mask_end: leave the token that ends an answer out of the distillation term, for a teacher that ends differently. Default no.

    Source: sections 2 and 3 of arXiv 2506.02208, as quoted by reviews of it; options marked (ours) are our completion.
    """

    teacher: Frozen | None

    def __init__(
        self,
        student: nn.Module,
        teacher: nn.Module | None,
        tokenizer: Any,
        reward: Reward,
        alignment: Alignment | None = None,
        *,
        signal: Signal = "joint",
        beta: float | Schedule = 2e-3,
        beta_fall: float = 0.0,
        beta_min: float = 0.0,
        mask: Literal["none", "response", "group"] = "none",
        estimator: Estimator = "k2",
        top_k: int = 16,
        top_k_of: Literal["teacher", "student"] = "teacher",
        top_k_rest: Literal["drop", "lump"] = "drop",
        group: int = 8,
        max_new_tokens: int = 64,
        temperature: float = 1.0,
        updates: int = 1,
        clip_low: float = 0.2,
        clip_high: float = 0.2,
        std: Literal["population", "sample", "none"] = "population",
        eps: float = 1e-6,
        average: Literal["group", "batch"] = "group",
        mask_end: bool = False,
    ) -> None:
        super().__init__()
        for name, got, known in (
            ("signal", signal, get_args(Signal)),
            ("estimator", estimator, get_args(Estimator)),
            ("mask", mask, ("none", "response", "group")),
            ("std", std, ("population", "sample", "none")),
            ("average", average, ("group", "batch")),
        ):
            if got not in known:
                raise OptionError(f"{name} is '{got}'; expected {', '.join(repr(each) for each in known)}.")
        for name, number in {"group": group, "max_new_tokens": max_new_tokens, "updates": updates, "top_k": top_k}.items():
            if number < 1:
                raise OptionError(f"{name} is {number}; expected at least 1.")
        if not temperature > 0:
            raise OptionError(f"temperature is {temperature}; expected a number above 0.")
        if min(beta_fall, beta_min, 0.0 if callable(beta) else beta) < 0 or (callable(beta) and beta_fall):
            raise OptionError(
                f"beta is {beta}, beta_fall {beta_fall} and beta_min {beta_min}; expected none below 0, and no beta_fall beside a schedule."
            )
        if teacher is None and signal != "reward":
            raise OptionError(f"signal is '{signal}', but there is no teacher; give one, or signal='reward' (GRPO).")
        if alignment is not None and not alignment.identity and estimator in ("exact", "top-k"):
            raise OptionError(f"estimator is '{estimator}', but tokens of student and teacher have different numbers; take k1, k2 or k3.")
        self.student = student
        self.alignment = alignment
        self.teacher = None if teacher is None else teacher if isinstance(teacher, Frozen) else Frozen(teacher)
        self.tokenizer, self.reward = tokenizer, reward
        self.signal, self.mask, self.estimator = signal, mask, estimator
        self.beta, self.beta_fall, self.beta_min = beta, beta_fall, beta_min
        self.top_k, self.top_k_of, self.top_k_rest = top_k, top_k_of, top_k_rest
        self.group, self.max_new_tokens, self.temperature, self.updates = group, max_new_tokens, temperature, updates
        self.clip_low, self.clip_high, self.std, self.eps = clip_low, clip_high, std, eps
        self.average, self.mask_end = average, mask_end
        if updates > 1:
            self.step = self._several

    def coefficient(self, update: int = 0) -> float:
        """Return beta at an optimizer step: `max(beta - beta_fall k, beta_min)`, or what its schedule says.

        Args:
            update: number of the update on this batch of answers.
        """
        if callable(self.beta):
            return value(self.beta, self.progress)
        return max(self.beta - self.beta_fall * (self.steps_done * self.updates + update), self.beta_min)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Return `"policy"`, minus J_GRPO, and `"kd"`, beta times L_RKL, of answers that the student gives now.

        Logs `reward`, `zero_advantage` (the share of questions whose answers all earned the same), `length` (tokens of an answer),
        `cut` (the share that the length limit cut off), `unreadable` (the share without an answer in the stated format, where the reward
        tells), `kl` (reverse KL to the teacher in nats per token) and `beta`.
        """
        return self.objective(self.attempt(batch))

    def _several(self, batch: Batch, engine: Engine) -> dict[str, Tensor]:
        """Take several optimizer steps on one batch of answers; what is returned is of the first."""
        if not engine.last or engine.share != 1.0:
            raise OptionError(f"updates is {self.updates}, which cannot be had with accumulated batches: set accumulate or updates to 1.")
        with engine.autocast():
            attempts = self.attempt(batch)
            with torch.no_grad():
                old = language.log_probs(self.student, attempts.rollouts, temperature=self.temperature)
        attempts = replace(attempts, old=old)
        first: dict[str, Tensor] = {}
        for update in range(self.updates):
            with engine.autocast():
                losses = self.objective(attempts, update)
            engine.backward(torch.stack(list(losses.values())).sum())
            engine.move("student")
            first = first or {name: loss.detach() for name, loss in losses.items()}
        return first

    @torch.no_grad()
    def attempt(self, batch: Batch) -> Attempts:
        """Let the student answer every question G times, verify the answers, and ask the teacher about each token.

        Args:
            batch: as the class says.

        Returns:
            The answers; nothing of them carries a graph.
        """
        rows = [row for row in rows_of(batch) for _ in range(self.group)]
        answers = answer(
            self.student,
            self.tokenizer,
            rows,
            self.reward,
            max_new_tokens=self.max_new_tokens,
            temperature=self.temperature,
            seed=int(torch.randint(1 << 62, ())) if self.generator is None else self.generator,
        )
        rollouts = answers.rollouts
        rewards = torch.tensor(answers.rewards, device=rollouts.tokens.device).view(-1, self.group)
        self._watch(answers, rewards)
        teacher = None
        if self.teacher is not None and not (self.signal == "reward" or (self.signal != "teacher" and self.coefficient() == 0)):
            read = rollouts if self.alignment is None else self.alignment.rollouts(rollouts)
            teacher = language.log_probs(self.teacher.model, read, temperature=self.temperature)
        imitated = reward_guided(rewards, level=self.mask)
        if self.signal == "shaped" and teacher is not None:
            student = language.log_probs(self.student, rollouts, temperature=self.temperature)
            rewards = rewards + self.coefficient() * imitated * (teacher - student).sum(1).view_as(rewards)
        advantage = group_advantage(rewards, normalise=self.std != "none", unbiased=self.std == "sample", eps=self.eps)
        return Attempts(rollouts, rewards, advantage, imitated, teacher)

    def objective(self, attempts: Attempts, update: int = 0) -> dict[str, Tensor]:
        """Return the losses of some answers.

        Args:
            attempts: the answers.
            update: number of the update on them.

        Returns:
            As `losses`.
        """
        rollouts, beta = attempts.rollouts, self.coefficient(update)
        tokens = rollouts.mask.float()
        distils = attempts.teacher is not None and self.signal in ("joint", "teacher")
        hidden = None
        if distils and self.estimator in ("exact", "top-k"):
            hidden = language.states(self.student, rollouts)
        student = self._log_probs(rollouts, hidden)
        old = student.detach() if attempts.old is None else attempts.old

        losses = {}
        if self.signal != "teacher":
            advantage = attempts.advantage.flatten()
            surrogate = clipped_surrogate(student, old, advantage, clip_low=self.clip_low, clip_high=self.clip_high)
            losses["policy"] = self._mean(surrogate, tokens)
        if distils:
            assert attempts.teacher is not None
            weight = tokens * attempts.imitated.flatten()[:, None]
            if self.mask_end:
                weight = weight * ~_ends(rollouts)
            divergence = self._divergence(student, old, attempts.teacher, hidden, rollouts, weight)
            losses["kd"] = (1.0 if self.signal == "teacher" else beta) * self._mean(divergence, weight)
        if attempts.teacher is not None and update == 0:
            self.log("beta", beta)
            self.log("kl", L.mean(sampled_reverse_kl(student.detach(), attempts.teacher, estimator="k1"), tokens))
        if attempts.old is not None and update == self.updates - 1:
            ratio = (student.detach() - old).exp()
            self.log("outside", L.mean(((ratio < 1 - self.clip_low) | (ratio > 1 + self.clip_high)).float(), tokens))
        return losses

    def predict(self, batch: Batch) -> Tensor:
        """Return the student's likeliest answers to `batch["input"]`, as tokens int64 [B, T]."""
        prompts = language.encode(self.tokenizer, [row["prompt"] for row in rows_of(batch)])
        end, pad = language.ends(self.student, self.tokenizer), self.tokenizer.pad_token_id
        return language.sample(self.student, prompts, max_new_tokens=self.max_new_tokens, end=end, pad=pad, temperature=0).drawn

    def _log_probs(self, rollouts: Rollouts, hidden: Tensor | None) -> Tensor:
        if hidden is None:
            return language.log_probs(self.student, rollouts, temperature=self.temperature)
        kept = rollouts.mask
        found = language.chosen(hidden[kept], language.head(self.student), rollouts.drawn[kept], temperature=self.temperature)
        return found.new_zeros(kept.shape).masked_scatter(kept, found)

    def _divergence(
        self, student: Tensor, old: Tensor, teacher: Tensor, hidden: Tensor | None, rollouts: Rollouts, weight: Tensor
    ) -> Tensor:
        """Return the reverse KL of each token, [B * G, T]."""
        if self.estimator == "k1":
            # The log-ratio as a reward of the token; its value is k1 where the ratio is 1.
            return clipped_surrogate(student, old, teacher - old, clip_low=self.clip_low, clip_high=self.clip_high)
        if hidden is None:
            return sampled_reverse_kl(student, teacher, estimator="k2" if self.estimator == "k2" else "k3")
        assert self.teacher is not None
        with torch.no_grad():
            theirs = language.states(self.teacher.model, rollouts)
        ours, of_teacher = (cast(nn.Linear, language.head(model)) for model in (self.student, self.teacher.model))
        if self.estimator == "exact":
            return L.linear_divergence(
                hidden, ours, theirs, of_teacher, kind="reverse", temperature=self.temperature, weight=weight > 0, recompute=True
            )
        kept = weight > 0
        found = linear_top_k_reverse_kl(
            hidden[kept],
            ours,
            theirs[kept],
            of_teacher,
            self.top_k,
            of=self.top_k_of,
            rest=self.top_k_rest,
            temperature=self.temperature,
        )
        return found.new_zeros(kept.shape).masked_scatter(kept, found)

    def _mean(self, loss: Tensor, weight: Tensor) -> Tensor:
        """Average over tokens: within the answers to each question and then over questions, or over the whole batch."""
        if self.average == "batch":
            return L.mean(loss, weight)
        groups = weight.view(-1, self.group * weight.shape[1])
        share = (groups / groups.sum(1, keepdim=True).clamp(min=1)).view_as(weight)
        return L.mean(loss, share) * share.sum() / len(groups)

    def _watch(self, answers: Answers, rewards: Tensor) -> None:
        self.log("reward", rewards.mean())
        self.log("zero_advantage", (rewards == rewards[:, :1]).all(1).float().mean())
        self.log("length", answers.rollouts.lengths.float().mean())
        self.log("cut", 1 - answers.rollouts.ended.float().mean())
        if answers.unreadable is not None:
            self.log("unreadable", answers.unreadable / rewards.numel())


def _ends(rollouts: Rollouts) -> Tensor:
    """Return where the token stands that ended an answer, bool [B * G, T]."""
    places = torch.arange(rollouts.mask.shape[1], device=rollouts.mask.device)
    return (places == rollouts.lengths[:, None] - 1) & rollouts.ended[:, None]
