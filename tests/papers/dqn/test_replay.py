"""The replay against episodes that are kept whole and rebuilt one transition at a time."""

import numpy as np
import pytest
import torch

from quire.papers.dqn import Lanes, Moment, Proportional, ReplayBuffer

GAMMA = 0.5


class Counting:
    """Frames that name their episode and step; some episodes end, others are cut."""

    name, actions, shape, high, repeat = "counting", 4, (1, 1, 2), 255.0, 1

    def reset(self, seed):
        self.generator = np.random.default_rng(seed)
        self.episode, self.step = int(self.generator.integers(256)), 0
        return self.see()

    def send(self, action):
        self.step += 1

    def receive(self):
        chance = self.generator.random()
        return Moment(self.see(), float(self.step), chance < 0.15, chance < 0.3)

    def see(self):
        return np.array([[[self.episode, self.step]]], np.uint8)


def fill(turns, *, lanes=3, stack=4, steps=1, capacity=60, sampling=None):
    """A buffer, and by row number what a naive one would say of it."""
    env = Lanes([Counting() for _ in range(lanes)], stack=stack, seed=7)
    buffer = ReplayBuffer(
        capacity, env.shape, lanes=lanes, stack=stack, steps=steps, gamma=GAMMA, sampling=sampling
    )
    generator, story = np.random.default_rng(0), []
    for _ in range(turns):
        frames, age, final = env.frames.copy(), env.age.copy(), env.final.copy()
        buffer.observe(frames, age, final)
        actions = generator.integers(4, size=lanes)
        turn = env.step(actions)
        buffer.record(actions, turn.rewards, turn.terminal)
        story += [
            (frames[k], age[k], final[k], actions[k], turn.rewards[k], turn.terminal[k])
            for k in range(lanes)
        ]
    buffer.observe(env.frames, env.age, env.final)
    story += [(env.frames[k].copy(), env.age[k], env.final[k], 0, 0, 0) for k in range(lanes)]
    return buffer, story


def rebuild(story, row, lanes, stack, steps):
    """(state, action, return, discount, next state) by walking along the lane."""

    def state(row):
        frames, at = [story[row][0]], row
        while len(frames) < stack:
            if story[at][1] > 0:
                at -= lanes
            frames.insert(0, story[at][0])
        return np.concatenate(frames)

    total, power, at = 0.0, 1.0, row
    for _ in range(steps):
        total += power * story[at][4]
        power *= GAMMA
        is_terminal = story[at][5]
        at += lanes
        if is_terminal:
            return state(row), story[row][3], total, 0.0, None
        if story[at][2]:
            break
    return state(row), story[row][3], total, power, state(at)


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize(("lanes", "stack"), [(1, 1), (1, 4), (3, 4), (4, 2)])
@pytest.mark.parametrize("turns", [9, 200])
def test_every_transition_is_that_of_the_episodes(turns, lanes, stack, steps):
    buffer, story = fill(turns, lanes=lanes, stack=stack, steps=steps)
    first, after = buffer.range()
    assert after == len(story) - steps * lanes
    assert after - first == (turns + 1 - steps) * lanes if turns == 9 else 60 // lanes * lanes
    rows = np.array([row for row in range(first, after) if not story[row][2]])
    batch = buffer.batch(rows)
    for k, row in enumerate(rows):
        state, action, total, discount, following = rebuild(story, row, lanes, stack, steps)
        assert np.array_equal(batch.states[k], state)
        assert int(batch.actions[k]) == action
        assert float(batch.rewards[k]) == pytest.approx(total)
        assert float(batch.discounts[k]) == pytest.approx(discount)
        if discount:
            assert np.array_equal(batch.next_states[k], following)


def test_draws_are_uniform_over_what_has_an_action():
    buffer, story = fill(200)
    first, after = buffer.range()
    allowed = [row for row in range(first, after) if not story[row][2]]
    assert len(allowed) < after - first  # some were cut
    rows = buffer.sample(20_000, torch.Generator().manual_seed(0)).rows
    found, counts = np.unique(rows, return_counts=True)
    assert found.tolist() == allowed
    assert counts.min() > 0.7 * 20_000 / len(allowed)
    assert counts.max() < 1.3 * 20_000 / len(allowed)


def test_the_state_seen_now_is_the_last_stack():
    buffer, story = fill(50)
    for lane in range(3):
        row = len(story) - 3 + lane
        assert np.array_equal(buffer.newest()[lane], rebuild(story, row, 3, 4, 0)[0])


def test_a_frame_is_stored_once_as_bytes():
    buffer = ReplayBuffer(1000, (1, 84, 84), stack=4)
    spare = 4 * 7056  # rows that complete the stack and the next frame of the oldest and newest
    assert buffer.frames.numel() * buffer.frames.element_size() == 1000 * 7056 + spare


def test_what_is_saved_comes_back():
    buffer, _ = fill(100)
    other = ReplayBuffer(60, (1, 1, 2), lanes=3, stack=4, gamma=GAMMA)
    other.load_state_dict(buffer.state_dict())
    other.observe(buffer.frames[buffer._newest_places(buffer.end - 3)].numpy(),
                  buffer.columns["age"][buffer._newest_places(buffer.end - 3)],
                  buffer.columns["final"][buffer._newest_places(buffer.end - 3)])  # fmt: skip
    draws = [b.sample(50, torch.Generator().manual_seed(1)) for b in (buffer, other)]
    assert all(np.array_equal(a, b) for a, b in zip(*draws, strict=True))


def test_priorities_are_kept_to():
    buffer, story = fill(200, steps=2, sampling=Proportional(alpha=1.0, beta=1.0))
    first, after = buffer.range()
    allowed = [row for row in range(first, after) if not story[row][2]]
    generator = torch.Generator().manual_seed(0)
    # Before any error every row has the same priority.
    batch = buffer.sample(20_000, generator)
    assert np.unique(batch.rows).tolist() == allowed
    assert torch.equal(batch.weights, torch.ones(20_000))
    errors = torch.arange(1.0, len(allowed) + 1)
    buffer.reprioritise(np.array(allowed), errors)
    batch = buffer.sample(40_000, generator)
    found, counts = np.unique(batch.rows, return_counts=True)
    expected = 40_000 * errors.numpy() / float(errors.sum())
    places = np.searchsorted(allowed, found)
    assert np.abs(counts - expected[places]).max() < 5 * np.sqrt(expected.max())
    # Full correction: weight times probability is the same for every row.
    assert np.ptp(batch.weights.numpy() * errors.numpy()[np.searchsorted(allowed, batch.rows)]) \
        == pytest.approx(0, abs=1e-4)  # fmt: skip


def test_priorities_follow_the_ring():
    """Rows that are gone are never drawn, however large their error was."""
    sampling = Proportional()
    buffer, _ = fill(30, sampling=sampling)
    buffer.reprioritise(np.arange(*buffer.range()), torch.full((60,), 1e6))
    for k in range(40):
        buffer.record([0] * 3, [0.0] * 3, [False] * 3)
        buffer.observe(np.zeros((3, 1, 1, 2), np.uint8), [k] * 3)
    first, after = buffer.range()
    rows = buffer.sample(500, torch.Generator().manual_seed(0)).rows
    assert first <= rows.min()
    assert rows.max() < after
    assert sampling._count == 60


def empty():
    return ReplayBuffer(10, (1, 2, 2))


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (
            lambda: ReplayBuffer(3, (1,), lanes=2),
            "two rows of each lane at least; got 3",
        ),
        (lambda: empty().sample(4, torch.Generator()), "no whole transition to draw yet"),
        (lambda: empty().record([0], [0], [False]), "nothing was observed"),
        (lambda: empty().observe(np.zeros((1, 2, 2)), [0]), r"got \(1, 2, 2\)"),
        (lambda: empty().rows(0, 3), "asked for 0 to 2"),
        (lambda: Proportional(alpha=-1), "at least 0, got -1"),
        (lambda: Proportional().draw(1, torch.Generator()), "no whole transition"),
    ],
)
def test_what_does_not_fit_is_refused(call, said):
    with pytest.raises(ValueError, match=said) as caught:
        call()
    assert "\n" not in str(caught.value)
