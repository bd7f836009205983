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


DATASETS: dict[str, Dataset] = {
    dataset.name: dataset
    for dataset in (
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
    )
}
