"""Networks of rules, and the policies that they are compared with."""

import pytest
import torch
from torch.nn.functional import conv2d, max_pool2d

from quire.papers.hebbian import (
    FROZEN,
    Form,
    Gait,
    HebbianPolicy,
    Normal,
    PixelEncoder,
    RecurrentPolicy,
    StaticPolicy,
    Uniform,
    drive,
    identity,
)
from quire.papers.hebbian.policy import weigh


def test_the_papers_networks_have_their_numbers():
    car = HebbianPolicy((648, 128, 64, 3), encoder=PixelEncoder())
    assert (car.draws, car.penalised, car.size) == (91_328, 456_640, 458_002)
    ant = HebbianPolicy((28, 128, 64, 8))
    assert (ant.draws, ant.penalised, ant.size) == (12_288, 61_440, 61_440)
    assert HebbianPolicy((28, 128, 64, 8), form=FROZEN).size == 0


@pytest.mark.parametrize("learns_from_action", [True, False])
def test_a_step_acts_with_old_weights_and_learns_from_the_same_activities(learns_from_action):
    policy = HebbianPolicy((3, 4, 2), squash=torch.sigmoid, learns_from_action=learns_from_action)
    first, second = policy.begin(torch.rand(5, policy.draws))
    x = torch.randn(5, 3)
    action, after = policy(x, (first, second))
    hidden = torch.einsum("bji,bi->bj", first, x).tanh()
    outputs = torch.einsum("bji,bi->bj", second, hidden)
    torch.testing.assert_close(action, outputs.sigmoid())
    seen = action if learns_from_action else outputs
    torch.testing.assert_close(after[0], policy.rules[0](x, hidden, first))
    torch.testing.assert_close(after[1], policy.rules[1](hidden, seen, second))
    kept = policy(x, (first, second), learn=False).state
    assert all(torch.equal(a, b) for a, b in zip(kept, (first, second), strict=True))


POLICIES = {
    "hebbian": lambda: HebbianPolicy((3, 4, 2)),
    "outside": lambda: HebbianPolicy((3, 4, 2), form=Form(constant="both", normalize=False)),
    "coevolved": lambda: HebbianPolicy((3, 4, 2), coevolved=True),
    "shared": lambda: HebbianPolicy((3, 4, 2), shared=True),
    "static": lambda: StaticPolicy((3, 4, 2)),
    "recurrent": lambda: RecurrentPolicy(3, 2, hidden=4),
    "gait": lambda: Gait(2),
}


@pytest.mark.parametrize("name", POLICIES)
def test_a_population_acts_as_its_members_do(name):
    policy = POLICIES[name]()
    genomes = torch.randn(4, policy.size)
    uniform, x = torch.rand(4, 6, policy.draws), torch.randn(2, 4, 6, 3)
    brain = policy.express(genomes[:, None])
    state = policy.begin(uniform, brain)
    together = []
    for seen in x:
        action, state = policy(seen, state, brain)
        together.append(action)
    for k in range(4):
        policy.load_genome(genomes[k])
        torch.testing.assert_close(policy.genome(), genomes[k])
        own = policy.begin(uniform[k])
        for seen, wanted in zip(x, together, strict=True):
            action, own = policy(seen[k], own)
            torch.testing.assert_close(action, wanted[k], rtol=1e-4, atol=1e-5)


def test_births_are_uniform_normal_or_evolved():
    uniform = torch.rand(500, 200)
    born = Uniform(0.1)(uniform)
    assert born.abs().max() < 0.1
    assert born.std() == pytest.approx(0.1 / 3**0.5, rel=0.02)
    born = Normal(0.3)(torch.cat([uniform.flatten(), torch.zeros(1)]))
    assert born.isfinite().all()
    assert born.std() == pytest.approx(0.3, rel=0.02)
    policy = HebbianPolicy((3, 2), coevolved=True)
    weights = policy.begin(torch.rand(4, policy.draws))[0]
    assert torch.equal(weights, policy.first[0].expand(4, 2, 3))
    assert policy.penalised == 30
    assert policy.size == 36


def test_lives_are_born_apart():
    policy = HebbianPolicy((3, 4, 2))
    first, second = (policy.begin(torch.rand(2, policy.draws)) for _ in range(2))
    assert not torch.equal(first[0][0], first[0][1])
    assert not torch.equal(first[0], second[0])


def test_shuffled_rules_stay_whole_and_in_their_layer():
    policy = HebbianPolicy((3, 4, 2), coevolved=True)
    genome = torch.randn(policy.size)
    other = policy.shuffled(genome, torch.Generator().manual_seed(0))
    before, after = policy.split(genome), policy.split(other)
    for name in before:
        a, b = before[name].flatten(1), after[name].flatten(1)
        if name.startswith("rules."):
            assert not torch.equal(a, b)
            assert sorted(map(tuple, a.T.tolist())) == sorted(map(tuple, b.T.tolist()))
        else:
            assert torch.equal(a, b)


def test_the_encoder_is_two_convolutions_for_each_life():
    encoder = PixelEncoder()
    images, first, second = torch.rand(2, 3, 3, 84, 84), *(
        torch.randn(2, 1, *p.shape) for p in (encoder.first, encoder.second)
    )  # fmt: skip
    found = encoder(images, (first, second))
    for k in range(2):
        x = max_pool2d(conv2d(images[k], first[k, 0]).tanh(), 2)
        assert x.shape[-1] == 41
        x = conv2d(x, second[k, 0], stride=2).tanh()
        assert x.shape[-1] == 19
        torch.testing.assert_close(found[k], max_pool2d(x, 2).flatten(1))
    assert encoder(images[0, 0]).shape == (648,)
    assert encoder(images[:0]).shape == (0, 3, 648)


def test_a_gait_is_a_sine_of_its_age():
    gait = Gait(2)
    age = gait.begin(torch.rand(1, 0))
    actions = []
    for _ in range(40):
        action, age = gait(torch.randn(1, 5), age)
        actions.append(action[0])
    amplitude, phase, offset = gait.shape.detach()
    pace = 2 * torch.pi / 30 * gait.pace.detach().exp()
    wanted = torch.tanh(offset + 2 * amplitude * torch.sin(pace * 39 + phase))
    torch.testing.assert_close(actions[-1].detach(), wanted)


def test_large_and_small_layers_are_weighed_alike():
    for inputs in (10, 500):
        weights, x = torch.randn(3, 20, inputs), torch.randn(3, inputs)
        wanted = torch.einsum("bji,bi->bj", weights, x)
        torch.testing.assert_close(weigh(weights, x), wanted, rtol=1e-4, atol=1e-4)


def test_actions_are_bounded_as_the_car_takes_them():
    action = drive(torch.tensor([[5.0, -9.0, 0.0]]))
    torch.testing.assert_close(action, torch.tensor([[0.9999, 0.0001, 0.5]]), rtol=0, atol=1e-4)
    assert identity(action) is action


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: HebbianPolicy((3,)), "two sizes or more"),
        (lambda: StaticPolicy((3, 0)), "two sizes or more, of 1 or more"),
        (lambda: RecurrentPolicy(3, 2, hidden=0), "of 1 or more"),
        (lambda: Gait(0), "a gait has actions"),
        (lambda: HebbianPolicy((3, 2)).express(torch.zeros(7)), "30 numbers, got 7"),
        (lambda: PixelEncoder()(torch.zeros(3, 96, 96)), r"images end in \(3, 84, 84\)"),
    ],
)
def test_what_does_not_fit_is_refused(call, said):
    with pytest.raises(ValueError, match=said) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_a_gradient_passes_through_a_life():
    """The rules are differentiable: an inner life of three steps, by central differences."""
    policy = HebbianPolicy((3, 4, 2)).double()
    uniform, x = torch.rand(5, policy.draws).double(), torch.randn(3, 5, 3).double()

    def loss(genome):
        brain = policy.express(genome)
        state, total = policy.begin(uniform, brain), 0
        for seen in x:
            action, state = policy(seen, state, brain)
            total = total + action.sum()
        return total

    genome = policy.genome().double().requires_grad_()
    along = torch.randn_like(genome)
    slope = (torch.autograd.grad(loss(genome), genome)[0] * along).sum()
    with torch.no_grad():
        both = loss(genome + 1e-6 * along), loss(genome - 1e-6 * along)
    assert float((both[0] - both[1]) / 2e-6) == pytest.approx(float(slope), rel=1e-5)
