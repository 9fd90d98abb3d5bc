"""Compares `linear_divergence` of two processes, each with half of the tokens, with that of one: run by torchrun with 2 processes."""

from __future__ import annotations

import torch
import torch.distributed as dist
from leaving import leave
from torch import nn
from torch.distributed.tensor import Shard, distribute_tensor, init_device_mesh

from tutelage import losses

TOKENS, VOCABULARY = 12, 10


class Student(nn.Module):
    """Body and head, with the loss in `forward` so that DDP sees it."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(4, 6), nn.Linear(6, VOCABULARY)

    def forward(self, x: torch.Tensor, teacher_hidden: torch.Tensor, teacher_head: torch.Tensor) -> torch.Tensor:
        return losses.linear_divergence(self.body(x).tanh(), self.head, teacher_hidden, teacher_head, kind="jsd", chunk=4).mean()


def main() -> None:
    dist.init_process_group("gloo")
    torch.manual_seed(0)
    student = Student()
    x, teacher_hidden, teacher_head = torch.randn(TOKENS, 4), torch.randn(TOKENS, 5), torch.randn(VOCABULARY, 5)
    student(x, teacher_hidden, teacher_head).backward()
    alone = {name: p.grad.clone() for name, p in student.named_parameters()}
    student.zero_grad()

    rank = dist.get_rank()
    mine = slice(rank, TOKENS, 2)
    parallel = nn.parallel.DistributedDataParallel(student)
    parallel(x[mine], teacher_hidden[mine], teacher_head).backward()
    for name, parameter in student.named_parameters():
        torch.testing.assert_close(parameter.grad, alone[name], msg=lambda text, name=name: f"{name}: {text}")
    print("same: ddp;")

    mesh = init_device_mesh("cpu", (2,))
    head = distribute_tensor(student.head.weight.detach(), mesh, [Shard(0)]).requires_grad_()
    plain = student.head.weight.detach().requires_grad_()
    hidden = torch.randn(TOKENS, 6)
    for weight in (head, plain):
        losses.linear_divergence(hidden, weight, teacher_hidden, teacher_head).mean().backward()
    torch.testing.assert_close(head.grad.full_tensor(), plain.grad)
    print("same: sharded head;")
    dist.destroy_process_group()


main()
leave()
