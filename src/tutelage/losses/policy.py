"""Losses of language models as policies: group advantages, the clipped surrogate, and what reverse KL to a teacher is on sampled tokens.

A sequence is a sequence of actions, pi_s and pi_t the student's and the teacher's probabilities of the token that was drawn, and
R = log pi_t - log pi_s the teacher's log-ratio. On tokens that the student drew, the mean of R is minus the reverse KL of student and
teacher, so R is also a reward for each token.
"""

from __future__ import annotations

from typing import Literal, cast, get_args

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from tutelage.errors import OptionError, ShapeError
from tutelage.losses.checks import same_shape
from tutelage.targets.soften import HALF

Estimator = Literal["k1", "k2", "k3"]
_LOGITS = 1 << 24


def group_advantage(rewards: Tensor, *, normalise: bool = True, unbiased: bool = False, eps: float = 1e-6) -> Tensor:
    """Return how much better each response is than the others to the same question: `A = (r - mean r) / (std r + eps)`.

    A group of equal rewards has advantage 0 throughout.

    Args:
        rewards: float [..., G], the last axis holds the G responses to one question.
        normalise: divide by the group's standard deviation; without, questions of medium difficulty weigh the most. Default yes.
        unbiased: divide the variance by G - 1 in place of G. Default no.
        eps: added to the standard deviation. Default 1e-6.

    Returns:
        Advantages [..., G], float32 for half types, without a graph.

    Raises:
        ShapeError: if there is no axis of responses.

    Source: Shao et al., DeepSeekMath, arXiv 2402.03300, section 4.1.2 (GRPO); without the division, Liu et al., arXiv 2503.20783.
    """
    if rewards.ndim < 1 or not rewards.shape[-1]:
        raise ShapeError(f"rewards of shape {tuple(rewards.shape)} have no group: expected [..., G] with at least one response G.")
    rewards = rewards.detach().float() if rewards.dtype in HALF or not rewards.is_floating_point() else rewards.detach()
    # What all share is taken out first, so that equal rewards differ from their mean by exactly nothing.
    shifted = rewards - rewards[..., :1]
    centred = shifted - shifted.mean(-1, keepdim=True)
    if not normalise:
        return centred
    size = rewards.shape[-1] - (1 if unbiased and rewards.shape[-1] > 1 else 0)
    return centred / ((centred.square().sum(-1, keepdim=True) / size).sqrt() + eps)


def clipped_surrogate(
    log_probs: Tensor, old_log_probs: Tensor, advantage: Tensor, *, clip_low: float = 0.2, clip_high: float = 0.2
) -> Tensor:
    """Return the policy-gradient loss of each token, `-min(rho A, clip(rho, 1 - clip_low, 1 + clip_high) A)`, `rho = pi_s / pi_old`.

    On-policy (`old_log_probs = log_probs.detach()`) the ratio is 1, nothing is clipped, and the gradient is `-A grad log pi_s`.

    Args:
        log_probs: float [..., L], of the drawn tokens under the student, with a graph.
        old_log_probs: float [..., L], under the policy that drew them; detached here.
        advantage: float [..., L], or of the leading shape [...] for one per sequence; detached here.
        clip_low: how far the ratio may fall where the advantage is negative, in [0, 1]. Default 0.2.
        clip_high: how far it may rise where the advantage is positive, at least 0. Default 0.2.

    Returns:
        One loss per token, [..., L]; its mean over tokens is minus the objective.

    Raises:
        ShapeError: if the shapes do not fit.
        OptionError: if a clipping bound is out of range.

    Source: Schulman et al., Proximal Policy Optimization, arXiv 1707.06347, eq. 7; two bounds: Yu et al., DAPO, arXiv 2503.14476, eq. 10.
    """
    if not 0 <= clip_low <= 1 or clip_high < 0:
        raise OptionError(f"clip_low is {clip_low} and clip_high {clip_high}; expected clip_low in [0, 1] and clip_high of at least 0")
    same_shape(log_probs, old_log_probs, "log-probabilities of the drawn tokens")
    if advantage.shape == log_probs.shape[:-1]:
        advantage = advantage.unsqueeze(-1)
    elif advantage.shape != log_probs.shape:
        raise ShapeError(
            f"advantage of shape {tuple(advantage.shape)} does not fit log-probabilities of shape {tuple(log_probs.shape)}; "
            "expected one per token or one per sequence"
        )
    advantage = advantage.detach()
    ratio = (_full(log_probs) - _full(old_log_probs.detach())).exp()
    return -torch.minimum(ratio * advantage, ratio.clamp(1 - clip_low, 1 + clip_high) * advantage)


def sampled_reverse_kl(student_log_probs: Tensor, teacher_log_probs: Tensor, *, estimator: Estimator = "k2") -> Tensor:
    """Return an estimate of KL(pi_s || pi_t) for each drawn token, from the two probabilities of that token alone.

    With R = log pi_t - log pi_s: `k1 = -R`, `k2 = R^2 / 2`, `k3 = exp(R) - R - 1`. For tokens that the student drew:

    - k1 has the right value on average, and a gradient of zero on average: it is for watching, or a reward (`-k1` is R);
    - k2 has the right gradient on average, `-R grad log pi_s`, and a value that is right for close distributions;
    - k3 has the right value on average, is never negative, and has the gradient of another divergence, `(1 - exp(R)) grad log pi_s`:
      on average that of the forward KL, with the sign that makes it small.

    Args:
        student_log_probs: float [...], of the drawn tokens under the student.
        teacher_log_probs: float [...], of the same tokens under the teacher; not detached here.
        estimator: "k1", "k2" or "k3". Default "k2".

    Returns:
        One estimate per token in nats, [...].

    Raises:
        ShapeError: if the shapes differ.
        OptionError: for an unknown estimator.

    Source: Schulman, Approximating KL Divergence, 2020 (k1, k2, k3); their gradients: Xu et al., KDRL, arXiv 2506.02208, section 3.
    """
    if estimator not in get_args(Estimator):
        raise OptionError(f"estimator is {estimator!r}; expected 'k1', 'k2' or 'k3'")
    same_shape(student_log_probs, teacher_log_probs, "log-probabilities of the drawn tokens")
    ratio = _full(teacher_log_probs) - _full(student_log_probs)
    if estimator == "k1":
        return -ratio
    return 0.5 * ratio.square() if estimator == "k2" else ratio.expm1() - ratio


def top_k_reverse_kl(
    student_logits: Tensor,
    teacher_logits: Tensor,
    k: int,
    *,
    of: Literal["teacher", "student"] = "teacher",
    rest: Literal["drop", "lump"] = "drop",
    temperature: float = 1.0,
) -> Tensor:
    """Return reverse KL summed over k tokens only, `sum_{v in top k} pi_s(v) (log pi_s(v) - log pi_t(v))`.

    With `rest="drop"` the other tokens are left out of the sum, which then may be negative: its gradient also pushes the student's mass
    out of the k tokens, which is why such training is known to be unstable. With `rest="lump"` all others count as one outcome; that is a
    lower bound of the whole divergence. With all tokens kept both are the exact reverse KL.

    Args:
        student_logits: float [..., V].
        teacher_logits: float [..., V]; not detached here.
        k: tokens to keep; all of them if there are fewer.
        of: whose most probable tokens are kept. Default "teacher".
        rest: what becomes of the others. Default "drop".
        temperature: above 0, divides both logits. Default 1.

    Returns:
        One divergence per distribution in nats, [...].

    Raises:
        ShapeError: if the shapes differ.
        OptionError: for options out of range.

    Source: Xu et al., KDRL, arXiv 2506.02208, section 3 (top-K); the lump is ours.
    """
    if k < 1 or not temperature > 0:
        raise OptionError(f"k is {k} and temperature {temperature}; expected k of at least 1 and a temperature above 0")
    if of not in ("teacher", "student") or rest not in ("drop", "lump"):
        raise OptionError(f"of is {of!r} and rest {rest!r}; expected of 'teacher' or 'student', rest 'drop' or 'lump'")
    same_shape(student_logits, teacher_logits, "logits")
    log_s = (_full(student_logits) / temperature).log_softmax(-1)
    log_t = (_full(teacher_logits) / temperature).log_softmax(-1)
    k = min(k, log_s.shape[-1])
    chosen = (log_t if of == "teacher" else log_s).detach().topk(k, dim=-1).indices
    kept_s, kept_t = log_s.gather(-1, chosen), log_t.gather(-1, chosen)
    divergence = (kept_s.exp() * (kept_s - kept_t)).sum(-1)
    if rest == "drop" or k == log_s.shape[-1]:
        return divergence
    rest_s = log_s.scatter(-1, chosen, -torch.inf).logsumexp(-1)
    rest_t = log_t.scatter(-1, chosen, -torch.inf).logsumexp(-1)
    return divergence + rest_s.exp() * (rest_s - rest_t)


def linear_top_k_reverse_kl(
    student_hidden: Tensor,
    student_head: nn.Module,
    teacher_hidden: Tensor,
    teacher_head: nn.Module,
    k: int,
    *,
    of: Literal["teacher", "student"] = "teacher",
    rest: Literal["drop", "lump"] = "drop",
    temperature: float = 1.0,
    chunk: int | None = None,
) -> Tensor:
    """Return `top_k_reverse_kl` of hidden states, with the logits of one chunk of tokens alive at a time; backward computes them again.

    Args:
        student_hidden: float [N, D].
        student_head: makes logits [n, V] of them.
        teacher_hidden: float [N, D']; not detached here.
        teacher_head: makes logits [n, V] of them.
        k: tokens of the vocabulary to keep.
        of: whose most probable tokens are kept. Default "teacher".
        rest: what becomes of the others. Default "drop".
        temperature: above 0, divides both logits. Default 1.
        chunk: rows of a chunk. Default as many as have 16 million logits.

    Returns:
        One divergence per row in nats, [N].
    """
    rows = chunk or max(1, _LOGITS // len(next(teacher_head.parameters())))

    def one(student: Tensor, teacher: Tensor) -> Tensor:
        return top_k_reverse_kl(student_head(student), teacher_head(teacher), k, of=of, rest=rest, temperature=temperature)

    if len(student_hidden) <= rows:
        return one(student_hidden, teacher_hidden)
    pairs = zip(torch.split(student_hidden, rows), torch.split(teacher_hidden, rows), strict=True)
    return torch.cat([cast(Tensor, checkpoint(one, student, teacher, use_reentrant=False)) for student, teacher in pairs])


def _full(values: Tensor) -> Tensor:
    return values.float() if values.dtype in HALF else values
