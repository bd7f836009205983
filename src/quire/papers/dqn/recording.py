"""Pictures of play: a sheet of frames with the values beside it, and a GIF.

N lanes, C channels, H height, W width.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from quire.papers.dqn.dqn import DQN
from quire.papers.dqn.evaluation import EPSILON, Evaluation, evaluate, playing
from quire.papers.dqn.lanes import Lanes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Pictures = NDArray[np.uint8]


@dataclass
class Recording:
    """The first lane's play. Frames (T, H, W, 3), and what came of them."""

    frames: list[Pictures] = field(default_factory=list)
    actions: list[int] = field(default_factory=list)
    said: Evaluation | None = None

    def look(self, frames: NDArray[np.uint8], actions: NDArray[np.int64]) -> None:
        """Keep the first lane's frame and action: for `evaluate`."""
        self.frames.append(to_picture(frames[0]))
        self.actions.append(int(actions[0]))

    def save_gif(self, path: Path, *, scale: int = 4, seconds: float = 0.07) -> None:
        """Write the frames as a GIF that repeats.

        Args:
            path: Where to.
            scale: Pixels of a frame's pixel.
            seconds: For each frame.
        """
        from PIL import Image

        whole = [Image.fromarray(f.repeat(scale, 0).repeat(scale, 1)) for f in self.frames]
        whole[0].save(path, save_all=True, append_images=whole[1:], loop=0,
                      duration=round(1000 * seconds))  # fmt: skip

    def draw(self, *, pictures: int = 24) -> "Figure":
        """A sheet of evenly spaced frames over the curve of values, rewards marked."""
        from matplotlib.figure import Figure

        assert self.said is not None, "nothing was recorded"
        chosen = np.linspace(0, len(self.frames) - 1, min(pictures, len(self.frames))).astype(int)
        columns = 8
        rows = -(-len(chosen) // columns)
        figure = Figure(figsize=(9, 1.25 * rows + 1.8), layout="constrained")
        parts: Any = figure.subfigures(2, 1, height_ratios=[1.2 * rows, 1.8])
        top, bottom = parts
        axes = top.subplots(rows, columns, squeeze=False).ravel()
        for axis in axes:
            axis.set_axis_off()
        for axis, turn in zip(axes, chosen, strict=False):
            axis.imshow(self.frames[turn], interpolation="nearest")
            axis.set_title(f"{turn}", fontsize=7, pad=1)
        axis = bottom.subplots()
        values, paid = self.said.values[:, 0], np.flatnonzero(self.said.rewards[:, 0])
        axis.plot(values, linewidth=0.9, label="value")
        axis.plot(paid, values[paid], ".", label="reward")
        for turn in np.flatnonzero(self.said.ends[:, 0]):
            axis.axvline(turn, color="0.8", linewidth=0.6, zorder=0)
        axis.set_xlabel("step")
        axis.set_ylabel("largest value")
        axis.legend(fontsize=7, frameon=False)
        return figure


def record(agent: DQN, env: Lanes, *, steps: int = 200, epsilon: float = EPSILON) -> Recording:
    """Let the agent play and keep the first lane.

    Args:
        agent: Who plays.
        env: Lanes of image frames.
        steps: Of that lane.
        epsilon: Probability of a random action.

    Raises ValueError for frames that are no images.
    """
    if len(env.shape) != 3:
        raise ValueError(f"{env.name} has frames {env.shape}, which are no images")
    kept = Recording()
    kept.said = evaluate(
        playing(agent, epsilon), env, steps=steps * len(env), values=agent.values, look=kept.look
    )
    return kept


def to_picture(frame: NDArray[np.uint8]) -> Pictures:
    """A frame (C, H, W) as (H, W, 3): gray, its own colours, or one colour for each plane."""
    if len(frame) == 3 and frame.max() > 1:
        return np.ascontiguousarray(frame.transpose(1, 2, 0))
    if len(frame) == 1:
        return frame[0][..., None].repeat(3, -1)
    # The plane of the highest number is on top.
    top = np.where(frame > 0, np.arange(1, len(frame) + 1)[:, None, None], 0).max(0)
    return COLOURS[top % len(COLOURS)]


COLOURS = np.array([
    [16, 16, 24], [230, 230, 230], [240, 90, 70], [120, 120, 140], [80, 160, 230], [110, 200, 120],
    [240, 190, 70], [190, 120, 220], [90, 210, 210], [240, 140, 170], [160, 170, 90],
], np.uint8)  # fmt: skip
"""The background, then one for each plane."""
