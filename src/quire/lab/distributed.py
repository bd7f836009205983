"""Data parallelism through torch's own DDP, when `torchrun` started this process.

Without torchrun every function here does nothing, or what one process would do.
"""

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

M = TypeVar("M", bound=nn.Module)


class Replica(DistributedDataParallel):
    """Torch's replica that still shows the wrapped module's own attributes and methods."""

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("module"), name)


def is_on() -> bool:
    """Whether several processes share this run."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def rank() -> int:
    """Number of this process: 0 writes."""
    return dist.get_rank() if is_on() else 0


def world_size() -> int:
    """How many processes share this run."""
    return dist.get_world_size() if is_on() else 1


@contextlib.contextmanager
def process_group(device: torch.device) -> Iterator[torch.device]:
    """Join the processes that torchrun started; gives this process's device."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or dist.is_initialized():
        yield device
        return
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield device
    finally:
        dist.destroy_process_group()


def replicate(module: M) -> M:
    """`module`, or under torchrun its data-parallel replica (gradients are averaged)."""
    if not is_on() or not any(p.requires_grad for p in module.parameters()):
        return module
    return cast(M, Replica(module))


def bare(part: Any) -> Any:
    """The module inside a replica: checkpoints fit any number of processes."""
    return part.module if isinstance(part, Replica) else part


def share(batch: Any) -> Any:
    """This process's rows of a batch: every world-size-th, so that the mean stays the mean.

    Raises `ValueError` where the rows do not divide evenly.
    """
    if not is_on():
        return batch
    world = dist.get_world_size()

    def rows(tensor: Tensor) -> Tensor:
        if tensor.dim() and tensor.shape[0] % world:
            raise ValueError(f"a batch of {tensor.shape[0]} rows cannot be shared by {world} "
                             "processes: choose a multiple")  # fmt: skip
        return tensor[rank() :: world] if tensor.dim() else tensor

    return map_tensors(rows, batch)


def map_tensors(function: Callable[[Tensor], Tensor], tree: Any) -> Any:
    """`tree` (tensors in tuples, named tuples, lists, dicts) with `function` over its tensors."""
    if isinstance(tree, Tensor):
        return function(tree)
    if isinstance(tree, dict):
        return {key: map_tensors(function, value) for key, value in tree.items()}
    if isinstance(tree, tuple | list):
        items = [map_tensors(function, value) for value in tree]
        return type(tree)(*items) if hasattr(tree, "_fields") else type(tree)(items)
    return tree


def mean(value: float, device: torch.device) -> float:
    """Mean of `value` over the processes."""
    return _reduced(value, device, dist.ReduceOp.SUM) / dist.get_world_size() if is_on() else value


def agree(step: int, stop: bool, late: bool) -> tuple[bool, bool]:
    """Whether any process was asked to stop, and whether any finds a checkpoint due.

    Processes must act on both at the same step; they confer every tenth only, since it waits.
    """
    if not is_on():
        return stop, late
    if step % 10 != 9:
        return False, False
    device = torch.device("cuda" if dist.get_backend() == "nccl" else "cpu")
    level = _reduced(2.0 if stop else float(late), device, dist.ReduceOp.MAX)
    return level == 2.0, level == 1.0


def barrier() -> None:
    """Wait for the other processes."""
    if is_on():
        dist.barrier()


def _reduced(value: float, device: torch.device, operation: Any) -> float:
    tensor = torch.tensor(value, dtype=torch.float64, device=device)
    dist.all_reduce(tensor, op=operation)
    return float(tensor)
