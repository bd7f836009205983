"""Experts on several processes: tokens travel by all-to-all, over gloo or nccl (section 3).

D processes, each with E / D experts and its own groups of tokens. R rows of an expert from one
process, M width.
"""

import multiprocessing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from quire.papers.gshard.mixture import Experts, mixtures
from quire.papers.gshard.routing import Sent

Group = dist.ProcessGroup | None
"""The processes that share the experts; None is all of them."""
LOCAL = ".local."


def count_processes(group: Group = None) -> int:
    """D; 1 where no processes were joined."""
    return dist.get_world_size(group) if dist.is_initialized() else 1


def number_of(group: Group = None) -> int:
    """This process's number in its group; 0 where no processes were joined."""
    return dist.get_rank(group) if dist.is_initialized() else 0


class AllToAll(torch.autograd.Function):
    """Block d of x (D, ...) goes to process d: the transpose of the processes' rows of blocks.

    It is its own inverse, so gradients travel back the same way.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, group: Group) -> Tensor:
        """x (D, ...) -> (D, ...), whose block d came from process d."""
        ctx.group = group
        received = torch.empty_like(x, memory_format=torch.contiguous_format)
        dist.all_to_all_single(received, x.contiguous(), group=group)
        return received

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, None]:
        """The same exchange of the gradients."""
        found: Tensor = AllToAll.apply(slopes[0], ctx.group)
        return found, None


class ParallelExperts(nn.Module):
    """This process's experts, which serve the tokens of all: in place of `Experts`.

    Rows (E, R, M) of its own tokens go out in blocks of E / D experts and come back computed.
    `bytes` is what one direction of the last call moved to other processes.

    local: E / D experts. group: the processes; where none were joined this is the only one.

    Example:
        >>> import torch
        >>> from quire.papers.gshard import Experts, ParallelExperts, Sent
        >>> part = ParallelExperts(Experts(8, 16, experts=4))
        >>> part(Sent(torch.randn(4, 5, 8))).shape
        torch.Size([4, 5, 8])
    """

    def __init__(self, local: Experts, group: Group = None) -> None:
        super().__init__()
        self.local = local
        self.group = group
        self.bytes = 0

    def forward(self, sent: Sent) -> Tensor:
        """Rows (E, R, M) -> the same shape. Raises ValueError for rows without slots."""
        x, number = sent.rows, count_processes(self.group)
        if number == 1:
            alone: Tensor = self.local(sent)
            return alone
        if sent.counts is not None:
            raise ValueError(
                "experts on several processes need a router with a capacity, such as Top2: "
                "what travels must have one shape"
            )
        experts, rows, width = x.shape
        blocks = x.view(number, experts // number, rows, width)
        self.bytes = x.numel() * x.element_size() * (number - 1) // number
        arrived: Tensor = AllToAll.apply(blocks, self.group)
        made = self.local(Sent(arrived.transpose(0, 1).reshape(experts // number, -1, width)))
        made = made.view(experts // number, number, rows, width).transpose(0, 1)
        returned: Tensor = AllToAll.apply(made, self.group)
        return returned.reshape(experts, rows, width)


def share_experts(model: nn.Module, group: Group = None) -> None:
    """Leave each process its part of the experts of every mixture in `model`, in place.

    All processes must hold the same weights, as after the same seed. Raises ValueError where the
    experts cannot be divided evenly, or are divided already.
    """
    number, rank = count_processes(group), number_of(group)
    for mixture in mixtures(model):
        whole = mixture.experts
        if not isinstance(whole, Experts):
            raise ValueError("the experts of this model are divided already")
        if mixture.number % number:
            raise ValueError(f"{mixture.number} experts cannot be shared by {number} processes")
        for name in ("inner", "outer"):
            part = getattr(whole, name).detach().chunk(number)[rank].clone()
            setattr(whole, name, nn.Parameter(part))
        mixture.experts = ParallelExperts(whole, group)


def average_gradients(model: nn.Module, group: Group = None) -> None:
    """The gradients of the mean loss over processes, from those of each process's own loss.

    What is replicated is averaged. An expert has seen the tokens of all processes and already has
    the sum: it is only divided.
    """
    number = count_processes(group)
    for name, parameter in model.named_parameters():
        if parameter.grad is None:
            # A process that asked nothing of it must still take part in the sum.
            parameter.grad = torch.zeros_like(parameter)
        if LOCAL not in f".{name}" and number > 1:
            dist.all_reduce(parameter.grad, group=group)
        parameter.grad /= number


def placements(model: nn.Module) -> dict[str, Any]:
    """DTensor's word for where each entry of the state of a divided model is: experts are
    Shard(0), all else is Replicate(). The names are those of the model in one piece."""
    from torch.distributed.tensor import Replicate, Shard

    return {
        name.replace(LOCAL, "."): Shard(0) if LOCAL in f".{name}" else Replicate()
        for name in model.state_dict()
    }


def distribute_state(model: nn.Module, mesh: Any) -> dict[str, Any]:
    """The state of a divided model as DTensors on `mesh`, with the names of the model in one piece.

    They share the model's memory. `torch.distributed.checkpoint` saves them and loads them into
    another number of processes; `whole_state` puts them together.
    """
    from torch.distributed.tensor import DTensor

    where = placements(model)
    return {
        whole: DTensor.from_local(value.detach(), mesh, [where[whole]], run_check=False)
        for name, value in model.state_dict().items()
        for whole in [name.replace(LOCAL, ".")]
    }


def whole_state(model: nn.Module, group: Group = None) -> dict[str, Tensor]:
    """A copy of the state of the model in one piece, gathered from a divided one.

    All processes call it.
    """
    number, state = count_processes(group), {}
    for name, value in model.state_dict().items():
        if LOCAL in f".{name}" and number > 1:
            parts = [torch.empty_like(value) for _ in range(number)]
            dist.all_gather(parts, value.contiguous(), group=group)
            value = torch.cat(parts)
        state[name.replace(LOCAL, ".")] = value.clone()
    return state


def load_whole(model: nn.Module, state: dict[str, Tensor], group: Group = None) -> None:
    """Give a divided model its part of a state in one piece, whatever number of processes wrote it.

    Raises RuntimeError for missing or other names, as `load_state_dict` does.
    """
    number, rank = count_processes(group), number_of(group)
    own = {}
    for name in model.state_dict():
        whole = name.replace(LOCAL, ".")
        if whole in state:
            is_part = LOCAL in f".{name}"
            own[name] = state[whole].chunk(number)[rank] if is_part else state[whole]
    model.load_state_dict(own)


def run_together(
    function: Callable[..., Any], processes: int, folder: Path, *arguments: Any
) -> list[Any]:
    """What `function(*arguments)` gives in each of some new processes that form one group (gloo).

    Args:
        function: Of a module, so that another process finds it; it gives tensors, numbers and text,
            in dicts and lists.
        processes: How many.
        folder: An empty one, where they meet.
        arguments: Of the function, the same in each.

    Raises RuntimeError where one of them fails.
    """
    context = multiprocessing.get_context("spawn")
    folder.mkdir(parents=True, exist_ok=True)
    started = [
        context.Process(target=_join, args=(function, rank, processes, str(folder), arguments))
        for rank in range(processes)
    ]
    try:
        for process in started:
            process.start()
        for process in started:
            process.join()
    finally:
        for process in started:
            if process.is_alive():
                process.terminate()
    failed = [rank for rank, process in enumerate(started) if process.exitcode]
    if failed:
        raise RuntimeError(f"process {failed[0]} of {processes} failed: see above")
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(processes)]


def _join(
    function: Callable[..., Any], rank: int, number: int, folder: str, arguments: tuple[Any, ...]
) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=number
    )
    try:
        torch.save(function(*arguments), Path(folder) / f"{rank}.pt")
    finally:
        dist.destroy_process_group()
