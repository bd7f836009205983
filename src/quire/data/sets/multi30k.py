"""Multi30k: captions of pictures with professional translations."""

from collections.abc import Sequence

from quire.data import store
from quire.data.archives import keep_all
from quire.data.catalogue import Dataset, pinned, versions
from quire.data.lines import read_whole

LANGUAGES = ("cs", "de", "en", "fr")
_KNOWN = """
a65adb8b32e3bc664f21ecba7a6e7f6950fd1f405e135f7c312faabdb6255077  train.cs.gz
726e39b2fa9eb9ffb6dc763fb35a179f80fae06ffc5d28b6ace5faa883de28a6  train.de.gz
d79cfa999dd4c51d2cb42499b6796d5a882c3a8a961923c25a898c90f8bbd56f  train.en.gz
622e75069e9f4c577425c4f277116ce66e63a2401c0a2312d90073cb12379a3c  train.fr.gz
b63226e05c4bd5dd6a42897d74b86a1b9d2c31498252c572b1ea7f7996927fcc  val.cs.gz
f0cba2f995189cf5770f29a8a9a537a3ad3f51657ad873405082ff6863a5e75a  val.de.gz
14f7d25ddd868909a9213e361768460edcacdd6ab9d1e77b92560dc10c10dc28  val.en.gz
ca3106f1a72390591d25f6c45cb4cd39dec4cd3f123e099748a3ce5256c160e9  val.fr.gz
200a4a74cc9560f051924abb9803be008d1908d77f747e9141aeb86dfd2797f1  test_2016_flickr.cs.gz
9204244e408ccb38d2a55cfcd344df15005fc42a07a6e55ca6c52b6ababb8cc8  test_2016_flickr.de.gz
611d361c6334bc7246101d48097c13cf5c4413c5befc793cc629934359d532d9  test_2016_flickr.en.gz
6d326e188d259fb1d04ac19eae3af956559b3a0b93d7635e56c90987c40c8b90  test_2016_flickr.fr.gz
a2c89666db00c495cd8513b9d708d5a3acc205d7de312ef2bf5fb7ebc1540aee  test_2017_flickr.de.gz
76a444ee25172e72695cddb13ae4a3bda59430617be88e0bb46b60504f054074  test_2017_flickr.en.gz
3ba671ceb2299f3304ffafefea7a833d08632fbaf0ba18546f8a2ec2391af496  test_2017_flickr.fr.gz
799e4854c25d601cb6cb6be29eabe5667734c61ace2f495e03e429031a0bc338  test_2017_mscoco.de.gz
aab300bfb4427697987e02cd0aacd44bfe8aa50456231b6474c08038bbed2b58  test_2017_mscoco.en.gz
754f3072ba9f124569ba5258b32730fc1d214bbf8e0c6dfb2b74401676220db0  test_2017_mscoco.fr.gz
7d0a9db904f94c554a8c58049a9f3a5357c27f46cc3d710d70cb0b4a2585b8c2  test_2018_flickr.cs.gz
ddd0130c7d97482dc5197a02141dae8dd79f20f03586c480d675c09a32daf608  test_2018_flickr.de.gz
ef4f4844037d4c5dea75c9a8ed5fd78905967a26f67c255e230cc9780032654d  test_2018_flickr.en.gz
fb2b83fcceb937a4f7e3e93c1c51c22aba92f1e342391e6b5ba392b16a920501  test_2018_flickr.fr.gz
"""
_HOME = (
    "https://raw.githubusercontent.com/multi30k/dataset/"
    "a3d2e0d26b56f3846f66a952536ffed4e401d05a/data/task1/raw/"
)
_FILES = tuple(line.split()[1] for line in _KNOWN.strip().splitlines())
DATASET = Dataset(
    summary="29,000 captions of pictures in English, German, French and Czech, with four test sets",
    licence="none stated; non-commercial research and education",
    home="https://github.com/multi30k/dataset",
    sources=tuple(
        pinned(_HOME + file, sha256)
        for sha256, file in (line.split() for line in _KNOWN.strip().splitlines())
    ),
    layouts=(_FILES,),
    note="The test sets of 2017 have no Czech.",
    known=versions({"as published": _KNOWN}),
)
unpack = keep_all


def multi30k(
    root: store.Root = None, languages: Sequence[str] = ("en", "de")
) -> dict[str, list[tuple[str, ...]]]:
    """Captions by part; each is a tuple with one sentence a language, in the order asked for.

    languages: of "cs", "de", "en" and "fr". Parts: "train" (29,000), "val" (1,014),
    "test_2016_flickr" (1,000), "test_2017_flickr" (1,000), "test_2017_mscoco" (461) and
    "test_2018_flickr" (1,071); the two of 2017 only without Czech. Raises DataMissing, and
    ValueError for another language or parts of different lengths.
    """
    unknown = [language for language in languages if language not in LANGUAGES]
    if unknown or not languages:
        raise ValueError(f"languages must be some of {', '.join(LANGUAGES)}, got {languages!r}")
    paths = {path.name: path for path in store.files("multi30k", root)}
    parts = {}
    for part in dict.fromkeys(name.split(".")[0] for name in paths):
        chosen = [f"{part}.{language}.gz" for language in languages]
        if all(name in paths for name in chosen):
            # Split at line feeds alone: sentences may hold other separators.
            columns = [read_whole(paths[name]).removesuffix("\n").split("\n") for name in chosen]
            if len({len(column) for column in columns}) > 1:
                counts = ", ".join(f"{n} {len(c)}" for n, c in zip(chosen, columns, strict=True))
                raise ValueError(f"multi30k: lines must correspond, got {counts}")
            parts[part] = list(zip(*columns, strict=True))
    return parts
