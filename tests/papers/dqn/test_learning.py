"""Targets, losses, RMSProp and networks by hand, and the whole algorithm on a chain."""

import copy
import io
from dataclasses import replace

import numpy as np
import pytest
import torch

from quire.papers.dqn import (
    DQN,
    NATURE_2015,
    NIPS_2013,
    Batch,
    ConvolutionalNetwork,
    Dueling,
    Lanes,
    LinearNetwork,
    PatchConvolution,
    Proportional,
    RMSProp,
    VectorNetwork,
    best_value,
    choose_network,
    double_value,
    make,
    network_2013,
    network_2015,
    small_network,
    td_errors,
    td_loss,
)
from quire.papers.dqn.experiments.chain import Chain, optimal_values

GAMMA = 0.9


def on_chain(**options):
    """An agent on a chain of one-hot states with a linear network: a table of values."""
    setting = replace(
        NIPS_2013, gamma=GAMMA, fall=1, epsilon=1.0, warm_up=10**9, replay=1000,
        **options.pop("setting", {}),
    )  # fmt: skip
    env = Lanes([Chain(5, longest=options.pop("longest", 7))], seed=1)
    torch.manual_seed(0)
    network = LinearNetwork((5,), 2, high=None)
    optimizer = torch.optim.SGD(network.parameters(), 0.5)
    return DQN(env, setting, network=network, optimizer=optimizer, **options)


@pytest.mark.parametrize("bootstrap", [best_value, double_value])
@pytest.mark.parametrize("target_every", [None, 10])
@pytest.mark.parametrize("returns", [1, 2])
def test_full_batches_on_a_chain_find_what_value_iteration_finds(bootstrap, target_every, returns):
    agent = on_chain(
        bootstrap=bootstrap, setting={"target_every": target_every, "returns": returns}
    )
    agent.learn(400)
    first, after = agent.memory.range()
    rows = np.arange(first, after)
    batch = agent.memory.batch(rows[~agent.memory.columns["final"][rows]])
    cut = int((agent.memory.columns["final"][rows]).sum())
    assert cut > 5  # most episodes of a random walk are cut before they arrive
    for k in range(700):
        errors = agent.errors(batch)
        loss = td_loss(errors).mean() * 4
        agent.optimizer.zero_grad()
        loss.backward()
        agent.optimizer.step()
        if target_every and k % target_every == 0:
            agent.target.load_state_dict(agent.network.state_dict())
    found = agent.network(torch.eye(5)).detach()
    expected = optimal_values(5, GAMMA)
    assert expected[0, 1] == pytest.approx(GAMMA**4)
    if returns == 1:
        assert torch.allclose(found, torch.from_numpy(expected).float(), atol=2e-3)
    else:  # the second step is the random walk's, so that values are below the optimal ones
        assert (found <= torch.from_numpy(expected).float() + 2e-3).all()
        assert float(found[4, 1]) == pytest.approx(1.0, abs=2e-3)


def test_a_cut_is_not_an_end():
    """Episodes of two steps that never end: every value is the sum of a geometric series."""

    class Endless(Chain):
        def receive(self):
            moment = super().receive()
            return moment._replace(reward=1.0, terminal=False, over=moment.over)

    env = Lanes([Endless(5, longest=2)], seed=0)
    network = LinearNetwork((5,), 2, high=None)
    setting = replace(NIPS_2013, gamma=GAMMA, warm_up=10**9, fall=1, epsilon=1.0, replay=100)
    agent = DQN(env, setting, network=network, optimizer=torch.optim.SGD(network.parameters(), 0.3))
    agent.learn(60)
    rows = np.arange(*agent.memory.range())
    batch = agent.memory.batch(rows[~agent.memory.columns["final"][rows]])
    assert (batch.discounts == GAMMA).all()
    for _ in range(400):
        loss = td_loss(agent.errors(batch)).mean() * 2
        agent.optimizer.zero_grad()
        loss.backward()
        agent.optimizer.step()
    seen = network(batch.states).gather(1, batch.actions[:, None])
    assert torch.allclose(seen, torch.tensor(1 / (1 - GAMMA)), atol=0.05)


def test_targets_by_hand():
    """One row of each kind: going on, terminal, and a reward that is discounted."""
    agent = on_chain()
    with torch.no_grad():
        agent.network.layer.weight.copy_(torch.arange(10.0).view(2, 5))
        agent.network.layer.bias.zero_()
    states, after = torch.eye(5)[[0, 1, 2]], torch.eye(5)[[1, 2, 3]]
    batch = Batch(
        states, torch.tensor([0, 1, 1]), torch.tensor([0.5, 1.0, 0.0]),
        torch.tensor([GAMMA, 0.0, GAMMA]), after, None, np.arange(3),
    )  # fmt: skip
    # Q(s, 0) = s and Q(s, 1) = 5 + s.
    expected = torch.tensor([0.5 + 0.9 * 6 - 0, 1.0 - 6, 0.9 * 8 - 7])
    assert torch.allclose(agent.errors(batch), expected)


def test_no_gradient_flows_through_the_target():
    agent = on_chain()
    agent.learn(50)
    batch = agent.memory.batch(np.arange(8))
    loss = td_loss(agent.errors(batch)).sum()
    (ours,) = torch.autograd.grad(loss, agent.network.layer.weight)
    with torch.no_grad():
        targets = batch.rewards + batch.discounts * agent.network(batch.next_states).amax(-1)
    values = agent.network(batch.states)[range(8), batch.actions]
    (slow,) = torch.autograd.grad(
        0.5 * (targets - values).square().sum(), agent.network.layer.weight
    )
    torch.testing.assert_close(ours, slow)


def test_double_takes_the_other_network_s_choice():
    online = lambda states: torch.tensor([[1.0, 2.0], [5.0, 0.0]])
    target = lambda states: torch.tensor([[7.0, 3.0], [4.0, 9.0]])
    states = torch.zeros(2, 1)
    assert best_value(online, target, states).tolist() == [7, 9]
    assert double_value(online, target, states).tolist() == [3, 4]


def test_the_clipped_loss_has_the_clipped_error_as_its_gradient():
    values = torch.linspace(-4, 4, 41)[:, None].repeat(1, 2).requires_grad_()
    actions, targets = torch.arange(41) % 2, torch.zeros(41)
    for clipped in (False, True):
        errors = td_errors(values, actions, targets)
        (slope,) = torch.autograd.grad(td_loss(errors, clipped=clipped).sum(), values)
        expected = torch.zeros(41, 2)
        expected[range(41), actions] = -(errors.clamp(-1, 1) if clipped else errors).detach()
        torch.testing.assert_close(slope, expected)


def test_an_update_goes_down_the_gradient_of_the_loss():
    """The gradient that is put into the network against automatic differentiation of the loss."""
    for clipped in (False, True):
        setting = replace(NIPS_2013, warm_up=10**9, replay=200, clipped=clipped, fall=1)
        agent = DQN("catch", setting, sampling=Proportional(alpha=0.9))
        agent.learn(100)
        agent.memory.reprioritise(np.arange(90), 5 * torch.rand(90))
        with torch.no_grad():
            agent.network.head[2].bias.add_(2.0)  # some errors are above 1
        state = agent.generator.get_state()
        batch = agent.memory.sample(32, agent.generator)
        loss = (td_loss(agent.errors(batch), clipped=clipped) * batch.weights).sum()
        expected = torch.autograd.grad(loss, list(agent.network.parameters()))
        agent.generator.set_state(state)
        agent.optimizer = torch.optim.SGD(agent.network.parameters(), 0.0)
        said = agent.update()
        for weight, slope in zip(agent.network.parameters(), expected, strict=True):
            torch.testing.assert_close(weight.grad, slope, rtol=1e-4, atol=1e-6)
        plain = td_loss(agent.errors(batch), clipped=clipped).mean()
        assert float(said) == pytest.approx(float(plain.detach()), rel=1e-5)


def test_a_convolution_by_patches_is_a_convolution():
    for shape, size, stride in (((4, 10, 10), 3, 1), ((2, 9, 7), 4, 2), ((1, 5, 5), 5, 3)):
        torch.manual_seed(0)
        ours = PatchConvolution(shape, 6, size, stride).double()
        images = torch.randn(3, *shape, dtype=torch.float64, requires_grad=True)
        expected = torch.nn.functional.conv2d(images, ours.weight, ours.bias, stride)
        torch.testing.assert_close(ours(images), expected)
        leaves = [images, ours.weight, ours.bias]
        slopes = [torch.autograd.grad(x.sin().sum(), leaves) for x in (ours(images), expected)]
        for a, b in zip(*slopes, strict=True):
            torch.testing.assert_close(a, b)


def test_without_a_future_it_is_regression_on_the_reward():
    agent = DQN("catch", replace(NIPS_2013, gamma=0.0, warm_up=10**9, replay=100))
    agent.learn(60)
    batch = agent.memory.batch(np.arange(20))
    values = agent.network(batch.states)[range(20), batch.actions]
    torch.testing.assert_close(agent.errors(batch), batch.rewards - values)


@pytest.mark.parametrize("centred", [False, True])
def test_rmsprop_is_its_formula(centred):
    generator = torch.Generator().manual_seed(0)
    weight = torch.nn.Parameter(torch.randn(3, 4, generator=generator, dtype=torch.float64))
    idle = torch.nn.Parameter(torch.ones(2))
    optimizer = RMSProp([weight, idle], 0.1, decay=0.9, floor=0.02, centred=centred)
    w, s, m = weight.detach().clone(), torch.zeros(3, 4), torch.zeros(3, 4)
    for _ in range(5):
        slope = torch.randn(3, 4, generator=generator, dtype=torch.float64)
        weight.grad = slope.clone()
        optimizer.step()
        s = 0.9 * s + 0.1 * slope**2
        m = 0.9 * m + 0.1 * slope
        w = w - 0.1 * slope / (s - (m**2 if centred else 0) + 0.02).sqrt()
    torch.testing.assert_close(weight.detach(), w)
    assert torch.equal(idle, torch.ones(2))
    assert "mean" not in optimizer.state[weight] or centred


def test_rmsprop_resumes():
    def train(steps, weight, optimizer):
        for k in range(steps):
            weight.grad = torch.full_like(weight, 0.3 + 0.1 * k)
            optimizer.step()

    whole = torch.nn.Parameter(torch.ones(2))
    optimizer = RMSProp([whole], centred=True)
    train(3, whole, optimizer)
    part = torch.nn.Parameter(whole.detach().clone())
    other = RMSProp([part], centred=True)
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    train(2, whole, optimizer)
    train(2, part, other)
    assert torch.equal(whole, part)


def test_epsilon_falls_as_the_papers_say():
    at = [NIPS_2013.epsilon_at(step) for step in (0, 500_000, 1_000_000, 5_000_000)]
    assert at == pytest.approx([1, 0.55, 0.1, 0.1])
    at = [NATURE_2015.epsilon_at(step) for step in (0, 50_000, 550_000, 1_050_000, 10**7)]
    assert at == pytest.approx([1, 1, 0.55, 0.1, 0.1])


def test_rewards_count_by_their_sign():
    class Rich(Chain):
        def receive(self):
            moment = super().receive()
            return moment._replace(reward=[-7.0, 0.0, 400.0][self.step % 3])

    def rewards(**options):
        env = Lanes([Rich(5, longest=9)])
        agent = DQN(env, replace(NIPS_2013, warm_up=10**9, replay=100, **options))
        agent.learn(9)
        return set(agent.memory.columns["reward"][:9].tolist())

    assert rewards() == {-1.0, 0.0, 1.0}
    assert rewards(sign_rewards=False) == {-7.0, 0.0, 400.0}


@pytest.mark.parametrize(("lanes", "every"), [(1, 1), (1, 4), (4, 4), (4, 1), (3, 2)])
def test_updates_keep_to_their_ratio(lanes, every):
    env = make("catch", lanes)
    agent = DQN(env, replace(NIPS_2013, warm_up=20, update_every=every, replay=500))
    agent.learn(81)
    assert agent.updates == (agent.steps - 20) // every
    assert agent.frames == agent.steps


def test_a_target_network_is_copied_when_it_is_due():
    agent = DQN("catch", replace(NIPS_2013, warm_up=10, replay=500, target_every=4,
                                 learning_rate=1e-2))  # fmt: skip
    same = lambda: all(map(torch.equal, agent.network.parameters(), agent.target.parameters()))
    assert agent.target is not agent.network
    history = []
    while agent.updates < 9:
        agent.step()
        history.append((agent.updates, same()))
    expected = [(updates, updates % 4 == 0) for updates, _ in history]
    assert history == expected
    plain = DQN("catch")
    assert plain.target is plain.network


# Networks


def count(network):
    return sum(weight.numel() for weight in network.parameters())


def test_sizes_of_the_papers_networks():
    assert count(network_2013((4, 84, 84), 4)) == 677_172
    assert count(network_2015((4, 84, 84), 4)) == 1_686_180
    frames = torch.zeros(1, 4, 84, 84, dtype=torch.uint8)
    sizes = []
    network = network_2013((4, 84, 84), 4)
    for layer in network.body:
        layer.register_forward_hook(lambda module, x, out: sizes.append(tuple(out.shape[1:])))
    network(frames)
    assert sizes[0] == (16, 20, 20)
    assert sizes[2] == (32, 9, 9)
    assert sizes[-1] == (2592,)


def seen_by_first_layer(network, states):
    found = []
    kinds = torch.nn.Conv2d | torch.nn.Linear | PatchConvolution
    first = next(m for m in network.modules() if isinstance(m, kinds))
    first.register_forward_hook(lambda module, x, out: found.append(x[0]))
    network(states)
    return found[0]


@pytest.mark.parametrize("high", [255.0, 1.0])
def test_what_the_network_sees_is_from_zero_to_one(high):
    frames = torch.randint(int(high) + 1, (8, 4, 84, 84), dtype=torch.uint8)
    networks = [
        LinearNetwork((4, 84, 84), 3, high=high), ConvolutionalNetwork((4, 84, 84), 3, high=high)
    ]  # fmt: skip
    for network in networks:
        seen = seen_by_first_layer(network, frames)
        assert float(seen.min()) == 0
        assert float(seen.max()) == 1
        # Scaled twice they would come as numbers, which is refused.
        with pytest.raises(ValueError, match="scaled here and only here; got float32"):
            network(frames.float() / high)


def test_dueling_advantages_have_no_mean():
    torch.manual_seed(0)
    head, features = Dueling(6, 8, 3), torch.randn(5, 6)
    torch.testing.assert_close(head(features).mean(-1), head.value(features)[:, 0])
    network = small_network((4, 10, 10), 3, head=Dueling)
    assert network(torch.ones(2, 4, 10, 10, dtype=torch.uint8)).shape == (2, 3)


def test_a_network_is_chosen_by_the_frames():
    assert isinstance(choose_network((4,), 2, None), VectorNetwork)
    assert choose_network((4, 10, 10), 3, 1.0).head[0].out_features == 128
    assert choose_network((4, 84, 84), 3, 255.0).head[0].out_features == 256
    with pytest.raises(ValueError, match="give one with `network=`"):
        choose_network((3, 4, 4), 2, None)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: RMSProp([torch.nn.Parameter(torch.ones(1))], -1.0), "must be positive"),
        (lambda: ConvolutionalNetwork((4, 10, 10), 3), "too small for"),
        (lambda: small_network((4, 10, 10), 3)(torch.ones(2, 3, 10, 10)), r"got \(2, 3, 10, 10\)"),
        (lambda: VectorNetwork(4, 2)(torch.ones(2, 5)), r"states are \(B, 4\)"),
    ],
)
def test_what_does_not_fit_is_refused(call, said):
    with pytest.raises(ValueError, match=said) as caught:
        call()
    assert "\n" not in str(caught.value)


# The agent


def test_it_learns_to_catch():
    setting = replace(NIPS_2013, warm_up=100, replay=2000, fall=1000, learning_rate=1e-3)
    agent = DQN(make("catch", 2, seed=3), setting, seed=3)
    agent.learn(2500)
    agent.env.ended.clear()
    agent.setting = replace(setting, warm_up=10**9, epsilon=0.0, fall=1)
    agent.learn(500)
    assert np.mean(agent.env.ended) > 0.8


@pytest.mark.parametrize("sampling", [False, True])
def test_a_saved_agent_goes_on_as_it_would_have(sampling):
    def begin():
        setting = replace(NIPS_2013, warm_up=20, replay=60, target_every=5, returns=2, fall=100)
        return DQN(make("catch", 2, seed=1), setting, seed=1,
                   sampling=Proportional() if sampling else None)  # fmt: skip

    whole, other = begin(), begin()
    whole.learn(81)
    state, memory = whole.state_dict(), whole.memory.state_dict()
    state = torch.load(saved(state), weights_only=True)
    other.load_state_dict(state)
    other.memory.load_state_dict(memory)
    whole.learn(40)
    other.learn(40)
    assert whole.updates == other.updates
    for a, b in zip(whole.network.parameters(), other.network.parameters(), strict=True):
        assert torch.equal(a, b)
    assert whole.env.ended == other.env.ended


def saved(state):
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return file
