"""Trains OBoW in two processes and checks that both hold the same words, means and weights: run by torchrun."""

from __future__ import annotations

import torch
import torch.distributed
from leaving import leave

from tutelage import models, views
from tutelage.data import Arrays, Batches
from tutelage.methods.self_supervised.obow import OBoW
from tutelage.train import Trainer, TrainOptions

torch.manual_seed(0)
images = torch.rand(48, 1, 16, 16)
student = models.ConvBlocks(widths=(3, 4, 6), strides=(1, 2, 1))
crops = {"crops": views.Several(views.random_resized_crop(10), 2), "patches": views.GridPatches(6, jitter=1, count=2)}
method = OBoW(student, {"blocks.1": 4, "blocks.2": 6}, 6, crops, words=32, inverse_delta=10.0, kappa=5.0)
start = method.vocabularies[0].snapshot()
options = TrainOptions(epochs=2, batch_size=16, learning_rate=0.05, accelerator="cpu", devices=2, strategy="ddp")
Trainer(method, Batches(Arrays({"input": images}), 16, seed=1, drop_last=True), options).fit()

assert int(method.vocabularies[0].pointer) == 6 * 16 % 32
assert not any(torch.equal(word, first) for word in method.vocabularies[0].words for first in start)
for name, value in method.state_dict().items():
    if ".running_" in name or "num_batches" in name:
        continue  # each process normalises by its own part of the batch
    both = [torch.empty_like(value) for _ in range(2)]
    torch.distributed.all_gather(both, value.contiguous())
    assert torch.equal(*both), f"{name} differs between processes by {float((both[0] - both[1]).abs().max())}"
print("same words")
torch.distributed.barrier()
torch.distributed.destroy_process_group()
leave()
