"""A paper's public parts with the first sentence of their docstrings, read without importing it."""

import ast
import functools
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from quire.lab.papers import Paper
from quire.report.wording import first_sentence


@dataclass(frozen=True)
class Part:
    """A public name, the module where it is defined, and its docstring's first sentence."""

    name: str
    module: str
    says: str


def public_parts(paper: Paper) -> list[Part]:
    """The names in `__all__` of the paper, in the order in which its modules are to be read."""
    tree = _tree(paper.folder / "__init__.py")
    if tree is None:
        return []
    homes: dict[str, tuple[str, str]] = {}
    names: list[str] = []
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module:
            homes |= {item.asname or item.name: (node.module, item.name) for item in node.names}
        elif isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__":
            with suppress(ValueError):
                names = ast.literal_eval(node.value)
    parts = []
    for name in names:
        module, inner = homes.get(name, (paper.module, name))
        parts.append(Part(name, module, _says(paper, module, inner)))
    places = {f"{paper.module}.{name}": place for place, name in enumerate(paper.read)}
    return sorted(parts, key=lambda part: places.get(part.module, len(places)))


def _says(paper: Paper, module: str, name: str, depth: int = 4) -> str:
    """The first sentence of what `name` of `module` says of itself; followed through re-exports."""
    path = _file(paper, module)
    tree = _tree(path) if path is not None else None
    if tree is None or depth == 0:
        return ""
    for place, node in enumerate(tree.body):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == name:
            return first_sentence(ast.get_docstring(node) or "")
        if isinstance(node, ast.ImportFrom) and node.module:
            for item in node.names:
                if (item.asname or item.name) == name:
                    return _says(paper, node.module, item.name, depth - 1)
        if name in _assigned(node):
            after = tree.body[place + 1] if place + 1 < len(tree.body) else None
            if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
                return first_sentence(str(after.value.value))
    return ""


def _assigned(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.Assign):
        return [getattr(target, "id", "") for target in node.targets]
    return [getattr(node.target, "id", "")] if isinstance(node, ast.AnnAssign) else []


def _file(paper: Paper, module: str) -> Path | None:
    """Where a module of the paper or of Quire stands."""
    own = f"{paper.module}."
    if module == paper.module:
        return paper.folder / "__init__.py"
    if module.startswith(own):
        base = paper.folder.joinpath(*module.removeprefix(own).split("."))
    elif module.startswith("quire."):
        base = Path(__file__).resolve().parent.parent.joinpath(*module.split(".")[1:])
    else:
        return None
    return next((p for p in (base.with_suffix(".py"), base / "__init__.py") if p.is_file()), None)


@functools.cache
def _tree(path: Path) -> ast.Module | None:
    try:
        return ast.parse(path.read_text(encoding="utf-8"))
    except (OSError, SyntaxError, ValueError):
        return None
