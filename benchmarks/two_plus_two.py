"""Races of two plus two: a panel of nets in one graph, against a loop over its seeds.

The peer of the first race is what one writes first: `nn.Sequential` and Adam, one net after the
other. That of the second is scikit-learn's `MLPRegressor` on the same table, by the time of a fit;
it must say 4 as well. Each race begins with a parity test; where it fails, no time is reported. Run
it with `quire bench two_plus_two`, or alone: `python benchmarks/two_plus_two.py`.
"""

import json
import warnings
from typing import Any

import torch
from torch import Tensor, nn

from quire.lab.bench import compare
from quire.papers.two_plus_two import (
    Lesson,
    list_cells,
    make_lesson,
    measure_losses,
    only,
    witnesses,
)
from quire.papers.two_plus_two.nets import Net

SEEDS, STEPS, FIT_STEPS, RATE = 10, 50, 500, 3e-3
PAIRS = list_cells()
SHOWN = ~only(2, 2)(PAIRS)
QUESTION = torch.tensor([[2, 2]])


def main() -> dict[str, Any]:
    """All races."""
    return {"races": [panel_race("mlp_reg"), panel_race("mlp_onehot"), fit_race()]}


def make_panel(name: str, seeds: int) -> tuple[Net, Lesson]:
    """A panel with its lesson: every cell but 2 + 2."""
    net = witnesses()[name].swear_in(seeds, generator=torch.Generator().manual_seed(0))
    assert isinstance(net, Net)
    return net, make_lesson(SHOWN.expand(seeds, -1), PAIRS)


def train_panel(net: Net, lesson: Lesson, steps: int) -> None:
    """Steps of Adam for all members at once."""
    optimizer = torch.optim.Adam(net.parameters(), lr=RATE, fused=True)
    for _ in range(steps):
        optimizer.zero_grad()
        measure_losses(net, lesson).sum().backward()
        optimizer.step()


def make_alone(net: Net, member: int) -> nn.Sequential:
    """A member as the plain layers of torch."""
    layers: list[nn.Module] = []
    for part in net.body.children():
        if not hasattr(part, "weight"):
            layers.append(nn.ReLU())
            continue
        layer = nn.Linear(*part.weight.shape[1:])
        layer.weight.data = part.weight[member].detach().T.clone()
        layer.bias.data = part.bias[member, 0].detach().clone()
        layers.append(layer)
    return nn.Sequential(*layers)


def train_alone(name: str, net: nn.Module, steps: int) -> None:
    """The same steps of one net; its inputs are made once."""
    optimizer = torch.optim.Adam(net.parameters(), lr=RATE, fused=True)
    sums = PAIRS[SHOWN].sum(-1)
    x = read(name, PAIRS[SHOWN])
    for _ in range(steps):
        optimizer.zero_grad()
        out = net(x)
        if name == "mlp_reg":
            loss = nn.functional.mse_loss(out[:, 0], sums / 10)
        else:
            loss = nn.functional.cross_entropy(out, sums)
        loss.backward()
        optimizer.step()


def read(name: str, pairs: Tensor) -> Tensor:
    """Pairs as the net reads them."""
    if name == "mlp_reg":
        return pairs / 10
    return nn.functional.one_hot(pairs, 10).flatten(-2).float()


def panel_race(name: str) -> dict[str, Any]:
    """Ten seeds of 50 updates on the table: in one graph, and in a loop."""
    net, lesson = make_panel(name, SEEDS)
    loop = [make_alone(net, member) for member in range(SEEDS)]

    def ours() -> None:
        train_panel(net, lesson, STEPS)

    def peer() -> None:
        for each in loop:
            train_alone(name, each, STEPS)

    ours(), peer()
    with torch.no_grad():
        x = read(name, PAIRS)
        found = net(PAIRS) / (10 if name == "mlp_reg" else 1)
        alone = torch.stack([each(x) for each in loop])
        alone = alone[..., 0] if name == "mlp_reg" else alone
        difference = float((found - alone).abs().max() / alone.abs().max())
    result: dict[str, Any] = {
        "name": f"{SEEDS} seeds of {name}, whole batches of 99, against a loop over seeds",
        "unit": "seeds * steps/s",
        "goal": 4.0,
        "parity": difference <= 1e-3,
        "parity_test": f"after {STEPS} updates on copied weights outputs differ by "
        f"{difference:.1e} of the largest at most",
    }
    if not result["parity"]:
        return result
    return result | compare({"ours": ours, "peer": peer}, SEEDS * STEPS, repeats=7)


def fit_race() -> dict[str, Any]:
    """Ten regressors of 64 and 64 hidden units, 500 updates each, against scikit-learn's."""
    from sklearn.neural_network import MLPRegressor

    x, y = (PAIRS[SHOWN] / 10).numpy(), (PAIRS[SHOWN].sum(-1) / 10).numpy()
    said: dict[str, list[float]] = {}

    def ours() -> None:
        net, lesson = make_panel("mlp_reg", SEEDS)
        train_panel(net, lesson, FIT_STEPS)
        with torch.no_grad():
            said["ours"] = net(QUESTION)[:, 0].tolist()

    def peer() -> None:
        said["peer"] = []
        for seed in range(SEEDS):
            net = MLPRegressor(
                hidden_layer_sizes=(64, 64), alpha=0.0, batch_size=len(x), learning_rate_init=RATE,
                max_iter=FIT_STEPS, tol=0.0, n_iter_no_change=FIT_STEPS, random_state=seed,
            ).fit(x, y)  # fmt: skip
            said["peer"].append(10 * float(net.predict(QUESTION.numpy() / 10)[0]))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "has not converged": the steps are the same on purpose
        ours(), peer()
        fours = {name: sum(round(v) == 4 for v in values) for name, values in said.items()}
        result: dict[str, Any] = {
            "name": f"{SEEDS} fits of {FIT_STEPS} updates, against scikit-learn's MLPRegressor",
            "unit": "fits/s",
            "goal": 1.0,
            "parity": min(fours.values()) >= 8,
            "parity_test": f"of {SEEDS} fits {fours['ours']} and {fours['peer']} say that 2 + 2 "
            "is 4",
        }
        if not result["parity"]:
            return result
        return result | compare({"ours": ours, "peer": peer}, SEEDS, repeats=5)


if __name__ == "__main__":
    print(json.dumps(main(), indent=1))
