"""A digest of the code that decides an experiment's result.

From the experiment's function every definition of `quire` that it can reach by name is followed
(the lab, which only carries runs out, and the downloading of datasets, whose files are checksummed,
are left out); comments, docstrings and layout do not count.
So a cached run or a committed verdict is known to belong to the code as it is now, and a change
to one experiment leaves the others' results valid.
"""

import ast
import functools
import hashlib
from pathlib import Path

from quire.lab.papers import module_of, paper_folders

Place = tuple[str, str]  # module, name; the name "" is the module as a whole

LEFT_OUT = (
    "quire.lab",
    "quire.report",
    "quire.cli",
    "quire.data.catalogue",
    "quire.data.store",
    "quire.data.unpack",
)


def code_digest(paper: str, experiment: str) -> str:
    """Twelve hexadecimal digits that change when code behind the experiment changes."""
    return digest_of(f"{module_of(paper)}.experiments", experiment)


@functools.cache
def digest_of(module: str, name: str) -> str:
    """The digest of one definition with everything of `quire` that it reaches."""
    seen: set[Place] = set()
    waiting: list[Place] = [(module, name)]
    rows = []
    while waiting:
        place = waiting.pop()
        if place in seen:
            continue
        seen.add(place)
        source = _module(place[0])
        if source is None:
            continue
        node = source.definitions.get(place[1])
        if node is not None:
            rows.append(f"{place[0]}:{place[1]}:{_dump(node)}")
            waiting += source.reached(node)
        elif place[1] in source.imports:
            waiting.append(source.imports[place[1]])
        elif place[1] and _module(f"{place[0]}.{place[1]}"):
            waiting.append((f"{place[0]}.{place[1]}", ""))
    return hashlib.sha256("\n".join(sorted(rows)).encode()).hexdigest()[:12]


class _Source:
    """Top-level definitions and `quire` imports of one module."""

    def __init__(self, module: str, tree: ast.Module) -> None:
        self.module = module
        self.definitions: dict[str, ast.stmt] = {}
        self.imports: dict[str, Place] = {}
        for node in tree.body:
            self._read(node)

    def _read(self, node: ast.stmt) -> None:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            self.definitions[node.name] = node
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in targets:
                for leaf in ast.walk(target):
                    if isinstance(leaf, ast.Name):
                        self.definitions[leaf.id] = node
        elif isinstance(node, ast.If | ast.Try):
            for child in ast.iter_child_nodes(node):
                if isinstance(child, ast.stmt):
                    self._read(child)
        elif isinstance(node, ast.ImportFrom | ast.Import):
            self.imports |= _imports(node)

    def reached(self, node: ast.AST) -> list[Place]:
        """Places that the names inside `node` stand for."""
        local: dict[str, Place] = dict(self.imports)
        for child in ast.walk(node):
            if isinstance(child, ast.ImportFrom | ast.Import):
                local |= _imports(child)
        places: list[Place] = []
        for child in ast.walk(node):
            if isinstance(child, ast.Name):
                if child.id in self.definitions:
                    places.append((self.module, child.id))
                elif child.id in local:
                    places.append(local[child.id])
            elif isinstance(child, ast.Attribute) and isinstance(child.value, ast.Name):
                module, name = local.get(child.value.id, ("", ""))
                if module:
                    inner = f"{module}.{name}" if name else module
                    if _module(inner) is not None:
                        places.append((inner, child.attr))
        return places


def _imports(node: ast.ImportFrom | ast.Import) -> dict[str, Place]:
    found: dict[str, Place] = {}
    if isinstance(node, ast.ImportFrom):
        if node.module and _ours(node.module):
            for alias in node.names:
                found[alias.asname or alias.name] = (node.module, alias.name)
    else:
        for alias in node.names:
            if _ours(alias.name):
                found[alias.asname or alias.name] = (alias.name, "")
    return found


def _ours(module: str) -> bool:
    return (module == "quire" or module.startswith("quire.")) and not module.startswith(LEFT_OUT)


@functools.cache
def _module(name: str) -> _Source | None:
    if not _ours(name):
        return None
    root = Path(__file__).resolve().parent.parent.parent
    path = root.joinpath(*name.split("."))
    parts = name.split(".")
    if name.startswith("quire.papers.") and parts[2] in paper_folders():
        path = paper_folders()[parts[2]].joinpath(*parts[3:])
    for file in (path.with_suffix(".py"), path / "__init__.py"):
        if file.is_file():
            return _Source(name, ast.parse(file.read_text(encoding="utf-8")))
    return None


def _dump(node: ast.AST) -> str:
    return ast.dump(_Bare().visit(ast.parse(ast.unparse(node))))


class _Bare(ast.NodeTransformer):
    """Takes docstrings and other string statements out."""

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            return None
        return node
