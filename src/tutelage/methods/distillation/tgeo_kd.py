"""TGeo-KD: a small network learns, per sample, how much the student should trust the teacher and how much the label.

It reads the triangles between what student, teacher and label say, and learns from what its ratios do to the held-out loss.

Reference: Hu, Wu, Li, Ma, Chen, Yan, Wang, Liu, Less or More From Teacher: Exploiting Trilateral Geometry For Knowledge
Distillation, ICLR 2024, arXiv 2312.15112.
Tags: distillation, compression, frozen teacher, per-sample weight, bilevel, meta-learning, noisy labels, outliers, classification
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tutelage import losses as L
from tutelage import schedules
from tutelage.errors import OptionError, ShapeError
from tutelage.selection.ratio import Edges, RatioNetwork, Triangles
from tutelage.teachers import Teacher
from tutelage.train import Batch, Method, Player
from tutelage.train.bilevel import Predict, hypergradient, surrogate
from tutelage.views import View

if TYPE_CHECKING:
    from tutelage.train.engine import Engine


class TGeoKD(Method):
    """Distillation whose balance between teacher and label is a function of each sample's geometry, learned on held-out data.

    Inner, the student: `l_i = a_i T^2 KL(p_t || p_s) + (1 - a_i) CE(y_i, p_s)` at temperature T in the KL, with `a_i` a constant.
    Outer, the ratio network f: cross-entropy of the held-out batch after one virtual step of the student on the inner loss,
    `a_i = sigmoid(f(state_i))`, the state made of `S, T, G, M` and the edges between them at temperature 1 (see `Triangles`).

    Batch:
        input: what both networks take, images float32 `[N, C, H, W]` in [0, 1] or a table `[N, D]`.
        label: int64 `[N]`.
        held_out: a batch of the companion stream with its own `input` and `label` `[M, ...]`, which the student never
            trains on; not needed with a fixed `ratio`.
        is_outlier: bool `[N]`, optional: only watched, as the mean ratio of the marked and of the other samples.

    Args:
        student: network that learns and is deployed; logits `[N, C]`.
        teacher: the trained teacher, a `Teacher` such as `Frozen(model)`; logits `[N, C]`.
        class_means: M, mean of the teacher's probabilities over the training samples of each label, `[C, C]`
            (`tutelage.targets.class_means`), computed once before training.
        view: augmentation `(images, generator) -> images` that both networks see of the training batch, or `None`.
        temperature: T of the soft term, no unit. Default 4 (the usual value for images).
        ratio: `None` learns the ratios (default). A number in [0, 1], or a schedule, is that ratio for every sample:
            the fixed and annealed baselines.
        edges: `"sq"` for squared differences per class (default, ours), `"dist"` for Euclidean lengths beside the
            vertices, `"dist_only"` for the lengths alone, made for many classes.
        intra: use the triangle student, teacher, label. Default True.
        inter: use the triangle student, class mean, label, which tells outliers. Default True.
        student_teacher_edge: use the edge between student and teacher. Default True; False is the paper's ablation.
        hidden: widths of the ratio network's hidden layers, LeakyReLU between. Default (32, 16) (a third party's).
        ratio_learning_rate: of the ratio network's Adam, under the trainer's schedule. Default 1e-3 (ours for images; 0.1 was used on
            small tables).
        ratio_weight_decay: of the same Adam. Default 0 (ours; 0.05 was used on small tables).
        inner_learning_rate: length of the virtual step. Default `None`, the student's learning rate of the moment (ours).
        outer_every: steps of the student between steps of the ratio network. Default 1; larger is cheaper.
        first_order: `True` takes the held-out gradient before the virtual step and the mixed derivative by a central
            difference, without a graph of gradients (ours). Default False, the exact gradient of the unrolled step.

    Source: sections 3.2 and 3.3 of the paper; how its bilevel problem is solved is not published, one unrolled step is ours.
    """

    def __init__(
        self,
        student: nn.Module,
        teacher: Teacher,
        class_means: Tensor,
        view: View | None = None,
        *,
        temperature: float = 4.0,
        ratio: float | schedules.Schedule | None = None,
        edges: Edges = "sq",
        intra: bool = True,
        inter: bool = True,
        student_teacher_edge: bool = True,
        hidden: Sequence[int] = (32, 16),
        ratio_learning_rate: float = 1e-3,
        ratio_weight_decay: float = 0.0,
        inner_learning_rate: float | None = None,
        outer_every: int = 1,
        first_order: bool = False,
    ) -> None:
        super().__init__()
        if not temperature > 0:
            raise OptionError(f"temperature is {temperature}; expected a number above 0. 4 is a good start for ten classes.")
        if isinstance(ratio, int | float) and not 0 <= ratio <= 1:
            raise OptionError(f"ratio is {ratio}; expected a share in [0, 1], a schedule, or None to learn it per sample.")
        if outer_every < 1:
            raise OptionError(f"outer_every is {outer_every}; expected 1 or more steps.")
        if class_means.ndim != 2 or class_means.shape[0] != class_means.shape[1]:
            raise ShapeError(f"class_means is {list(class_means.shape)}; expected [C, C], a mean prediction for each of C classes.")
        self.student = student
        self.teacher = teacher
        self.view = view
        self.temperature = temperature
        self.ratio = ratio
        self.triangles = Triangles(edges, intra, inter, student_teacher_edge)
        self.ratio_learning_rate = ratio_learning_rate
        self.ratio_weight_decay = ratio_weight_decay
        self.inner_learning_rate = inner_learning_rate
        self.outer_every = outer_every
        self.first_order = first_order
        self.class_means: Tensor
        self.register_buffer("class_means", class_means.detach().clone())
        self.ratio_network = RatioNetwork(self.triangles.size(class_means.shape[0]), hidden=hidden) if ratio is None else None

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Return the student's losses under constant ratios: the weighted soft term `"kd"` and hard term `"ce"`."""
        x = batch["input"] if self.view is None else self.view(batch["input"], self.generator)
        return self._student_losses({**batch, "input": x}, self.teacher(x))[0]

    def step(self, batch: Batch, engine: Engine) -> dict[str, Tensor]:
        """Move the ratio network by the held-out loss ahead, then the student by the ratios it gives now.

        Args:
            batch: as the class says.
            engine: what moves the players.

        Returns:
            The student's losses.
        """
        if self.view is not None:
            batch = {**batch, "input": self.view(batch["input"], self.generator)}
        with engine.autocast():
            teacher = self.teacher(batch["input"])
        if self.ratio_network is not None and self.steps_done % self.outer_every == 0:
            rate = engine.learning_rate("student") if self.inner_learning_rate is None else self.inner_learning_rate
            with engine.autocast():
                gradients, held_out = self.ratio_gradients(batch, teacher, rate, engine.all_reduce)
            self.log("held_out", held_out)
            engine.backward(surrogate(list(self.ratio_network.parameters()), gradients))
            engine.move("ratio")
        with engine.autocast():
            losses, ratios = self._student_losses(batch, teacher)
        self._watch(batch, ratios, engine)
        engine.backward(losses["kd"] + losses["ce"])
        engine.move("student")
        return losses

    def ratio_gradients(
        self, batch: Batch, teacher: Tensor, learning_rate: float, reduce: Callable[[Tensor], Tensor] = lambda tensor: tensor
    ) -> tuple[list[Tensor], Tensor]:
        """Return the outer gradient of each of the ratio network's parameters, and the held-out loss one virtual step ahead.

        Args:
            batch: as the class says, with `held_out`, after the view.
            teacher: the teacher's logits for it, `[N, C]`.
            learning_rate: length of the virtual step.
            reduce: mean of a tensor over processes.

        Returns:
            What `tutelage.train.bilevel.hypergradient` returns.
        """
        assert self.ratio_network is not None
        held_out = batch["held_out"]

        def inner(predict: Predict) -> Tensor:
            student = predict(batch["input"])
            ratios = self.ratios(student, teacher, batch["label"])
            soft, hard = self.terms(student, teacher, batch["label"])
            return L.mean(ratios * soft + (1 - ratios) * hard)

        def outer(predict: Predict) -> Tensor:
            return L.mean(L.cross_entropy(predict(held_out["input"]), held_out["label"]))

        return hypergradient(
            self.student,
            inner,
            outer,
            list(self.ratio_network.parameters()),
            learning_rate=learning_rate,
            first_order=self.first_order,
            reduce=reduce,
        )

    def ratios(self, student: Tensor, teacher: Tensor, label: Tensor) -> Tensor:
        """Return the share of the teacher in each sample's loss, with a graph to the ratio network only.

        Args:
            student: logits `[N, C]`, taken as constants.
            teacher: logits `[N, C]`.
            label: int64 `[N]`.

        Returns:
            a, in (0, 1), `[N]`; with a fixed ratio, that number N times.
        """
        if self.ratio_network is None:
            assert self.ratio is not None
            return torch.full_like(student[:, 0], schedules.value(self.ratio, self.progress), requires_grad=False)
        # In full precision whatever that of the networks: squared differences of probabilities are small.
        means = self.class_means
        s, t = (torch.softmax(logits.detach().to(means.dtype), dim=1) for logits in (student, teacher))
        g = F.one_hot(label, num_classes=len(means)).to(means.dtype)
        with torch.autocast(student.device.type, enabled=False):
            ratios: Tensor = self.ratio_network(self.triangles(s, t, g, means[label]))
        return ratios

    def terms(self, student: Tensor, teacher: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the ratio weighs in each sample's loss: `T^2 KL(p_t || p_s)`, and the cross-entropy with the label.

        Args:
            student: logits `[N, C]`.
            teacher: logits `[N, C]`.
            label: int64 `[N]`.

        Returns:
            The soft and the hard term in nats, `[N]` each.
        """
        soft = self.temperature**2 * L.forward_kl(student, teacher, temperature=self.temperature)
        return soft, L.cross_entropy(student, label)

    def _student_losses(self, batch: Batch, teacher: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        student = self.student(batch["input"])
        with torch.no_grad():
            ratios = self.ratios(student, teacher, batch["label"])
        soft, hard = self.terms(student, teacher, batch["label"])
        return {"kd": L.mean(ratios * soft), "ce": L.mean((1 - ratios) * hard)}, ratios

    def _watch(self, batch: Batch, ratios: Tensor, engine: Engine) -> None:
        """Log the mean ratio, and where the batch marks outliers, that of the marked and of the others, over all processes."""
        self.log("ratio", ratios.mean())
        if "is_outlier" not in batch:
            return
        for name, chosen in (("ratio_outliers", batch["is_outlier"]), ("ratio_others", ~batch["is_outlier"])):
            share = engine.all_reduce(chosen.float().mean())
            if share > 0:
                self.log(name, engine.all_reduce((ratios * chosen).mean()) / share)

    def players(self) -> dict[str, Player]:
        """Return the student with the trainer's optimizer and, when it learns, the ratio network with its own Adam."""
        players = {"student": Player([p for p in self.student.parameters() if p.requires_grad])}
        if self.ratio_network is not None:
            players["ratio"] = Player(list(self.ratio_network.parameters()), every=self.outer_every, optimizer=self._adam)
        return players

    def _adam(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        return torch.optim.Adam(parameters, lr=self.ratio_learning_rate, weight_decay=self.ratio_weight_decay)
