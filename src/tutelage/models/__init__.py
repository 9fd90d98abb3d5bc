"""Students and teachers: small reference networks, and one door for every other kind of model.

The lower-case names `cnn`, `mlp`, `resnet` and `vit` are the networks' classes, called like functions beside `small_cnn`.
"""

from tutelage.models.adapted import Adapted, check_fits
from tutelage.models.backbones import backbone, bare, load_backbone, save_backbone
from tutelage.models.blocks import ConvBlocks
from tutelage.models.build import SCHEMES, build
from tutelage.models.class_tokens import ClassTokens
from tutelage.models.committee import Committee
from tutelage.models.convnet import ConvNet, small_cnn
from tutelage.models.convnet import ConvNet as cnn
from tutelage.models.dual_head import DualHead, dual_head
from tutelage.models.feature_maps import feature_maps, last_levels
from tutelage.models.linearised import Linearised
from tutelage.models.lite0 import has_own_head, is_pretrained
from tutelage.models.measure import count_parameters, fingerprint
from tutelage.models.mlp import MLP
from tutelage.models.mlp import MLP as mlp
from tutelage.models.modular import SumTransformer, modular_pairs
from tutelage.models.onnx_model import OnnxModel
from tutelage.models.output_scale import OutputScale
from tutelage.models.projector import Projector
from tutelage.models.resnet import ResNet
from tutelage.models.resnet import ResNet as resnet
from tutelage.models.sklearn_model import SklearnModel
from tutelage.models.tap import tap
from tutelage.models.timesformer import TimeSformer, timesformer
from tutelage.models.video import ElementNet, PairwiseFusion, VideoCNN
from tutelage.models.vit import ViT
from tutelage.models.vit import ViT as vit
from tutelage.models.weight_generator import EntryWeights, WeightGenerator
from tutelage.models.weights import load_weights
from tutelage.models.zero_shot import ZeroShot, few_shot, prototypes

__all__ = [
    "MLP",
    "SCHEMES",
    "Adapted",
    "ClassTokens",
    "Committee",
    "ConvBlocks",
    "ConvNet",
    "DualHead",
    "ElementNet",
    "EntryWeights",
    "Linearised",
    "OnnxModel",
    "OutputScale",
    "PairwiseFusion",
    "Projector",
    "ResNet",
    "SklearnModel",
    "SumTransformer",
    "TimeSformer",
    "ViT",
    "VideoCNN",
    "WeightGenerator",
    "ZeroShot",
    "backbone",
    "bare",
    "build",
    "check_fits",
    "cnn",
    "count_parameters",
    "dual_head",
    "feature_maps",
    "few_shot",
    "fingerprint",
    "has_own_head",
    "is_pretrained",
    "last_levels",
    "load_backbone",
    "load_weights",
    "mlp",
    "modular_pairs",
    "prototypes",
    "resnet",
    "save_backbone",
    "small_cnn",
    "tap",
    "timesformer",
    "vit",
]
