"""IDCM: a cheap student picks k passages of a long document, and the expensive teacher scores only those.

The student learns which passages the teacher would score highest, so the teacher stays in use at inference and its cost per document no
longer grows with the document's length.

Reference: Hofstaetter, Mitra, Zamani, Craswell, Hanbury, Intra-Document Cascading: Learning to Select Passages for Neural Document Ranking,
    SIGIR 2021, arXiv 2105.09816.
Tags: ranking, retrieval, re-ranking, cascade, passage selection, cross-encoder, kernel pooling, LambdaLoss, RankNet, efficiency, text
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from tutelage import losses as L
from tutelage.data import Arrays
from tutelage.deploy.ranking.cascade import Cascade
from tutelage.errors import OptionError
from tutelage.evaluate.predict import evaluating
from tutelage.evaluate.retrieval import overlap
from tutelage.losses.ranking import lambda_loss, ranknet
from tutelage.models.ranking import TopScores
from tutelage.targets.gains import rank_gains
from tutelage.teachers import Frozen, Teacher
from tutelage.train import Batch, Method, Player
from tutelage.train.method import OptimizerFactory

Loss = Literal["lambda", "mse", "kl", "ce", "labels"]
SIDES = ("positive", "negative")


class IDCM(Method):
    """Step 3: the student (ESM) learns to rank a document's passages as the frozen teacher (ETM) does.

    `L = weight [ L(ESM, ETM; positive document) + L(ESM, ETM; negative document) ]`, by default LambdaLoss on the gains of the teacher's
    best k passages. Teacher and aggregation (PS) were trained by `RankPairs`; k can be changed afterwards without training any of them.

    Batch:
        query: tokens int64 `[N, Q]`, 0 for padding.
        positive, negative: windows of both documents, int64 `[N, P, W]`.
        positive_mask, negative_mask: bool `[N, P]`, True for windows.
        positive_scores, negative_scores: the teacher's scores float `[N, P]`, where `cache_scores` kept them; else the teacher is asked.

    Args:
        student: ESM, a passage scorer that learns, `(query, passages, mask) -> [N, P]`; such as `ConvKernels` on the teacher's embeddings.
        teacher: ETM, a trained passage scorer of the same call; it is frozen.
        aggregation: PS, trained with the teacher.
        k: passages of a document with a gain, and those that the teacher reads at inference. Default 4.
        loss: `"lambda"`: LambdaLoss with NDCG-Loss2 weights (default); `"mse"`: squared differences of scores; `"kl"`: forward KL of the
            softmax over passages; `"ce"`: its soft cross-entropy; `"labels"`: no teacher, RankNet on the document scores that PS (l
            weights of 1) makes of the student's own.
        weight: of the loss. Default 1.
        temperature: of the softmaxes of `"kl"` and `"ce"`. Default 1.
        sigma: slope of LambdaLoss's sigmoid. Default 1.

    Source: sections 3.2 and 3.3 of arXiv 2105.09816 and its released code.
    """

    def __init__(
        self,
        student: nn.Module,
        teacher: nn.Module,
        aggregation: TopScores,
        *,
        k: int = 4,
        loss: Loss = "lambda",
        weight: float = 1.0,
        temperature: float = 1.0,
        sigma: float = 1.0,
    ) -> None:
        super().__init__()
        if k < 1 or not weight > 0:
            raise OptionError(f"IDCM takes k of at least 1 passage and a weight above 0, got {k} and {weight}.")
        if loss not in get_args(Loss):
            raise OptionError(f"loss is '{loss}'; expected one of {', '.join(get_args(Loss))}.")
        self.student = student
        self.teacher = teacher if isinstance(teacher, Teacher) else Frozen(teacher)
        self.aggregation = Frozen(aggregation)
        self.k, self.loss, self.weight, self.temperature, self.sigma = k, loss, weight, temperature, sigma
        self._plain = TopScores(len(aggregation.weight)).requires_grad_(False)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Return the loss on positive and negative documents, `"positive"` and `"negative"`; or `"labels"`.

        Logs `overlap`, the share of the teacher's best k passages that are among the student's.
        """
        query = torch.cat([batch["query"]] * 2)
        passages, mask = (torch.cat([batch[f"{side}{what}"] for side in SIDES]) for what in ("", "_mask"))
        scores = self.student(query, passages, mask)
        if self.loss == "labels":
            positive, negative = self._plain(scores, mask).chunk(2)
            return {"labels": self.weight * L.mean(ranknet(positive, negative))}
        if "positive_scores" in batch:
            taught = torch.cat([batch[f"{side}_scores"] for side in SIDES])
        else:
            taught = self.teacher(query, passages, mask)

        loss = self.passage_loss(scores, taught, mask)
        self.log("overlap", overlap(scores.detach(), taught, self.k, mask).mean())
        return {side: self.weight * L.mean(part) for side, part in zip(SIDES, loss.chunk(2), strict=True)}

    def passage_loss(self, scores: Tensor, taught: Tensor, mask: Tensor) -> Tensor:
        """Return the loss of each document, float `[N]`.

        Args:
            scores: the student's, `[N, P]`.
            taught: the teacher's, `[N, P]`.
            mask: bool `[N, P]`, True for passages.
        """
        if self.loss == "lambda":
            return lambda_loss(scores, rank_gains(taught, self.k, mask), mask, sigma=self.sigma)
        if self.loss == "mse":
            squared = (scores - taught).square().masked_fill(~mask, 0.0)
            return squared.sum(1) / mask.sum(1).clamp_min(1)
        student, teacher = (values.masked_fill(~mask, -torch.inf) for values in (scores, taught))
        if self.loss == "kl":
            return L.forward_kl(student, teacher, temperature=self.temperature)
        return L.soft_cross_entropy(student, (teacher / self.temperature).softmax(-1), temperature=self.temperature)

    def predict(self, batch: Batch) -> Tensor:
        """Return the cascade's scores `[N]` of the documents `passages` with `mask` for `query`; `batch["k"]` replaces k if given."""
        scores: Tensor = self.cascade(batch["query"], batch["passages"], batch["mask"], batch.get("k", self.k)).scores
        return scores

    @property
    def cascade(self) -> Cascade:
        """What is deployed: student, teacher and aggregation."""
        aggregation = self.aggregation.model
        assert isinstance(aggregation, TopScores)
        return Cascade(self.student, self.teacher, aggregation)

    @torch.no_grad()
    def cache_scores(self, pairs: Arrays, *, batch_size: int = 64) -> Arrays:
        """Return training pairs with the teacher's score of every passage, so that it runs once and not at every step.

        Args:
            pairs: columns as the batch has them.
            batch_size: pairs at once.

        Returns:
            The same pairs with the columns `positive_scores` and `negative_scores`, on the CPU.
        """
        found: dict[str, list[Tensor]] = {side: [] for side in SIDES}
        device = next((parameter.device for parameter in self.teacher.parameters()), torch.device("cpu"))
        with evaluating(self.teacher):
            for batch in pairs.blocks(batch_size):
                for side in SIDES:
                    given = (batch[name].to(device) for name in ("query", side, f"{side}_mask"))
                    found[side].append(self.teacher(*given).float().cpu())
        return pairs.replace(**{f"{side}_scores": torch.cat(blocks) for side, blocks in found.items()})


class RankPairs(Method):
    """Steps 1 and 2: a passage scorer learns that one of two documents is the better one, by RankNet on their scores.

    Step 1 gives it pairs of single passages (documents of one window) without an aggregation; step 2 goes on with pairs of documents, all
    their windows, and PS.

    Batch:
        query, positive, negative, positive_mask, negative_mask: as `IDCM` takes them.

    Args:
        student: the passage scorer that learns: the teacher-to-be.
        aggregation: PS, which learns too; `None` for documents of one passage, whose score is the passage's.
        aggregation_optimizer: builds the optimizer of PS, whose learning rate the paper sets to 100 times the other, 7e-4; the trainer's
            where it is `None`.
    """

    def __init__(
        self, student: nn.Module, aggregation: TopScores | None = None, *, aggregation_optimizer: OptimizerFactory | None = None
    ) -> None:
        super().__init__()
        self.student, self.aggregation = student, aggregation
        self.aggregation_optimizer = aggregation_optimizer

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Return `"ranknet"`; logs `ordered`, the share of pairs in the right order."""
        passages, mask = (torch.cat([batch[f"{side}{what}"] for side in SIDES]) for what in ("", "_mask"))
        positive, negative = self._documents(self.student(torch.cat([batch["query"]] * 2), passages, mask), mask).chunk(2)
        self.log("ordered", (positive > negative).float().mean())
        return {"ranknet": L.mean(ranknet(positive, negative))}

    def players(self) -> dict[str, Player]:
        """Return the scorer and, where there is one, the aggregation: one pass, an optimizer each."""
        players = {"student": Player([p for p in self.student.parameters() if p.requires_grad])}
        if self.aggregation is not None:
            players["aggregation"] = Player(list(self.aggregation.parameters()), optimizer=self.aggregation_optimizer)
        return players

    def predict(self, batch: Batch) -> Tensor:
        """Return the scores `[N]` of the documents `passages` with `mask` for `query`, all passages read."""
        return self._documents(self.student(batch["query"], batch["passages"], batch["mask"]), batch["mask"])

    def _documents(self, scores: Tensor, mask: Tensor) -> Tensor:
        if self.aggregation is None:
            return scores.masked_fill(~mask, -torch.inf).amax(1)
        found: Tensor = self.aggregation(scores, mask)
        return found
