"""Lets torchvision / torchaudio wheels that were built for CUDA import beside a CPU-only torch.

Does nothing where their compiled parts load. Install it with a .pth file, so that every process has it.
"""

import importlib.machinery
import os
import sys

_WATCH = ("torchvision", "torchvision.ops.boxes", "torchaudio._extension.utils")
_keep = []


def _nms(dets, scores, iou_threshold):
    import torch

    order = scores.argsort(descending=True, stable=True)
    b = dets[order].float()
    area = (b[:, 2] - b[:, 0]) * (b[:, 3] - b[:, 1])
    keep = torch.ones(len(b), dtype=torch.bool)
    for i in range(len(b)):
        if keep[i]:
            wh = torch.minimum(b[i, 2:], b[i + 1 :, 2:]) - torch.maximum(b[i, :2], b[i + 1 :, :2])
            inter = wh.clamp(min=0).prod(1)
            keep[i + 1 :] &= inter / (area[i] + area[i + 1 :] - inter) <= iou_threshold
    return order[keep]


class _Patched:
    def __init__(self, loader, patch):
        self.loader, self.patch = loader, patch

    def __getattr__(self, name):
        return getattr(self.loader, name)

    def create_module(self, spec):
        return self.loader.create_module(spec)

    def exec_module(self, module):
        self.loader.exec_module(module)
        self.patch(module)


def _patch_boxes(module):
    if _keep:  # only where the stand-in is in use
        module._assert_has_ops = lambda: None


def _patch_audio(module):
    load = module._load_lib

    def _load_lib(lib):
        try:
            return load(lib)
        except OSError:
            return False

    module._load_lib = _load_lib


class _Finder:
    def find_spec(self, name, path=None, target=None):
        if name not in _WATCH:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        if spec is None or spec.origin is None:
            return spec
        if name == "torchvision.ops.boxes":
            spec.loader = _Patched(spec.loader, _patch_boxes)
        elif name == "torchaudio._extension.utils":
            spec.loader = _Patched(spec.loader, _patch_audio)
        elif not _keep:
            import torch

            try:
                torch.ops.load_library(os.path.join(os.path.dirname(spec.origin), "_C.so"))
            except OSError:
                lib = torch.library.Library("torchvision", "FRAGMENT")
                for op in ("nms", "qnms"):
                    lib.define(op + "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
                lib.impl("nms", _nms, "CPU")
                _keep.append(lib)
        return spec


sys.meta_path.insert(0, _Finder())
