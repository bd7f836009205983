"""Proteins: structures, binding sites, alignments of families, BLOSUM62.

R residues of a chain, M sequences of an alignment, L columns.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quire.data import store
from quire.data.arrays import read_npz
from quire.data.catalogue import Dataset, versions
from quire.data.lines import read_whole

FAMILIES = ("DHFR", "1atzA", "PF00014", "PF00096")
LETTERS = "-ACDEFGHIKLMNPQRSTVWY"
"""What the codes of an alignment stand for; 0 is a gap."""

DATASET = Dataset(
    summary="125 protein structures, 1,418 proteins with binding sites, 4 alignments, BLOSUM62",
    licence="coordinates CC0 (PDB), sites BSD-3 (provis), alignments those of their repositories",
    home="https://github.com/salesforce/provis",
    layouts=(
        (
            "structures.npz",
            "binding_sites_provis_valid.json.gz",
            *(f"msa_{family}.npz" for family in FAMILIES),
            "BLOSUM62.txt",
        ),
    ),
    by_hand="structures.npz with ids, cluster, offsets, seq, ca, cb, ss, ligand_site, metal_site; "
    "binding_sites_provis_valid.json.gz, a list of {id, seq, binding_sites, modifications}; "
    "msa_*.npz with msa, cb_dist, heavy_dist; BLOSUM62.txt as NCBI publishes it",
    note="The structures are few and unlike the paper's: split them by cluster. The binding sites "
    "are the paper's validation part, without coordinates.",
    known=versions(
        {
            "collected from the repositories' test files": """
1b2084d97ffa8d8c021537626c163713051235f9caedea49e958be9b2429c096  structures.npz
3efea51a1a256e4d749b9c66a269dd95b36b678986e7c8765ab55dad9a528e49  binding_sites_provis_valid.json.gz
bbc8e744475946e0e8838d9c7d84c8121852bb3680b9e605665ae8d15f123b53  msa_DHFR.npz
7761fb3419069c83127020f298bef5f745d62c8a44bcfbff584b2b2e8983d87e  msa_1atzA.npz
7823fa32d666981366ddf6f6b868f6ee5977c41547340c56e7dab6114d494691  msa_PF00014.npz
e60cc95ac275af6b326f25eb100800ddd36cc9415cf15fea9cc7e2ab630d4ee5  msa_PF00096.npz
85510d3846ee6d5f4778e425cf8daf6e0dbb889b306f2d13434e1254780efb40  BLOSUM62.txt
""",
        }
    ),
)


@dataclass(frozen=True)
class Structure:
    """A protein chain.

    Args:
        name: "1abc.A".
        sequence: R letters.
        cluster: Chains with one number are alike.
        ca: (R, 3) float32, the alpha carbons in angstroms.
        cb: (R, 3) float32, the beta carbons in angstroms.
        secondary: R letters, H helix, G 3-10 helix, E strand, - other, ? not known.
        ligand_site: (R,) bool.
        metal_site: (R,) bool.
    """

    name: str
    sequence: str
    cluster: int
    ca: NDArray[np.float32]
    cb: NDArray[np.float32]
    secondary: str
    ligand_site: NDArray[np.bool_]
    metal_site: NDArray[np.bool_]


@dataclass(frozen=True)
class Annotated:
    """A protein without coordinates.

    Args:
        name: Its name in the dataset.
        sequence: R letters.
        binding_sites: Indices into the sequence.
        modifications: Indices into the sequence.
    """

    name: str
    sequence: str
    binding_sites: tuple[int, ...]
    modifications: tuple[int, ...]


@dataclass(frozen=True)
class Family:
    """An alignment with the distances of a reference structure.

    alignment: (M, L) int8, codes of `LETTERS`. cb_distance, heavy_distance: (L, L) float32,
    angstroms between beta carbons and between the nearest heavy atoms.
    """

    alignment: NDArray[np.int8]
    cb_distance: NDArray[np.float32]
    heavy_distance: NDArray[np.float32]


@dataclass(frozen=True)
class Proteins:
    """All parts of the dataset.

    Args:
        structures: Chains with coordinates.
        annotated: Proteins with sites.
        families: Alignments by name.
        blosum62: Score of a pair of letters.
    """

    structures: tuple[Structure, ...]
    annotated: tuple[Annotated, ...]
    families: dict[str, Family]
    blosum62: dict[tuple[str, str], int]


def protein(root: store.Root = None) -> Proteins:
    """125 structures, 1,418 annotated proteins, the alignments DHFR, 1atzA, PF00014 and PF00096.

    Raises DataMissing, and ValueError for a damaged file.
    """
    structures, sites, *families, scores = store.files("protein", root)
    return Proteins(
        _structures(structures),
        _annotated(sites),
        {name: _family(path) for name, path in zip(FAMILIES, families, strict=True)},
        _blosum62(scores),
    )


def _structures(path: Path) -> tuple[Structure, ...]:
    flat = ("seq", "ca", "cb", "ss", "ligand_site", "metal_site")
    read = read_npz(path, ("ids", "cluster", "offsets", *flat))
    names, cluster, offsets = (read[key] for key in ("ids", "cluster", "offsets"))
    counted = len(offsets) == len(names) + 1 == len(cluster) + 1
    if not counted or any(len(read[key]) != offsets[-1] for key in flat):
        raise ValueError(f"{path} has offsets that do not fit its chains")
    chains = []
    for row, name in enumerate(names.tolist()):
        seq, ca, cb, ss, ligand, metal = (read[k][offsets[row] : offsets[row + 1]] for k in flat)
        text, secondary = (codes.tobytes().decode("ascii") for codes in (seq, ss))
        chains.append(Structure(name, text, int(cluster[row]), ca, cb, secondary, ligand, metal))
    return tuple(chains)


def _annotated(path: Path) -> tuple[Annotated, ...]:
    try:
        rows: list[dict[str, Any]] = json.loads(read_whole(path))
        proteins = tuple(
            Annotated(
                row["id"], row["seq"], tuple(row["binding_sites"]), tuple(row["modifications"])
            )
            for row in rows
        )
    except (json.JSONDecodeError, LookupError, TypeError) as error:
        raise ValueError(
            f"{path}: a list of {{id, seq, binding_sites, modifications}} expected "
            f"({type(error).__name__}: {error})"
        ) from error
    for one in proteins:
        if not all(0 <= site < len(one.sequence) for site in one.binding_sites + one.modifications):
            raise ValueError(f"{path}: {one.name} has a site outside its sequence")
    return proteins


def _family(path: Path) -> Family:
    read = read_npz(path, ("msa", "cb_dist", "heavy_dist"))
    msa, near, heavy = (read[key] for key in ("msa", "cb_dist", "heavy_dist"))
    square = (msa.shape[-1],) * 2
    if msa.ndim != 2 or near.shape != square or heavy.shape != square:
        raise ValueError(f"{path}: an alignment (M, L) and distances (L, L) expected")
    return Family(msa, near, heavy)


def _blosum62(path: Path) -> dict[tuple[str, str], int]:
    lines = [line.split() for line in read_whole(path).splitlines() if not line.startswith("#")]
    rows = [line for line in lines if line]
    try:
        letters, *scores = rows
        return {
            (row[0], letter): int(score)
            for row in scores
            for letter, score in zip(letters, row[1:], strict=True)
        }
    except ValueError as error:
        raise ValueError(f"{path} is not a table of scores ({error})") from error
