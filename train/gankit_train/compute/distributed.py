"""Data-parallel training: several processes, each with its part of every batch, as `torchrun … gan-train` starts them.

The networks stay plain modules, and gradients are averaged by one all-reduce before each optimizer step, as in
StyleGAN3. DistributedDataParallel computes wrong gradients for a penalty that has a backward pass of its own.
"""

import os
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch import distributed as dist

from gankit._errors import GankitError, UsageError

T = TypeVar("T")


@dataclass(frozen=True)
class ProcessGroup:
    """This process among those of a run. With one process, no method communicates."""

    rank: int = 0
    world_size: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this is rank 0, the process that reports and writes files."""
        return self.rank == 0

    def local_slice(self, n: int) -> slice:
        """Returns this process's part of n rows."""
        return slice(self.rank * n // self.world_size, (self.rank + 1) * n // self.world_size)

    def average(self, tensors: Iterable[Tensor]) -> None:
        """Replaces each tensor in place by its mean over the processes, with a single all-reduce."""
        if self.world_size > 1:
            tensors = list(tensors)
            flat = torch.cat([t.flatten() for t in tensors])
            dist.all_reduce(flat)
            flat /= self.world_size
            for tensor, part in zip(tensors, torch.split(flat, [t.numel() for t in tensors]), strict=True):
                tensor.copy_(part.view_as(tensor))

    def broadcast_weights(self, modules: Iterable[nn.Module]) -> None:
        """Copies parameters and buffers from rank 0 to all processes."""
        if self.world_size > 1:
            for module in modules:
                for value in module.state_dict().values():
                    dist.broadcast(value, 0)

    def check_weights(self, modules: Iterable[nn.Module]) -> None:
        """Raises GankitError in every process if the parameters of any process differ from those of rank 0."""
        if self.world_size > 1:
            local = torch.stack([p.detach().double().sum() for module in modules for p in module.parameters()])
            main = local.clone()
            dist.broadcast(main, 0)
            if self.any_rank(bool((local != main).any()), local.device):
                raise GankitError("the weights of the processes differ: use the same software on all machines")

    def any_rank(self, flag: bool, device: torch.device) -> bool:
        """Returns whether the flag is true in any process."""
        if self.world_size == 1:
            return flag
        count = torch.tensor(float(flag), device=device)
        dist.all_reduce(count)
        return bool(count > 0)

    def broadcast_object(self, make: Callable[[], T]) -> T:
        """Runs `make` in rank 0 alone and returns its result, or raises its GankitError, in every process."""
        if self.world_size == 1:
            return make()
        outcome: list[Any] = [(None, None)]  # the result and the error
        if self.is_main:
            try:
                outcome = [(make(), None)]
            except GankitError as error:  # sent as well, since the other processes would wait for ever
                outcome = [(None, error)]
        dist.broadcast_object_list(outcome, 0)
        result, failure = outcome[0]
        if failure:
            raise failure
        return result  # type: ignore[no-any-return]

    def local_rank_zero_first(self, make: Callable[[], T]) -> T:
        """Runs `make` in the first process of each machine, then in the others, which find its results cached."""
        if self.world_size > 1 and local_rank() > 0:
            dist.barrier()
        try:
            return make()
        finally:  # after an error too, since the other processes would wait for ever
            if self.world_size > 1 and local_rank() == 0:
                dist.barrier()

    def check_same(self, value: object, name: str) -> None:
        """Raises GankitError in every process if a picklable value differs between the processes."""
        values: list[object] = [value] * self.world_size
        if self.world_size > 1:
            dist.all_gather_object(values, value)
        if other := [rank for rank, each in enumerate(values) if each != values[0]]:
            raise GankitError(f"process {other[0]} has different {name} from process 0: start all of them alike")


SINGLE_PROCESS = ProcessGroup()


def local_rank() -> int:
    """Returns the number of this process among those of its machine; 0 without torchrun."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def init_distributed(device: str, batch_size: int, packing: int) -> ProcessGroup:
    """Joins the process group that torchrun started; returns `SINGLE_PROCESS` without torchrun.

    `device` is auto, cuda or cpu. `batch_size` counts the images of the global batch; `packing` of them are scored
    together and must not be split. Raises UsageError if the batch cannot be divided evenly, or if there are fewer GPUs
    than processes on this machine.
    """
    if not dist.is_available() or not dist.is_torchelastic_launched():
        return SINGLE_PROCESS
    world_size = int(os.environ["WORLD_SIZE"])
    unit = world_size * packing
    if batch_size % unit or batch_size < 2 * unit:
        raise UsageError(
            f"--batch-size {batch_size} cannot be divided among {world_size} processes of at least {2 * packing} "
            f"images each: use a multiple of {unit}, such as {16 * unit}"
        )
    cuda = device != "cpu" and torch.cuda.is_available()
    if cuda:
        # Checked by all processes of the machine and not only by those without a GPU: the first one reports it.
        if (wanted := int(os.environ["LOCAL_WORLD_SIZE"])) > (n := torch.cuda.device_count()):
            raise UsageError(f"there are {n} GPUs on this machine: use torchrun --nproc-per-node {n}, not {wanted}")
        torch.cuda.set_device(local_rank())
    if not dist.is_initialized():
        dist.init_process_group("nccl" if cuda else "gloo", timeout=timedelta(hours=2))  # while one packs the data
    return ProcessGroup(dist.get_rank(), dist.get_world_size())


def shut_down(exit_code: int = 0) -> None:
    """Leaves the process group and ends this process, once all processes have come here; without a group, returns.

    The interpreter is not asked to end by itself: gloo's threads hold tensors and now and then abort a process whose
    interpreter shuts down, after which torchrun reports the whole run as failed. Not for use after an error, when
    other processes may wait in a collective that this one never enters.
    """
    if dist.is_available() and dist.is_initialized():
        dist.barrier()
        dist.destroy_process_group()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(exit_code)
