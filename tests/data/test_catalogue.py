"""The table of datasets, and that reading it stays cheap."""

import re
import subprocess
import sys
from importlib import import_module, resources

import pytest

from quire import data
from quire.data import DATASETS


def test_the_table_needs_neither_torch_nor_scikit_learn() -> None:
    program = (
        "import sys; from quire.data.catalogue import DATASETS; import quire.data.store;"
        "print(sorted({'torch', 'sklearn', 'pyarrow', 'pooch', 'PIL'} & set(sys.modules)))"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "[]"


@pytest.mark.parametrize("name", data.__all__)
def test_public_names_lead_to_their_module(name: str) -> None:
    assert getattr(data, name) is getattr(data, name)
    [home] = [module for module, names in data._HOMES.items() if name in names]
    assert getattr(data, name) is getattr(import_module(home), name)


def test_public_names_are_all_listed() -> None:
    assert {name for names in data._HOMES.values() for name in names} == set(data.__all__)
    assert sorted(data.__all__) == sorted(dir(data))
    with pytest.raises(AttributeError, match="no 'imagenet'"):
        _ = data.imagenet


def test_importing_a_submodule_does_not_hide_a_function() -> None:
    for home in data._HOMES:
        import_module(home)
    for name in data.__all__:
        assert not isinstance(getattr(data, name), type(sys))


@pytest.mark.parametrize("name", DATASETS)
def test_entries_are_complete(name: str) -> None:
    entry = DATASETS[name]
    assert entry.name == name
    assert callable(getattr(data, name))
    assert entry.summary
    assert entry.licence
    assert entry.home.startswith("http")
    assert bool(entry.sources) == bool(entry.layouts)
    for source in entry.sources:
        assert source.urls
        assert all(url.startswith("http") for url in source.urls)
        assert source.checksum is None or re.fullmatch(
            "sha256:[0-9a-f]{64}|md5:[0-9a-f]{32}", source.checksum
        )


def test_babi_lists_every_file() -> None:
    whole, short = DATASETS["babi"].layouts
    assert len(set(whole)) == 60
    assert set(whole) ^ set(short) == {"en-valid-10k/qa3_train.txt", "en-valid/qa3_train.txt"}


def test_known_checksums_are_of_files_in_the_table() -> None:
    lines = resources.files("quire.data").joinpath("known.sha256").read_text().splitlines()
    for line in lines[1:]:
        digest, path, note = line.split(maxsplit=2)
        name, _, file = path.partition("/")
        assert re.fullmatch("[0-9a-f]{64}", digest)
        assert note
        assert any(file.removesuffix(".xz") in layout for layout in DATASETS[name].layouts), path
