"""The network in PyTorch, its batch normalisations folded into the layers before them, its images stored channels-last."""

from __future__ import annotations

import copy
from collections import OrderedDict
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from tutelage.models.memory import channels_last
from tutelage.teachers.engines import hooks
from tutelage.teachers.engines.base import tensors_of
from tutelage.teachers.engines.pairs import consecutive, with_activation

Pairs = list[tuple[str, str]]
CHANGED = (nn.modules.batchnorm._BatchNorm, nn.Conv2d, nn.ConvTranspose2d)
"""Modules without any of which there is nothing to do."""


class Folded:
    """A copy of the network with fewer layers to run; its answers differ by rounding alone.

    Hooks on the network's layers run with the values they would see there: a pair of layers between which a hook looks is
    left unfolded, in a second copy.

    Args:
        model: the network, which stays as it is.
        args: positional arguments of the call that it is built for.
        kwargs: keyword arguments of that call.
    """

    hooks: ClassVar[bool] = True
    fixes_shapes: ClassVar[bool] = False

    def __init__(self, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.model = model
        self.pairs: Pairs = []
        self.has_images = False
        """Whether it has two-dimensional convolutions, so that images are stored channels-last."""
        self._twins: dict[frozenset[tuple[str, str]], nn.Module] = {}
        if not any(isinstance(module, CHANGED) for module in model.modules()):
            return
        bare = _stripped(model)
        self.pairs = consecutive(bare, args, kwargs)
        self.has_images = channels_last(bare)
        if self.has_images and not self._runs(bare, args, kwargs):  # `view` on a feature map, which asks for rows in order
            self.has_images = False
            bare = _stripped(model)
        if self.changes:
            self._twins[frozenset()] = fold(bare, self.pairs)

    @property
    def changes(self) -> bool:
        """Whether anything was folded or re-arranged; if not, the network itself runs."""
        return bool(self.pairs) or self.has_images

    @property
    def twin(self) -> nn.Module:
        """The network that runs: the folded copy, or the network itself if there was nothing to do."""
        return self._twins.get(frozenset(), self.model)

    def __call__(self, args: tuple[Any, ...], kwargs: dict[str, Any], hooked: frozenset[str] = frozenset()) -> Any:
        """Return the network's answer."""
        if not self.changes:
            return self.model(*args, **kwargs)
        args = self.arranged(args)
        if not hooked:
            return self.restored(self.twin(*args, **kwargs))
        twin = self._without(frozenset(pair for pair in self.pairs if _between(pair, hooked)))
        with hooks.relayed(self.model, twin, hooked):
            return self.restored(twin(*args, **kwargs))

    def arranged(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """Store images among the positional arguments channels-last, if the network wants them so."""
        if not self.has_images:
            return args
        return tuple(a.contiguous(memory_format=torch.channels_last) if isinstance(a, Tensor) and a.dim() == 4 else a for a in args)

    def restored(self, answer: Any) -> Any:
        """Store an answer that is one feature map [N, C, H, W] in the usual order."""
        return answer.contiguous() if self.has_images and isinstance(answer, Tensor) and answer.dim() == 4 else answer

    def _without(self, left: frozenset[tuple[str, str]]) -> nn.Module:
        """The copy in which the given pairs are left unfolded."""
        if left not in self._twins:
            bare = _stripped(self.model)
            if self.has_images:
                channels_last(bare)
            self._twins[left] = fold(bare, [pair for pair in self.pairs if pair not in left])
        return self._twins[left]

    def _runs(self, bare: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        if not tensors_of((args, kwargs)):
            return True
        try:
            with torch.no_grad():
                bare(*self.arranged(args), **kwargs)
        except RuntimeError:
            return False
        return True


def fold(model: nn.Module, pairs: Pairs) -> nn.Module:
    """Fold batch normalisations into the layers before them, in place; an `Identity` stands where each of them was.

    Args:
        model: the network.
        pairs: names of layer and batch normalisation, as `consecutive` finds them.

    Returns:
        The network.
    """
    for first, second in pairs:
        layer: Any = model.get_submodule(first)
        norm: Any = model.get_submodule(second)
        images = layer.weight.is_contiguous(memory_format=torch.channels_last) if layer.weight.dim() == 4 else False
        if isinstance(layer, nn.Linear):
            fused: nn.Module = fuse_linear_bn_eval(layer, norm)
        else:
            fused = fuse_conv_bn_eval(layer, norm, transpose=layer.transposed)
        fused.requires_grad_(False)
        rest = nn.Sequential(OrderedDict(drop=norm.drop, act=norm.act)) if with_activation(norm) else nn.Identity()
        if images:
            channels_last(fused)
        _replace(model, first, fused)
        _replace(model, second, rest.train(False))
    return model


def _replace(model: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, last = name.rpartition(".")
    setattr(model.get_submodule(parent), last, module)


def _between(pair: tuple[str, str], hooked: frozenset[str]) -> bool:
    """Whether a hook sees what flows between two layers: it sits on one of them, or around one and not the other."""
    around = [{name for name in hooked if layer == name or layer.startswith(f"{name}.") or not name} for layer in pair]
    return around[0] != around[1]


def _stripped(model: nn.Module) -> nn.Module:
    twin = copy.deepcopy(model)
    hooks.strip(twin)
    return twin
