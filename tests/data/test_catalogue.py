"""The datasets are found by folder, and looking at them stays cheap."""

import re
import subprocess
import sys
import types
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path

import pytest

import quire.data.sets
from quire import data
from quire.data import DATASETS, catalogue

HEAVY = "{'torch', 'sklearn', 'pyarrow', 'pooch', 'PIL', 'pandas', 'requests'}"
NEW = """
from quire.data import store
from quire.data.catalogue import Dataset, pinned, versions

DATASET = Dataset(
    summary="one number",
    licence="CC0",
    home="https://example.org",
    layouts=(("number.txt",),),
    by_hand="a number",
    known=versions({"the number of the test": "{sha256}  number.txt"}),
)


def one_number(root: store.Root = None) -> int:
    return int(store.files("one_number", root)[0].read_text())
"""


def run(program: str) -> str:
    command = [sys.executable, "-c", program]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_reading_every_entry_needs_nothing_heavy() -> None:
    program = (
        "import sys; from quire.data import DATASETS, store; list(DATASETS.values());"
        f"print(sorted({HEAVY} & set(sys.modules)))"
    )
    assert run(program) == "[]"


def test_a_loader_imports_its_own_file_alone() -> None:
    program = (
        "import sys; from quire import data; data.arc, data.Images;"
        "print([n for n in sys.modules if n.startswith('quire.data.sets.')],"
        "'torch' in sys.modules)"
    )
    assert run(program) == "['quire.data.sets.arc'] False"


@pytest.mark.parametrize("name", dir(data))
def test_public_names_lead_to_their_module(name: str) -> None:
    home = import_module(f"quire.data.{data.PARTS.get(name, 'sets.' + name)}")
    assert getattr(data, name) is getattr(home, name)
    assert not isinstance(getattr(data, name), types.ModuleType)


def test_unknown_names_get_the_nearest() -> None:
    with pytest.raises(AttributeError, match=r"no 'cifar1': did you mean 'cifar10'\?"):
        _ = data.cifar1
    with pytest.raises(AttributeError, match="no 'imagenet'"):
        _ = data.imagenet
    with pytest.raises(AttributeError, match="no '__wrapped__'"):
        _ = data.__wrapped__
    with pytest.raises(KeyError, match="did you mean 'cifar10'"):
        DATASETS["cifar1"]
    assert "cifar1" not in DATASETS


@pytest.mark.parametrize("name", DATASETS)
def test_entries_are_complete(name: str) -> None:
    entry = DATASETS[name]
    assert entry.name == name
    assert callable(getattr(data, name))
    assert entry.summary
    assert entry.licence
    assert entry.home.startswith("http")
    assert bool(entry.layouts) != bool(entry.package)
    assert bool(entry.sources) != bool(entry.by_hand or entry.package)
    assert callable(getattr(catalogue.module(name), "unpack", None)) == bool(entry.sources)
    for source in entry.sources:
        assert source.urls
        assert all(url.startswith("http") for url in source.urls)
        assert source.checksum is None or re.fullmatch(
            "sha256:[0-9a-f]{64}|md5:[0-9a-f]{32}", source.checksum
        )


@pytest.mark.parametrize("name", DATASETS)
def test_known_checksums_are_of_files_of_the_entry(name: str) -> None:
    entry = DATASETS[name]
    files = {file for layout in entry.layouts for file in layout}
    for file, known in entry.known.items():
        assert file.removesuffix(".xz") in files, file
        for sha256, note in known.items():
            assert re.fullmatch("[0-9a-f]{64}", sha256)
            assert note


def test_babi_lists_every_file() -> None:
    whole, short = DATASETS["babi"].layouts
    assert len(set(whole)) == 60
    assert set(whole) ^ set(short) == {"en-valid-10k/qa3_train.txt", "en-valid/qa3_train.txt"}


@pytest.fixture
def add(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str], None]]:
    """Puts a file into a folder that belongs to `quire.data.sets` for the time of the test."""
    sets = tmp_path / "sets"
    sets.mkdir()
    monkeypatch.setattr(quire.data.sets, "__path__", [*quire.data.sets.__path__, str(sets)])
    added: list[str] = []

    def put(name: str, text: str) -> None:
        (sets / f"{name}.py").write_text(text, encoding="utf-8")
        added.append(name)

    yield put
    for name in added:
        sys.modules.pop(f"quire.data.sets.{name}", None)
        vars(quire.data.sets).pop(name, None)


def test_the_example_in_the_guide_is_a_dataset(
    root: Path, tmp_path: Path, add: Callable[[str, str], None]
) -> None:
    page = (root / "docs" / "guide.md").read_text(encoding="utf-8")
    [example] = re.findall(r"```python\n(\"\"\"Iris.*?)```", page, re.DOTALL)
    add("iris", example)
    (tmp_path / "iris").mkdir()
    (tmp_path / "iris" / "iris.csv").write_text("length,kind\n5.1,setosa\n")
    assert data.iris(tmp_path) == {"length": ["5.1"], "kind": ["setosa"]}
    assert data.check("iris", tmp_path).present


def test_a_dataset_is_one_file(tmp_path: Path, add: Callable[[str, str], None]) -> None:
    digest = "73475cb40a568e8da8a045ced110137e159f890ac4da883b6b17dc651b3a8049"  # of "42"
    (tmp_path / "one_number").mkdir()
    add("one_number", NEW.replace("{sha256}", digest))
    assert "one_number" in DATASETS
    assert "one_number" in dir(data)
    with pytest.raises(data.DataMissing, match=r"number\.txt not found in .* by hand a number"):
        data.one_number(tmp_path)
    (tmp_path / "one_number" / "number.txt").write_text("42")
    assert data.one_number(tmp_path) == 42
    state = data.check("one_number", tmp_path)
    assert (state.checksum_ok, state.detail) == (True, "the number of the test")
