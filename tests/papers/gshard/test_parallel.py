"""One process against two and four, over gloo. The four are started once."""

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import nn

from quire.papers.gshard import (
    AllToAll,
    Dropless,
    MixtureOfExperts,
    ParallelExperts,
    Top2,
    average_gradients,
    distribute_state,
    load_whole,
    placements,
    run_together,
    share_experts,
    side,
    whole_state,
)


def make_model():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(6, 8), MixtureOfExperts(8, 12, 8, router=Top2(factor=0.8)), nn.Linear(8, 3),
        MixtureOfExperts(3, 5, 4),
    ).double().eval()  # fmt: skip


def make_batch():
    generator = torch.Generator().manual_seed(1)
    return torch.randn(4, 10, 6, dtype=torch.float64, generator=generator)


def loss_of(model, x):
    return model(x).square().mean() + 0.01 * side(model)["balance"].sum()


def one_process():
    model, x = make_model(), make_batch()
    loss_of(model, x).backward()
    gradients = {name: p.grad for name, p in model.named_parameters()}
    return model(x).detach(), gradients, model.state_dict()


def check(group, mesh, folder):
    """A step of a model that is divided over `group`."""
    rank, number = dist.get_rank(group), dist.get_world_size(group)
    model, x = make_model(), make_batch()
    share_experts(model, group)
    own = x.chunk(number)[rank]
    loss_of(model, own).backward()
    average_gradients(model, group)
    found = {}
    for name, parameter in model.named_parameters():
        whole = [torch.empty_like(parameter) for _ in range(number)]
        dist.all_gather(whole, parameter.grad, group=group)
        found[name] = torch.cat(whole) if ".local." in name else whole[-1]
    with torch.no_grad():
        y = model(own)
    moved = [m.bytes for m in model.modules() if isinstance(m, ParallelExperts)]
    state = whole_state(model, group)
    result = {"y": y, "gradients": found, "state": state, "bytes": moved}
    # Another number of processes reads what these wrote.
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 1
    load_whole(model, state, group)
    result["again"] = whole_state(model, group)
    spread = distribute_state(model, mesh)
    result["full"] = {name: value.full_tensor() for name, value in spread.items()}
    result["placements"] = {name: repr(value) for name, value in placements(model).items()}
    if folder is not None:  # save here, load there
        import torch.distributed.checkpoint as dcp

        path = Path(folder) / "checkpoint"
        if number == 4:
            dcp.save(spread, checkpoint_id=path, process_group=group)
        else:
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter.zero_()
            dcp.load(spread, checkpoint_id=path, process_group=group)
            result["loaded"] = whole_state(model, group)
    return result


def work(folder):
    from torch.distributed.device_mesh import init_device_mesh

    four = init_device_mesh("cpu", (4,))
    halves = init_device_mesh("cpu", (2, 2), mesh_dim_names=("half", "part"))
    rank = dist.get_rank()
    part = halves["part"]
    result = {"4": check(None, four, folder)}
    dist.barrier()
    result["2"] = check(part.get_group(), part, folder if rank < 2 else None)
    x = torch.arange(8.0).view(4, 2) + 100 * rank
    x.requires_grad_()
    y = AllToAll.apply(x, None)
    (y * (rank + 1)).sum().backward()
    result["moved"], result["slope"] = y.detach(), x.grad
    messages = []
    model = nn.Sequential(MixtureOfExperts(8, 4, 6, router=Dropless()))
    for attempt in (
        lambda: share_experts(model),
        lambda: ParallelExperts(model[0].experts)(model[0].router(x.new_zeros(1, 2, 6)).send(
            x.new_zeros(1, 2, 8))),
    ):  # fmt: skip
        try:
            attempt()
        except ValueError as error:
            messages.append(str(error))
    result["messages"] = messages
    return result


@pytest.fixture(scope="module")
def four(tmp_path_factory):
    folder = tmp_path_factory.mktemp("together")
    return run_together(work, 4, folder, str(folder))


@pytest.mark.parametrize("number", [2, 4])
def test_several_processes_are_one(four, number):
    y, gradients, state = one_process()
    found = [result[str(number)] for result in four[:number]]
    torch.testing.assert_close(torch.cat([each["y"] for each in found]), y)
    for each in found:
        for name, gradient in each["gradients"].items():
            torch.testing.assert_close(gradient, gradients[name.replace(".local.", ".")])
        for kind in ("state", "again", "full"):
            torch.testing.assert_close(each[kind], dict(state), rtol=0, atol=0)


def test_a_checkpoint_of_four_processes_is_read_by_two(four):
    state = one_process()[2]
    for each in four[:2]:
        torch.testing.assert_close(each["2"]["loaded"], dict(state), rtol=0, atol=0)


def test_experts_are_sharded_and_all_else_replicated(four):
    found = four[0]["4"]["placements"]
    assert found["1.experts.inner"] == "Shard(dim=0)"
    assert found["1.gate.weight"] == found["0.weight"] == "Replicate()"


def test_bytes_are_those_of_the_slots(four):
    """Gl E C M numbers a direction, of which 1 / D stay: 2 x tokens x M x factor."""
    assert four[0]["4"]["bytes"] == [8 * (8 * 2 * 8) * 3 // 4, 8 * (4 * 5 * 3) * 3 // 4]


def test_all_to_all_transposes_blocks_and_its_gradient_does_too(four):
    x = torch.stack([torch.arange(8.0).view(4, 2) + 100 * rank for rank in range(4)])
    y = torch.stack([result["moved"] for result in four])
    torch.testing.assert_close(y, x.transpose(0, 1))
    slope = torch.stack([result["slope"] for result in four])
    torch.testing.assert_close(slope, torch.arange(1.0, 5)[None, :, None].expand(4, 4, 2))


def test_what_cannot_be_shared_is_refused(four):
    assert four[0]["messages"] == [
        "6 experts cannot be shared by 4 processes",
        "experts on several processes need a router with a capacity, such as Top2: "
        "what travels must have one shape",
    ]


def test_one_process_needs_no_group():
    y, gradients, state = one_process()
    model = make_model()
    share_experts(model)
    torch.testing.assert_close(model(make_batch()), y, rtol=0, atol=0)
    loss_of(model, make_batch()).backward()
    average_gradients(model)
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter.grad, gradients[name.replace(".local.", ".")])
    assert whole_state(model).keys() == state.keys()
    load_whole(model, {name: value + 1 for name, value in state.items()})
    assert torch.equal(whole_state(model)["0.bias"], state["0.bias"] + 1)
