"""Several processes, each with its part of every batch, as `torchrun … gan-train` starts them.

The networks stay plain modules and the gradients are averaged in one piece before each step of an optimizer, as in
StyleGAN3: wrapped in DistributedDataParallel, the gradients of a penalty are wrong in silence.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch import distributed as dist

from gankit._errors import GankitError, UsageError

T = TypeVar("T")


@dataclass(frozen=True)
class Ranks:
    """This process among those of a run; alone, every method does nothing."""

    rank: int = 0
    world: int = 1

    def rows(self, n: int) -> slice:
        """This process' part of n rows."""
        return slice(self.rank * n // self.world, (self.rank + 1) * n // self.world)

    def average(self, tensors: Iterable[Tensor]) -> None:
        """Sets each to its mean over the processes, by one exchange for all of them."""
        if self.world > 1:
            tensors = list(tensors)
            flat = torch.cat([t.flatten() for t in tensors])
            dist.all_reduce(flat)
            flat /= self.world
            for tensor, part in zip(tensors, torch.split(flat, [t.numel() for t in tensors]), strict=True):
                tensor.copy_(part.view_as(tensor))

    def start_alike(self, modules: Iterable[torch.nn.Module]) -> None:
        """Gives every process the weights of the first."""
        if self.world > 1:
            for module in modules:
                for value in module.state_dict().values():
                    dist.broadcast(value, 0)

    def agree(self, modules: Iterable[torch.nn.Module]) -> None:
        """Raises GankitError where the weights of the processes have come apart."""
        if self.world > 1:
            mine = torch.stack([p.detach().double().sum() for module in modules for p in module.parameters()])
            first = mine.clone()
            dist.broadcast(first, 0)
            apart = (mine != first).any().float()
            dist.all_reduce(apart)
            if apart:
                raise GankitError("the processes' weights have come apart: use the same software on all machines")

    def any(self, flag: bool, device: torch.device) -> bool:
        """Whether it is true in any process."""
        if self.world == 1:
            return flag
        count = torch.tensor(float(flag), device=device)
        dist.all_reduce(count)
        return bool(count > 0)

    def from_first(self, make: Callable[[], T]) -> T:
        """What the first process makes, or the error that it meets, in all of them."""
        if self.world == 1:
            return make()
        box: list[Any] = [_outcome(make) if self.rank == 0 else None]
        dist.broadcast_object_list(box, 0)
        made: T = _unpacked(box[0])
        return made

    def in_turn(self, make: Callable[[], T]) -> T:
        """What each process makes, the first of each machine before the others: it fills the cache for them."""
        if self.world == 1:
            return make()
        outcome = _outcome(make) if os.environ["LOCAL_RANK"] == "0" else None
        dist.barrier()
        made: T = _unpacked(outcome or _outcome(make))
        return made

    def same(self, what: object, name: str) -> None:
        """Raises GankitError where a process was given something else than the first one."""
        if what != self.from_first(lambda: what):
            raise GankitError(f"process {self.rank} has other {name} than the first one: give all of them the same")


ALONE = Ranks()


def _outcome(make: Callable[[], T]) -> tuple[Any, GankitError | None]:
    """So that an error of one process does not leave the others waiting for it."""
    try:
        return make(), None
    except GankitError as error:
        return None, error


def _unpacked(outcome: tuple[Any, GankitError | None]) -> Any:
    made, error = outcome
    if error is not None:
        raise error
    return made


def join(device: str, batch_size: int, packing: int) -> Ranks:
    """This process among those that torchrun started; alone where it was not torchrun.

    Raises:
        UsageError: a batch that cannot be shared evenly.
    """
    if not dist.is_available() or not dist.is_torchelastic_launched():
        return ALONE
    world = int(os.environ["WORLD_SIZE"])
    if batch_size % (world * packing) or batch_size < 2 * world * packing:
        raise UsageError(
            f"--batch-size {batch_size} cannot be shared by {world} processes of at least {2 * packing} images each: "
            f"take a multiple of {world * packing}, such as {world * packing * 16}"
        )
    cuda = device != "cpu" and torch.cuda.is_available()
    if cuda:
        if (local := int(os.environ["LOCAL_RANK"])) >= torch.cuda.device_count():
            raise UsageError(f"there are {torch.cuda.device_count()} GPUs here: give torchrun no more --nproc-per-node")
        torch.cuda.set_device(local)
    if not dist.is_initialized():
        # One process may pack a large set while the others wait.
        dist.init_process_group("nccl" if cuda else "gloo", timeout=timedelta(hours=2))
    return Ranks(dist.get_rank(), dist.get_world_size())


def leave(exit_code: int = 0) -> None:
    """Ends what `join` began, and with it this process, once none needs another any more; alone, it does nothing.

    A process whose interpreter ends by itself may be aborted by gloo's threads, which hold tensors, and torchrun then
    calls the run failed: without leaving the group often, after it still now and then on a busy machine. So the
    interpreter is not asked. After an error this is not for calling: the others may wait in an exchange that this
    process never enters.
    """
    if dist.is_available() and dist.is_initialized():
        dist.barrier()
        dist.destroy_process_group()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(exit_code)
