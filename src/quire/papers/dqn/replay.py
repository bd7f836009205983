"""Experience replay: frames are stored once, stacks and next states are built when drawn.

N lanes, S frames in a state, B minibatch, (C, H, W) a frame. A row is a frame with the action that
was taken there, its reward and whether that was terminal; row r of a lane is followed by row r + N.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from quire.papers.dqn.priorities import Proportional

Rows = NDArray[np.int64]


class Batch(NamedTuple):
    """A minibatch of transitions; the target is reward + discount times the next state's value."""

    states: Tensor
    """(B, S * C, H, W), or (B, S * D)."""
    actions: Tensor
    """(B,)."""
    rewards: Tensor
    """(B,), the discounted sum over the steps of a transition."""
    discounts: Tensor
    """(B,), gamma to the power of these steps; 0 where the transition was terminal."""
    next_states: Tensor
    """As `states`; of no meaning where the discount is 0."""
    weights: Tensor | None
    """(B,), of the losses; None under uniform draws."""
    rows: Rows
    """(B,), which rows they are."""


class ReplayBuffer:
    """The newest `capacity` rows of N lanes that move in lock-step.

    `observe` puts the frames that are seen now, `record` what was done about them. A row can be
    drawn once its next frame is there; the last frame of an episode that was cut has no action and
    is never drawn. Stacks repeat an episode's first frame and never reach across its begin.

    Frames lie on `device` in their own type: 84 x 84 bytes a frame of Atari, 7.06 GB a million.

    Args:
        capacity: Rows, over all lanes.
        shape: Of a frame.
        lanes: N.
        stack: S.
        steps: n, rows that a transition spans; more than 1 are n-step returns.
        gamma: Discount of a step.
        dtype: Of the frames.
        device: Where they lie.
        sampling: Draws by priority; None draws uniformly.

    Raises MemoryError where the frames do not fit, ValueError for less than two rows of a lane, and
    in `sample` where there is no whole transition yet.

    Example:
        >>> import numpy as np
        >>> from quire.papers.dqn import ReplayBuffer
        >>> buffer = ReplayBuffer(100, (1, 2, 2), stack=2)
        >>> for k in range(4):
        ...     buffer.observe(np.full((1, 1, 2, 2), k, np.uint8), age=[k])
        ...     if k < 3:
        ...         buffer.record(actions=[k], rewards=[1.0], terminal=[k == 2])
        >>> batch = buffer.sample(2, torch.Generator().manual_seed(0))
        >>> batch.states.shape, batch.states.dtype
        (torch.Size([2, 2, 2, 2]), torch.uint8)
    """

    def __init__(
        self,
        capacity: int,
        shape: tuple[int, ...],
        *,
        lanes: int = 1,
        stack: int = 1,
        steps: int = 1,
        gamma: float = 0.99,
        dtype: Any = np.uint8,
        device: torch.device | str = "cpu",
        sampling: Proportional | None = None,
    ) -> None:
        if min(lanes, stack, steps) < 1 or capacity < 2 * lanes:
            raise ValueError(f"a replay buffer holds two rows of each lane at least; got "
                             f"{capacity} rows for {lanes} lanes")  # fmt: skip
        # Rows that only complete a stack or a next state come on top of the capacity.
        self.capacity = (capacity // lanes) * lanes
        self.size = self.capacity + (stack - 1 + steps) * lanes
        self.shape, self.lanes, self.stack = shape, lanes, stack
        self.steps, self.gamma, self.sampling = steps, gamma, sampling
        kind = torch.from_numpy(np.zeros(0, dtype)).dtype
        try:
            self.frames = torch.empty(self.size, *shape, dtype=kind, device=device)
        except RuntimeError:
            size = self.size * int(np.prod(shape)) * kind.itemsize / 1e9
            raise MemoryError(f"a replay of {capacity:,} rows needs {size:.1f} GB of memory; "
                              "take a smaller one") from None  # fmt: skip
        # NumPy copies whole rows, several times as fast as torch's index on a CPU.
        self._host = self.frames.numpy() if self.frames.device.type == "cpu" else None
        self.columns = np.zeros(self.size, ROW)
        self.end = 0
        """The number that the next row gets; row r lies at place r modulo `size`."""
        self.is_open = False
        """Whether the newest rows still wait for `record`."""
        self._is_admitted = False
        if sampling is not None:
            sampling.begin(self.size)

    def __len__(self) -> int:
        """Rows that hold something, at most `size`."""
        return min(self.end, self.size)

    # Writing

    def observe(self, frames: NDArray[Any], age: ArrayLike, final: ArrayLike = False) -> None:
        """Add a row in each lane: what is seen now.

        Args:
            frames: (N, C, H, W).
            age: (N,), frames before these in their episodes.
            final: (N,), whether a frame is the last of an episode that was cut.

        Raises ValueError where the rows before them wait for `record`, or for another shape.
        """
        if self.is_open or frames.shape != (self.lanes, *self.shape):
            raise ValueError(f"frames are ({self.lanes}, *{self.shape}), after `record`; got "
                             f"{frames.shape}")  # fmt: skip
        places = self._newest_places(self.end)
        self.frames[slice(places[0], places[-1] + 1)] = torch.from_numpy(frames)
        row = self.columns
        row["age"][places] = np.minimum(age, self.stack - 1)
        row["final"][places] = final
        self.end += self.lanes
        self.is_open = True
        if self.sampling is not None and not self._is_admitted:
            self._admit()
        self._is_admitted = False

    def record(self, actions: ArrayLike, rewards: ArrayLike, terminal: ArrayLike) -> None:
        """What was done in the newest rows, each (N,). Raises ValueError without such rows."""
        if not self.is_open:
            raise ValueError("nothing was observed since the last record")
        places = self._newest_places(self.end - self.lanes)
        row = self.columns
        row["action"][places], row["reward"][places] = actions, rewards
        row["terminal"][places] = terminal
        self.is_open = False

    # Reading

    def newest(self) -> Tensor:
        """The state that is seen now in each lane, (N, S * C, H, W)."""
        return self._stacks(np.arange(self.end - self.lanes, self.end))

    def range(self) -> tuple[int, int]:
        """The rows that may be drawn, from the first up to before the second.

        They have their whole stack and their next frame here; final ones are among them.
        """
        after = self.end - self.steps * self.lanes
        return max(0, after - self.capacity), max(0, after)

    def sample(self, count: int, generator: torch.Generator) -> Batch:
        """`count` transitions, with replacement. Raises ValueError where there is none."""
        if self.sampling is not None:
            places, weights = self.sampling.draw(count, generator)
            # A place holds the newest row that fits: its number follows from the end.
            rows = self.end - 1 - (self.end - 1 - places) % self.size
            return self.batch(rows, weights)
        return self.batch(self._draw(count, generator))

    def batch(self, rows: Rows, weights: NDArray[np.float64] | None = None) -> Batch:
        """The transitions that begin in these rows (B,)."""
        spans = self.columns[(rows[:, None] + self.lanes * np.arange(self.steps)) % self.size]
        # A step counts while none before it was terminal and its row has an action.
        goes_on = ~spans["terminal"][:, :-1] & ~spans["final"][:, 1:]
        counts = np.cumprod(np.column_stack([np.ones(len(rows), np.int64), goes_on]), axis=1)
        taken = counts.sum(1)
        terminal = (spans["terminal"] & (counts > 0)).any(1)
        powers = self.gamma ** np.arange(self.steps + 1)
        return Batch(
            self._stacks(rows),
            self._put(spans["action"][:, 0], np.int64),
            self._put((spans["reward"] * counts * powers[:-1]).sum(1)),
            self._put(np.where(terminal, 0.0, powers[taken])),
            self._stacks(rows + taken * self.lanes),
            None if weights is None else self._put(weights),
            rows,
        )

    def _put(self, values: NDArray[Any], kind: Any = np.float32) -> Tensor:
        # A copy of a column too: its own strides are those of the rows.
        return torch.from_numpy(values.astype(kind)).to(self.frames.device, non_blocking=True)

    def reprioritise(self, rows: Rows, errors: Tensor) -> None:
        """Tell a sampling by priority the newest TD errors (B,) of these rows."""
        if self.sampling is not None:
            self.sampling.update(rows % self.size, errors.detach().abs().cpu().numpy())

    def _draw(self, count: int, generator: torch.Generator) -> Rows:
        first, after = self.range()
        if after <= first:
            raise ValueError("there is no whole transition to draw yet")
        chosen: list[Rows] = []
        found = 0
        while found < count:
            # Final rows are one an episode at most, so that a second round is rare.
            rows = torch.randint(first, after, (2 * count,), generator=generator).numpy()
            chosen.append(rows[~self.columns["final"][rows % self.size]])
            found += len(chosen[-1])
        return np.concatenate(chosen)[:count]

    def _stacks(self, rows: Rows) -> Tensor:
        age = self.columns["age"][rows % self.size]
        back = np.minimum(np.arange(self.stack - 1, -1, -1), age[:, None])
        places = (rows[:, None] - self.lanes * back) % self.size
        return self._gather(places).flatten(1, 2)

    def _gather(self, places: Rows) -> Tensor:
        if self._host is not None:
            return torch.from_numpy(self._host.take(places, 0))
        where = torch.from_numpy(places).to(self.frames.device, non_blocking=True)
        return self.frames[where]

    def _newest_places(self, row: int) -> Rows:
        # `size` is a multiple of the lanes, so that these never wrap around.
        return row % self.size + np.arange(self.lanes)

    def _admit(self) -> None:
        assert self.sampling is not None
        first, after = self.range()
        if first:
            self.sampling.remove(np.arange(first - self.lanes, first) % self.size)
        if after > first:
            ready = np.arange(after - self.lanes, after) % self.size
            self.sampling.admit(ready[~self.columns["final"][ready]])

    # Saving

    def rows(self, first: int, after: int) -> dict[str, NDArray[Any]]:
        """Whole rows from `first` up to before `after`, as arrays by field.

        Raises ValueError where one is no longer here or waits for `record`.
        """
        whole = self.end - self.lanes * self.is_open
        if not max(0, self.end - self.size) <= first <= after <= whole:
            raise ValueError(f"rows {max(0, self.end - self.size)} to {whole - 1} are whole here, "
                             f"asked for {first} to {after - 1}")  # fmt: skip
        places = np.arange(first, after) % self.size
        columns = {name: self.columns[name][places] for name in ROW.names or ()}
        return {"frame": self._gather(places).cpu().numpy()} | columns

    def restore(self, first: int, rows: dict[str, NDArray[Any]]) -> None:
        """Put back rows that `rows` gave, from number `first` on; the buffer then ends there."""
        places = (first + np.arange(len(rows["frame"]))) % self.size
        self.frames[torch.from_numpy(places)] = torch.from_numpy(rows["frame"]).to(
            self.frames.device
        )
        for name in ROW.names or ():
            self.columns[name][places] = rows[name]
        self.end, self.is_open = first + len(places), False

    def state_dict(self) -> dict[str, Any]:
        """All whole rows, and the priorities. Large: see `rows` to save what is new."""
        whole = self.end - self.lanes * self.is_open
        first = max(0, self.end - self.size)
        kept = {name: torch.from_numpy(a.copy()) for name, a in self.rows(first, whole).items()}
        return {"first": first, "rows": kept, "sampling": self.sampling_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put it back. The frames that are seen now are to be observed again."""
        rows = {name: column.numpy() for name, column in state["rows"].items()}
        self.restore(int(state["first"]), rows)
        self.load_sampling_state(state["sampling"])

    def sampling_state(self) -> dict[str, Any]:
        """Of the priorities; empty under uniform draws."""
        if self.sampling is None:
            return {}
        return {"is_admitted": self.is_open, "priorities": self.sampling.state_dict()}

    def load_sampling_state(self, state: dict[str, Any]) -> None:
        """Put the priorities back."""
        if self.sampling is not None:
            self.sampling.load_state_dict(state["priorities"])
            # What the frames that are seen now made ready was ready when this was saved.
            self._is_admitted = bool(state["is_admitted"])


ROW = np.dtype([
    ("action", np.int16), ("reward", np.float32), ("terminal", np.bool_), ("final", np.bool_),
    ("age", np.uint8),
])  # fmt: skip
"""What a row holds beside its frame."""
