"""What the report of KDRL says: curves, the paper's sentences as checks, and why one did not hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tutelage.recipes.curves import mean_curves
from tutelage.recipes.language import kdrl_bandit as bandit
from tutelage.recipes.language.kdrl import ANNEALING, CONSTANT, GRPO, JOINT, K3, RESPONSE, RKL, SFT, START, TOP_K
from tutelage.recipes.language.kdrl_lab import HARD

if TYPE_CHECKING:
    from tutelage.recipes.language.kdrl import KDRLRecipe
    from tutelage.report import Report
    from tutelage.train import History

CURVES = {
    "accuracy": ("Validation accuracy", "accuracy, percent"),
    "reward": ("Mean reward while learning", "reward"),
    "kl": ("Reverse KL to the teacher on the student's answers", "nats per token"),
    "length": ("Length of the student's answers", "tokens"),
    "zero_advantage": ("Questions whose answers all earned the same", "share"),
}

ABOVE = 1e-6
"""What must lie between two numbers for one to be above the other: equal is not better."""

WHY = {
    "KDRL-Annealing answers at least 3 points better than GRPO.": (
        "Likely why 3 points are not reached: answers are short and many are right at the start, so the verifier alone says almost enough; "
        "where it almost never does, see hard exploration."
    ),
    "The best KDRL variant (on validation) is above both GRPO and KD-RKL.": (
        "Likely why KDRL does not pass GRPO: the verifier alone suffices within this budget, and an imperfect teacher has little to add to "
        "a student that becomes as good as itself or better."
    ),
    "KDRL learns faster than GRPO: the area under its accuracy curve is larger.": (
        "Likely why KDRL learns no faster: about one answer in three is right from the start, so nearly every group has an advantage to "
        "learn from."
    ),
    "Constant KDRL answers better than GRPO.": (
        "Likely why constant KDRL is not above GRPO: it is held to a teacher that is wrong in some answers, while the verifier is never "
        "wrong."
    ),
    "Constant KDRL answers better than KD-RKL.": (
        "Likely why KD-RKL keeps up: the student has nearly all that its teacher knows within this budget, from the teacher alone."
    ),
    "Annealing beta answers better than a constant one.": (
        "Likely why annealing gains nothing: beta falls within the first 2/7 of the steps, and on answers this short the teacher's term is "
        "small beside the verifier's for the rest of them either way."
    ),
    "k2 answers better than k3.": (
        "Likely why the estimators cannot be told apart: near the teacher they agree to the second order of the log-ratio; far from it "
        "their mean gradients do differ, as the bandit shows."
    ),
    "From a student of about 1 %, GRPO stays within 5 points of where it began.": (
        "GRPO left its start with some of the seeds: how soon it first succeeds is a matter of luck, which the spread over seeds shows."
    ),
    "KDRL-Annealing is at most 0.5 points behind KD-RKL.": (
        "Likely why KD-RKL is ahead: the teacher is far better than the student during this budget, so what it says of every token "
        "outweighs what the verifier says of the whole answer."
    ),
    "GRPO answers better than SFT on the teacher's samples.": (
        "Likely why SFT is ahead: it is shown the right token at every place from the first step, and answers are too short for the "
        "student to drift away from what it was shown."
    ),
    "k2 answers better than top-k.": (
        "Likely why top-k does well: of an alphabet of 19 characters the teacher's best few hold nearly all of the mass, so the sum is all "
        "but exact and has no sampling noise; a large model's vocabulary has some 150,000 tokens."
    ),
    "Response masking makes answers shorter, by 0.1 tokens.": "Why masking shortens nothing: a trace of this task has one length.",
    "From there, KDRL gains 10 points more than GRPO.": (
        "Likely why KDRL gains little there: too few steps for a student who knows little more than the format."
    ),
}
"""What explains a sentence of the paper that does not hold in this laboratory."""


def tell(report: Report, recipe: KDRLRecipe, betas: dict[str, float], found: dict[int, dict[str, History]]) -> None:
    """Draw the curves, play the bandit and check the paper's sentences.

    Args:
        report: holds what every arm reached on the test questions.
        recipe: what was run.
        betas: what was chosen.
        found: the curves of every arm by seed.
    """
    arms = list(next(iter(found.values())))
    histories = {arm: [found[seed][arm] for seed in found] for arm in arms}
    main = {arm: runs for arm, runs in histories.items() if not arm.startswith(HARD)}
    hard = {arm.removeprefix(HARD): runs for arm, runs in histories.items() if arm.startswith(HARD)}
    for name, (title, unit) in CURVES.items():
        report.curve(title, *mean_curves(main, name), f"epoch of {recipe.steps} steps", unit)
    if hard:
        report.curve(
            "Validation accuracy from the weak student", *mean_curves(hard, "accuracy"), f"epoch of {recipe.steps} steps", "percent"
        )
    _sentences(report, set(main), main)
    if hard:
        _exploration(report, set(hard))
    _bandit(report)
    _notes(report, recipe, betas)
    for claim in report.claims:
        if not claim.held and claim.text in WHY:
            report.note(WHY[claim.text])


def _sentences(report: Report, arms: set[str], histories: dict[str, list[History]]) -> None:
    def claim(text: str, arm: str, versus: str, metric: str = "accuracy", margin: float = ABOVE) -> None:
        if {arm, versus} <= arms | {START}:
            report.claim(text, arm, versus, metric, margin=margin)

    claim("KDRL-Annealing answers at least 3 points better than GRPO.", ANNEALING, GRPO, margin=3.0)
    claim("KDRL-Annealing is at most 0.5 points behind KD-RKL.", ANNEALING, RKL, margin=-0.5)
    joint = [arm for arm in JOINT if arm in arms]
    if joint and {GRPO, RKL} <= arms:
        # The variant is chosen on validation questions, so that the test questions only judge it.
        best = max(joint, key=lambda arm: sum(history.series("accuracy")[-1] for history in histories[arm]))
        rival = max((GRPO, RKL), key=lambda arm: report.mean(arm, "accuracy"))
        report.claim("The best KDRL variant (on validation) is above both GRPO and KD-RKL.", best, rival, "accuracy", margin=ABOVE)
    claim("KDRL learns faster than GRPO: the area under its accuracy curve is larger.", CONSTANT, GRPO, "curve")
    claim("Constant KDRL answers better than GRPO.", CONSTANT, GRPO)
    claim("Constant KDRL answers better than KD-RKL.", CONSTANT, RKL)
    claim("Annealing beta answers better than a constant one.", ANNEALING, CONSTANT)
    claim("GRPO answers better than SFT on the teacher's samples.", GRPO, SFT)
    claim("k2 answers better than k3.", CONSTANT, K3)
    claim("k2 answers better than top-k.", CONSTANT, TOP_K)
    claim("Response masking costs at most 1 point of accuracy.", RESPONSE, CONSTANT, margin=-1.0)
    if {RESPONSE, CONSTANT} <= arms:
        shorter = [report.values[CONSTANT]["length"][s] - report.values[RESPONSE]["length"][s] for s in report.seeds]
        report.check("Response masking makes answers shorter, by 0.1 tokens.", shorter, at_least=0.1)
    claim("GRPO improves the student.", GRPO, START)


def _exploration(report: Report, arms: set[str]) -> None:
    """Check what becomes of a student that almost never succeeds."""
    start = HARD + START
    if GRPO in arms:
        stayed = [report.values[start]["accuracy"][s] - report.values[HARD + GRPO]["accuracy"][s] for s in report.seeds]
        report.check("From a student of about 1 %, GRPO stays within 5 points of where it began.", stayed, at_least=-5.0)
    if {GRPO, CONSTANT} <= arms:
        report.claim("From there, KDRL gains 10 points more than GRPO.", HARD + CONSTANT, HARD + GRPO, "accuracy", margin=10.0)


def _bandit(report: Report) -> None:
    """Play the bandit for every seed: where reverse KL is exact, the estimators' gradients can be measured."""
    import torch

    gaps, over_reward, over_teacher = [], [], []
    for seed in report.seeds:
        world = bandit.Bandit.make(seed=seed)
        policy = torch.randn(world.teacher.shape, generator=torch.Generator().manual_seed(seed))
        errors = {name: bandit.gradient_error(world, policy, name, seed=seed) for name in ("k2", "k3")}
        gaps.append(errors["k3"] - errors["k2"])
        for name, error in errors.items():
            report.add(f"bandit: {name}", seed, gradient_error=error)
        reached = {}
        for name, (beta, reward) in {"reward alone": (0.0, True), "teacher alone": (1.0, False), "both": (0.1, True)}.items():
            logits, curve = bandit.learn(world, beta=beta, reward=reward, start=world.reluctant(), seed=seed)
            reached[name] = curve[-1]
            report.add(f"bandit: {name}", seed, accuracy=curve[-1], curve=sum(curve) / len(curve), divergence=world.divergence(logits))
        over_reward.append(reached["both"] - reached["reward alone"])
        over_teacher.append(reached["both"] - reached["teacher alone"])
    report.check(
        "In the bandit, k3's mean gradient is further from that of exact reverse KL than k2's, by 0.3 of its norm.", gaps, at_least=0.3
    )
    told = "In the bandit, from a policy that is right in 0.2 % of its choices, both signals reach 10 points more than the"
    report.check(f"{told} reward alone.", over_reward, at_least=10.0)
    report.check(f"{told} teacher alone.", over_teacher, at_least=10.0)


def _notes(report: Report, recipe: KDRLRecipe, betas: dict[str, float]) -> None:
    lab = recipe.lab
    report.note(
        f"Sums of {lab.terms} numbers of {lab.digits} digits modulo {lab.modulus}, answered in steps. Every arm has "
        f"{recipe.epochs * recipe.steps} optimizer steps of {recipe.train.batch_size} questions with {recipe.options.group} answers each. "
        f"Accuracy is pass@1 at temperature {recipe.options.temperature:g}, over {recipe.test} held-out questions with {recipe.samples} "
        "answers each."
    )
    if recipe.lab.hard_target:
        report.note(
            "In hard exploration only an answer whose every step is right counts, so that the last digit cannot be guessed; its student is "
            f"that of an earlier moment of pre-training, and its arms have a learning rate of {recipe.hard_learning_rate:g}."
        )
    if len(recipe.betas) > 1:
        told = ", ".join(f"{beta:g} for {arm}" for arm, beta in betas.items())
        report.note(
            f"beta was chosen among {', '.join(f'{b:g}' for b in recipe.betas)} on validation questions of seed {report.seeds[0]}: {told}; "
            "masked, k3, top-k and shaped arms take that of constant KDRL. KD-RKL has no beta."
        )
    report.note(
        f"The learning rate, {recipe.train.learning_rate:g} for every arm, was chosen in looks on seed 0 of smaller steps, some with arms "
        "of KDRL in view, not by a search for each arm."
    )
