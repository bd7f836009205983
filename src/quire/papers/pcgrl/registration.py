"""The names under which Gymnasium knows the environments.

`gymnasium.make("quire/binary-narrow-v0")` and `gymnasium.make_vec` take them once
`quire.papers.pcgrl` is imported.
"""

from quire.papers.pcgrl.problem import problem_names
from quire.papers.pcgrl.representation import REPRESENTATIONS


def register() -> list[str]:
    """Tell Gymnasium of every problem of the folder in every representation; gives the names.

    Nothing happens where it is not installed, or where it knows them already.
    """
    names = [f"quire/{p}-{r}-v0" for p in problem_names() for r in REPRESENTATIONS]
    try:
        import gymnasium
    except ImportError:
        return names
    for name in names:
        if name not in gymnasium.registry:
            problem, representation, _ = name.removeprefix("quire/").rsplit("-", 2)
            gymnasium.register(
                name,
                entry_point="quire.papers.pcgrl.env:PcgrlEnv",
                vector_entry_point="quire.papers.pcgrl.env:make_vector",  # type: ignore[arg-type]
                kwargs={"problem": problem, "representation": representation},
            )
    return names
