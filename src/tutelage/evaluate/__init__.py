"""Evaluation: what a model answers on whole data sets, and how good the answers are."""

from tutelage.evaluate.collapse import collapse, effective_rank, feature_std, rank_me
from tutelage.evaluate.delay import Delay, GridLog, delay, geometric_steps
from tutelage.evaluate.kernels import cka, kernel_change, kernel_descent, kernel_regression, tangent_kernel
from tutelage.evaluate.learning_curves import area, paired_bootstrap, ranks
from tutelage.evaluate.metrics import agreement, brier, classification, macro_f1, nll, per_class, reliability
from tutelage.evaluate.perplexity import bag_perplexity, perplexity
from tutelage.evaluate.predict import predictions
from tutelage.evaluate.probe import choose_probe, features, linear_probe, nearest_neighbours
from tutelage.evaluate.segmentation import segmentation
from tutelage.evaluate.svm import SvmPrecision, svm_precision
from tutelage.evaluate.trained_probe import IMAGENET, PLACES205, trained_probe
from tutelage.evaluate.watch import Watch

__all__ = [
    "IMAGENET",
    "PLACES205",
    "Delay",
    "GridLog",
    "SvmPrecision",
    "Watch",
    "agreement",
    "area",
    "bag_perplexity",
    "brier",
    "choose_probe",
    "cka",
    "classification",
    "collapse",
    "delay",
    "effective_rank",
    "feature_std",
    "features",
    "geometric_steps",
    "kernel_change",
    "kernel_descent",
    "kernel_regression",
    "linear_probe",
    "macro_f1",
    "nearest_neighbours",
    "nll",
    "paired_bootstrap",
    "per_class",
    "perplexity",
    "predictions",
    "rank_me",
    "ranks",
    "reliability",
    "segmentation",
    "svm_precision",
    "tangent_kernel",
    "trained_probe",
]
