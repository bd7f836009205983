"""The table of datasets: what each is, its licence, where it comes from, which files it needs."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Source:
    """One file of a dataset's official home.

    urls: the home first, then mirrors of the same bytes. checksum: "sha256:..." or "md5:..." of the
    download as its publisher or a well-known library states it; None where nobody states one. The
    sha256 of every unpacked file is recorded at the first download in any case.
    """

    urls: tuple[str, ...]
    checksum: str | None


@dataclass(frozen=True)
class Dataset:
    """A dataset.

    layouts: the sets of files under `<root>/<name>/`, any one of which is enough (a file may also
    stand there compressed, with `.xz` after its name); none if a package holds the data. extras:
    extras of quire that loading needs. note: what a reader of results must know.
    """

    name: str
    summary: str
    licence: str
    home: str
    sources: tuple[Source, ...] = ()
    layouts: tuple[tuple[str, ...], ...] = ()
    extras: tuple[str, ...] = ()
    note: str = ""


def _babi_files(qa3_train: str) -> tuple[str, ...]:
    files = [
        f"en-valid-10k/qa{task}_{part}.txt"
        for task in range(1, 21)
        for part in ("train", "valid", "test")
    ]
    files[files.index("en-valid-10k/qa3_train.txt")] = qa3_train
    return tuple(files)


_ZALANDO = "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/"
_ZALANDO_MIRROR = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"


def _fashion(file: str, md5: str) -> Source:
    return Source(urls=(_ZALANDO + file, _ZALANDO_MIRROR + file), checksum=f"md5:{md5}")


_RAW = "https://raw.githubusercontent.com/"
_WIKI = _RAW + "jason-feng/wikiVisual/1c0fac92f29f17c1603bfffbe864e0dfdff66897/text/AA/wiki_"
_ANALOGY = _RAW + "tmikolov/word2vec/20c129af10659f7c50e86e3be406df663beff438/questions-"
_SIMILARITY = _RAW + "mfaruqui/eval-word-vectors/94b3dd9fdbac7ed08dbee7179cd5ee464acf0594/data/"
_PROMOTERS = _RAW + "egochao/DeePromoter/4279eba86882d9daef4fcb2d740b29d0ff234567/data/"
_RATED = {
    "EN-WS-353-ALL.txt": "ce12919b240af45bdf46d243601eaca2b6212b159b5e7e9b435ee7ee40c5619c",
    "EN-WS-353-SIM.txt": "f1da938998863c94e53f72f984a5c6e215f0b46c323aae8f0f4930703a339107",
    "EN-WS-353-REL.txt": "66a7c88100624d0a391605ff61ce84e11d11ee620d51ec0298da49592838f8fa",
    "EN-SIMLEX-999.txt": "405394ffb7d25f6d0e3c041f87c9f27d29dc6b047506769953e85c4523b11685",
    "EN-SimVerb-3500.txt": "9d84274e7ad029fd3cf69dd0516e9ade624bbef9bd4e2050f6cc1fa01471e0f5",
}
_OMNIGLOT = _RAW + "brendenlake/omniglot/057f034baf2ecb8530bc5710e5a23584d2a519cc/python/images_"
_IMMUNEML = (
    _RAW + "uio-bmi/immuneML/ab5fb13b9b2f960955edf02fea1f13f1e2855433/docs/source/_static/files/"
)
_VDJDB = (
    "https://codeload.github.com/antigenomics/vdjdb-db/tar.gz/"
    "6bfd9d2c74a0116c1d6096ebe0f816fb91de273e"
)
_MILPY = _RAW + "jmarrietar/MILpy/79fef5dd2726e5ca32955e17ff925dae0e2a9986/data/"
_MIL = {
    "musk1_unscaled": ("X_musk_original", "Bag2_musk_original", "bagI_musk1_original"),
    **{f"{name}_original": ("X", "Bag2", "BagI") for name in ("musk2", "elephant", "fox", "tiger")},
}
_BROWNLEE = _RAW + "jbrownlee/Datasets/d20fcb6402ae34e653d4513b00f39257bb37ed7f/"
_CLUSTERING = _RAW + "hmofrad/clustering/80ffa957c0308cb0c4341249dc7c8dbde7e6ca58/dataset/"
_UCI_FILES = (
    "banknote_authentication", "breast-cancer-wisconsin", "breast-cancer", "ecoli", "german",
    "glass", "haberman", "ionosphere", "iris", "new-thyroid", "pima-indians-diabetes", "sonar",
    "wheat-seeds", "wine", "winequality-red", "phoneme",
)  # fmt: skip
_UCI_SETS = (
    "banknote", "breast-cancer-wisconsin", "breast-cancer", "ecoli", "german-credit", "glass",
    "haberman", "ionosphere", "iris", "new-thyroid", "pima", "sonar", "seeds", "wine",
    "wine-quality-red", "phoneme", "balance-scale", "contraceptive", "hayes-roth", "vote",
    "soybean", "labor", "hypothyroid", "segment",
)  # fmt: skip
_ARC = (
    "https://codeload.github.com/fchollet/ARC-AGI/tar.gz/399030444e0ab0cc8b4e199870fb20b863846f34"
)


def _pinned(url: str, sha256: str | None = None) -> Source:
    return Source(urls=(url,), checksum=sha256 and f"sha256:{sha256}")


DATASETS: dict[str, Dataset] = {
    dataset.name: dataset
    for dataset in (
        Dataset(
            name="arc",
            summary="ARC-AGI-1: the 400 public training tasks, 1,302 demonstrations, 416 tests",
            licence="Apache-2.0",
            home="https://github.com/fchollet/ARC-AGI",
            sources=(_pinned(_ARC),),
            layouts=(("training.json.gz",),),
            note="The evaluation tasks are left out: solvers are developed without them.",
        ),
        Dataset(
            name="babi",
            summary="bAbI v1.2: 20 tasks of questions about short stories, 10k with validation",
            licence="CC BY 3.0",
            home="https://research.facebook.com/downloads/babi/",
            sources=(
                Source(
                    urls=(
                        "https://dl.fbaipublicfiles.com/parlai/babi/babi.tar.gz",
                        "http://parl.ai/downloads/babi/babi.tar.gz",
                    ),
                    checksum="sha256:f7f0bee187efca0d81c3daac1b162cda4eb7f9505dee5ad6846eabbed3dbf92e",
                ),
            ),
            layouts=(
                _babi_files("en-valid-10k/qa3_train.txt"),
                _babi_files("en-valid/qa3_train.txt"),
            ),
            note="Where en-valid-10k/qa3_train is missing, task 3 is trained on its 1k version.",
        ),
        Dataset(
            name="cifar10",
            summary="60,000 colour photographs of 32x32 pixels in 10 classes",
            licence="none stated; research use, cite Krizhevsky 2009",
            home="https://www.cs.toronto.edu/~kriz/cifar.html",
            sources=(
                Source(
                    urls=("https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",),
                    checksum="sha256:c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
                ),
            ),
            layouts=(
                (*(f"data_batch_{k}.bin" for k in range(1, 6)), "test_batch.bin"),
                ("train.parquet", "test.parquet"),
            ),
            extras=("vision",),
            note="Parquet (extra vision) may hold a JPEG copy, whose pixels are lossy: then say so "
            "beside every accuracy. The binary files need no extra.",
        ),
        Dataset(
            name="digits",
            summary="1,797 handwritten digits of 8x8 pixels, values 0..16, inside scikit-learn",
            licence="CC BY 4.0",
            home="https://archive.ics.uci.edu/dataset/80",
            extras=("vision",),
        ),
        Dataset(
            name="fashion_mnist",
            summary="70,000 grey pictures of clothing of 28x28 pixels in 10 classes",
            licence="MIT",
            home="https://github.com/zalandoresearch/fashion-mnist",
            sources=(
                _fashion("train-images-idx3-ubyte.gz", "8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
                _fashion("train-labels-idx1-ubyte.gz", "25c81989df183df01b3e8a0aad5dffbe"),
                _fashion("t10k-images-idx3-ubyte.gz", "bef4ecab320f06d8554ea6380940ec79"),
                _fashion("t10k-labels-idx1-ubyte.gz", "bb300cfdad3c16e7a12a480ee83cd310"),
            ),
            layouts=(("fashion_mnist.npz",),),
        ),
        Dataset(
            name="genomics",
            summary="6,015 human and mouse promoters with a TATA box (EPDnew), 300 bases each",
            licence="MIT (the repository); EPDnew's data are free to use",
            home="https://github.com/egochao/DeePromoter",
            sources=(
                _pinned(
                    _PROMOTERS + "human/TATA/hs_pos_TATA.txt",
                    "9515889e07fea56de600ba1ed170c801e8b9b93a8e96d253db07b693aae3d38a",
                ),
                _pinned(
                    _PROMOTERS + "mouse/TATA/mm_pos_TATA.txt",
                    "4a69c76ed20d94505b803ef1a7ceddc8682d3c96c6a04851fcbb18d1d530fa6c",
                ),
            ),
            layouts=(("epdnew_tata_promoters.csv.gz",),),
            note="Promoters only: negatives are made from them.",
        ),
        Dataset(
            name="immune_repertoire",
            summary="simulated repertoires of immuneML, and 38,722 human receptors of VDJdb",
            licence="AGPL-3.0 (both repositories); terms of VDJdb's records: see its site",
            home="https://github.com/uio-bmi/immuneML",
            sources=(
                _pinned(
                    _IMMUNEML + "quickstart_data.zip",
                    "ac5c341edcfc10f8eed4f741a2e7a4fbc753bad40175574c29be2b8d4d403569",
                ),
                _pinned(
                    _IMMUNEML + "dataset.zip",
                    "3fd7fd5a7b8033018b11a8cb6f9ce8356a274628690fba6757bdb7db8194889c",
                ),
                _pinned(_VDJDB),
            ),
            layouts=(
                (
                    "immuneml_quickstart.npz",
                    "immuneml_simulated.npz",
                    "vdjdb_human_beta.csv.gz",
                ),
            ),
            note="The repertoires are simulated; the receptors of VDJdb are real, three of its "
            "largest studies are left out.",
        ),
        Dataset(
            name="mil",
            summary="multiple-instance benchmarks: Musk 1 and 2, Elephant, Fox, Tiger",
            licence="Musk CC BY 4.0 (UCI); the pictures' features: none stated",
            home="https://github.com/jmarrietar/MILpy",
            sources=tuple(
                _pinned(f"{_MILPY}{folder}/{file}.mat")
                for folder, files in _MIL.items()
                for file in files
            ),
            layouts=(("musk1.npz", "musk2.npz", "elephant.npz", "fox.npz", "tiger.npz"),),
        ),
        Dataset(
            name="mnist",
            summary="70,000 handwritten digits of 28x28 pixels",
            licence="CC BY-SA 3.0 as commonly distributed; LeCun, Cortes and Burges",
            home="http://yann.lecun.com/exdb/mnist/",
            sources=(
                Source(
                    urls=("https://storage.googleapis.com/tensorflow/tf-keras-datasets/mnist.npz",),
                    checksum="sha256:731c5ac602752760c8e48fbffcf8c3b850d9dc2a2aedcf2cc48468fc17b673d1",
                ),
            ),
            layouts=(("mnist.npz",),),
        ),
        Dataset(
            name="omniglot",
            summary="32,460 drawings of 1,623 characters of 50 alphabets, 105x105, 20 drawers each",
            licence="MIT",
            home="https://github.com/brendenlake/omniglot",
            sources=(
                Source((_OMNIGLOT + "background.zip",), "md5:68d2efa1b9178cc56df9314c21c6e718"),
                Source((_OMNIGLOT + "evaluation.zip",), "md5:6b91aef0f799c5bb55b94e3f2daec811"),
            ),
            layouts=(("omniglot.npz",),),
        ),
        Dataset(
            name="text8",
            summary="100 million characters of English Wikipedia as of 2006, a to z and blanks",
            licence="CC BY-SA 3.0",
            home="http://mattmahoney.net/dc/textdata.html",
            sources=(
                _pinned(
                    "http://mattmahoney.net/dc/text8.zip",
                    "a6640522afe85d1963ad56c05b0ede0a0c000dddc9671758a6cc09b7a38e5232",
                ),
            ),
            layouts=(("text8",),),
        ),
        Dataset(
            name="uci",
            summary="24 small classification sets, most of them from the UCI repository",
            licence="CC BY 4.0 (UCI)",
            home="https://github.com/jbrownlee/Datasets",
            sources=(
                *(_pinned(f"{_BROWNLEE}{file}.csv") for file in _UCI_FILES),
                *(
                    _pinned(f"{_CLUSTERING}{file}.data.txt")
                    for file in ("balance-scale", "cmc", "hayes-roth")
                ),
                _pinned(_BROWNLEE + "weka-datasets.zip"),
            ),
            layouts=(tuple(f"{name}.csv.gz" for name in _UCI_SETS),),
            note="Not the 121 sets with partitions of Fernandez-Delgado et al. (2014).",
        ),
        Dataset(
            name="wiki_en",
            summary="the first 3,803 articles of English Wikipedia as of 2015, 10.7 M words",
            licence="CC BY-SA 3.0",
            home="https://github.com/jason-feng/wikiVisual",
            sources=tuple(_pinned(f"{_WIKI}{part:02d}") for part in range(66)),
            layouts=(("enwiki2015_prefix.txt",),),
            note="A later dump than text8, cased and without markup; both begin at Anarchism.",
        ),
        Dataset(
            name="word_analogy",
            summary="analogy questions: 19,544 of words, 3,218 of phrases",
            licence="Apache-2.0",
            home="https://github.com/tmikolov/word2vec",
            sources=(
                _pinned(
                    _ANALOGY + "words.txt",
                    "8c29b3332afc46f3fb8be04cb5297bf96f39aa7131272dff57869b4485b22a36",
                ),
                _pinned(
                    _ANALOGY + "phrases.txt",
                    "55cfc0894d0fe6cf974d106da3e09b5fb2fa6125b6ddc633d06e298dc5aa7901",
                ),
            ),
            layouts=(
                ("questions-words.txt", "questions-phrases.txt"),
                ("questions-words.txt.gz", "questions-phrases.txt.gz"),
            ),
        ),
        Dataset(
            name="word_similarity",
            summary="pairs of words rated by people: WordSim-353, SimLex-999, SimVerb-3500",
            licence="each set's own, for research",
            home="https://github.com/mfaruqui/eval-word-vectors",
            sources=tuple(
                _pinned(f"{_SIMILARITY}word-sim/{file}", digest) for file, digest in _RATED.items()
            ),
            layouts=(tuple(_RATED),),
        ),
    )
}
