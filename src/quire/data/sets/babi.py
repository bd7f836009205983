"""The bAbI tasks: short stories, a question about each, an answer of one word."""

import logging
import lzma
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from quire.data import store
from quire.data.archives import extract
from quire.data.catalogue import Dataset, Source, versions
from quire.data.question_answering import Babi, SentenceTable


def _babi_files(qa3_train: str) -> tuple[str, ...]:
    files = [
        f"en-valid-10k/qa{task}_{part}.txt"
        for task in range(1, 21)
        for part in ("train", "valid", "test")
    ]
    files[files.index("en-valid-10k/qa3_train.txt")] = qa3_train
    return tuple(files)


DATASET = Dataset(
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
    known=versions(
        {
            "10k version": """
3eb0404c4b07a255dcec8bd762eaef515ce3166a00ffbf3794da59edcf402bd1  en-valid-10k/qa10_test.txt.xz
1599c9e7dcdc95ef028b7ecfbe572af731a7040614e037958b8ad920bb641840  en-valid-10k/qa10_train.txt.xz
7e87a2a58fc13eda6bf5a562e75b5ad1f40028ef445fc028759916ef24f0efd9  en-valid-10k/qa10_valid.txt.xz
7923fe1d70c414465111cda1d2681df40f008828531d6be9a134ee6ce9024e35  en-valid-10k/qa11_test.txt.xz
6cc4bdac3728815880db41745c82dd0a8666669796a4a15bf00a4a421f207b56  en-valid-10k/qa11_train.txt.xz
3e6135653855e92fdb658068814f92c1002f5169c25e815c691c15e7b5947b2c  en-valid-10k/qa11_valid.txt.xz
c3d9eb74f0a474c87f7c5dbd2e7ca0249f8fd6e063a161abd6d308c51419a2c3  en-valid-10k/qa12_test.txt.xz
a9cbd454ab213302875b3ba5959a9bfe0ec9eeed3c0c455e11b214d53e947ab3  en-valid-10k/qa12_train.txt.xz
53cb2d0ec5937ded1b3f4ea628b478618dbfbe6f749fa2305e8a35cb9ca152c1  en-valid-10k/qa12_valid.txt.xz
c07c01d725d307a66cae9fa0ec2372f6e94e87715ba30351529ce650843e96e3  en-valid-10k/qa13_test.txt.xz
066c5141f3be2717a57ea96051de15b9733dbda86264d727888a2748a6906e9d  en-valid-10k/qa13_train.txt.xz
b48863f9e38a993df8534fea014231a8056d4111bc05459ecd67354596fbee59  en-valid-10k/qa13_valid.txt.xz
4e0c16d0333fa94cef2c95d7855b7deb4e2bf52f0ee07b6318fa2ea7abbc4d41  en-valid-10k/qa14_test.txt.xz
0bdf30541a3cda4bafd84d092d50a2f3fcf40d99850690d89b9c7679cb072a40  en-valid-10k/qa14_train.txt.xz
2f1b836f0ab5ed0d5e1bf76ce4875f53fb97e19bfd7077b5053ae5008a0cf19d  en-valid-10k/qa14_valid.txt.xz
214ee3e9ce01de9637895a14ba5e88a193f4b4b0db8999fb8c8f8a4032c9c125  en-valid-10k/qa15_test.txt.xz
1a9fbebc14b73d0a48535335f571f242f81bafd5fe709d49e2c92c8cf59c012a  en-valid-10k/qa15_train.txt.xz
508afa5e255994c41c7682db1d78d8afc0db06a040964a150ee442d51681cc0d  en-valid-10k/qa15_valid.txt.xz
e75b1f5cb657824daa67123a5287c59718583a9640f449c491b71eaa2bfb3a04  en-valid-10k/qa16_test.txt.xz
c3eadf65e8572fd953902f8f66276e8065044efe913f6824703ae5ff0f855417  en-valid-10k/qa16_train.txt.xz
b274257e2f403b9d09ec489d89506c94b1ab57575d1eee1c501c4103f3004da3  en-valid-10k/qa16_valid.txt.xz
e54d6ed34bf639146423d1ef66faac98278a9f10210a077b755095864942509a  en-valid-10k/qa17_test.txt.xz
e7577227a8988b2386e6b1d518ebb914f9096ea096a91ceba2502e77cf20cc51  en-valid-10k/qa17_train.txt.xz
949e5c8f6fa6a6586a3c61cee547bdc5e298d753c09d4656e30875c100ebcfea  en-valid-10k/qa17_valid.txt.xz
be4e8fb29595d57fa2d41fa7819a5772413e98ac7259bcc8cbbb063e2f1629eb  en-valid-10k/qa18_test.txt.xz
e0b20bf44f1173da00438428321d383d7c0c35919c8347c25e6735a14b4d19bf  en-valid-10k/qa18_train.txt.xz
0ff9f0c55bdbfd744d591f7f40149d0a0ffb525c6e3dcc1d8ff573ce7b099009  en-valid-10k/qa18_valid.txt.xz
a1e6f5703c6b9982bf974ff5fe9d29c784eb35f307f78f56405e060b5b08052e  en-valid-10k/qa19_test.txt.xz
77e6c466444a3cbf0de9e93f7d20f6f5cfd1fc0d78024934f596f10fe9cceec2  en-valid-10k/qa19_train.txt.xz
33d5fb6a36b9223ec59105a448ebe9f255441831519a6d82df8bad8fb20ae2e6  en-valid-10k/qa19_valid.txt.xz
e6248ec55048e251b2594060472ae1f31fab56955880ebaaa1bd0eca07a399e1  en-valid-10k/qa1_test.txt.xz
760d09df4ba1da21508532688db00506a75ed33221c780b695969a382baf7016  en-valid-10k/qa1_train.txt.xz
deccd4449d2b84fb575e0cd148dbb65910d22310ecaf9c5f4f645689238f61c9  en-valid-10k/qa1_valid.txt.xz
441110e50c9408a0a97031d5932636d59c9b984e46406e8a7718fd1cb548320b  en-valid-10k/qa20_test.txt.xz
d540562dba570b1f2095ada7d8e828d729ddba30b759753cf660bd583264fc0d  en-valid-10k/qa20_train.txt.xz
209006429c91ad676867a1de50d0cf7e47b756a5487932b1ff31bd2911f4e9fa  en-valid-10k/qa20_valid.txt.xz
bed32ed2edb82a16e977f7f4445640b248d5e1117766bdf12134209ea602e2dc  en-valid-10k/qa2_test.txt.xz
8223b7a9f99d9294b2d87eeb16d923e7cd1c54826d03c8b602122180ab919bab  en-valid-10k/qa2_train.txt.xz
1762cf21d8beefb3117fca788135d6ddc1339632477cce8c308bb59ffae25272  en-valid-10k/qa2_valid.txt.xz
46ae203ef657bae161f1a4ccbc8a9810380abfc66608fdbde5d097ca839808f0  en-valid-10k/qa3_test.txt.xz
f6018b2569d4645546ec13b89f7b76979ece07d5074d98ea11b9d91403fa3b6e  en-valid-10k/qa3_valid.txt.xz
84a64698bdb6370ebfd084f7685118405a754ab0f7bc0ede8cc112d3553bf95f  en-valid-10k/qa4_test.txt.xz
b4e9a560032e46c3c2eb5c4dc3bd1825c2970562714ded1fa1beaef2410b3330  en-valid-10k/qa4_train.txt.xz
25cf7d36f3efff45218ca91df08cbdfb27b1c19cf41a09c2c87ae9b7d6294f52  en-valid-10k/qa4_valid.txt.xz
981441758d48f9026f037513d8475fad76be8bb35841f7db6eaa8ae42a05b54f  en-valid-10k/qa5_test.txt.xz
7e6987399a1c093e10cba5039d9cf0331e35a25937875ea78c85d629cb29c5c7  en-valid-10k/qa5_train.txt.xz
3adfdb2b0c8b43493d2930078b22bdf18b3f8a8d9fb304386c3ddae26cb1fb85  en-valid-10k/qa5_valid.txt.xz
89dccce29f1eb3ac9bb778ec3d02ed587ea1049f09dbcd882c7cab0c763f766e  en-valid-10k/qa6_test.txt.xz
4cc967f536fc6b7c34f4bf592af92befd6f8b416a628928de7f466ae9c6dc8b4  en-valid-10k/qa6_train.txt.xz
ade1715f1ec7250b7b0c2f9085ebec889e9cfc22ef60f44c687f404c0ce2e850  en-valid-10k/qa6_valid.txt.xz
12db5741eec9b62d9e47f6dde856dcf2a34293a681fa445bd52ed34163996b58  en-valid-10k/qa7_test.txt.xz
b519ada3a45214d0f976b12b5d3ad73028aa60892b43d71d9566eda17b57c5ac  en-valid-10k/qa7_train.txt.xz
330f0d752048ed3db524ba922fa0ca2def020a6819e7f371f85851b75b6741cc  en-valid-10k/qa7_valid.txt.xz
7c547f1119d1732730e99857b4047f04f9d4ed1a212a38c3762df1a3d746253b  en-valid-10k/qa8_test.txt.xz
d16687568211f9b343517895d453df8900132ffeb4613c40d322658fbf4cd012  en-valid-10k/qa8_train.txt.xz
ee70d0ff3f994bb60fd7b4fd8a5250f6755e818d9042fb274fe043d5af20e0c3  en-valid-10k/qa8_valid.txt.xz
4ede45f27e2e411980c8118f7f4d680603d1e7ee82a7012c40c32b2413ca9d4a  en-valid-10k/qa9_test.txt.xz
74e1187c7ae5dc32c32abfcf53d131f2320ea3d69ba6e755cfabf23567d304dc  en-valid-10k/qa9_train.txt.xz
c62f7fd49844f977b90f8676e219a961856e61a7168e98a2591b6121230ef334  en-valid-10k/qa9_valid.txt.xz
""",
            "but task 3 trained on its 1k version": """
6b6d7a48bdf8a49415c56c70990e60c4455aa927bd7d9b8c0eafecedcd9ba592  en-valid/qa3_train.txt.xz
""",
        }
    ),
)


def unpack(downloads: list[Path], produced: Path) -> None:
    """Facebook's own copy has the 10k files without supporting facts (`-nosf`), which we drop."""
    scratch = produced.parent / "archive"
    extract(downloads[0], scratch)
    tasks = scratch / "tasks_1-20_v1-2"
    found = [name for name in ("en-valid-10k", "en-valid-10k-nosf") if (tasks / name).is_dir()]
    if not found:
        raise ValueError(f"{downloads[0].name} has no folder tasks_1-20_v1-2/en-valid-10k[-nosf]")
    (produced / "en-valid-10k").mkdir()
    for path in (tasks / found[0]).glob("qa*_*.txt"):
        shutil.move(path, produced / "en-valid-10k" / path.name)


def babi(
    root: str | os.PathLike[str] | None = None,
    *,
    tasks: Iterable[int] = range(1, 21),
    max_facts: int = 70,
) -> Babi:
    """The bAbI question-answering tasks v1.2, 10k version with validation part.

    tasks: numbers 1..20. max_facts: the most recent facts kept of a story. Text is lower-cased,
    full stops and question marks are dropped, an answer is one word even with commas ("n,w");
    supporting facts are not used. About 9,000 training, 1,000 validation and 1,000 test questions
    a task. Where the 10k training part of task 3 is missing, its 1k version (about 900) is used: do
    not report a 10k result then.

    Raises DataMissing if a file is not under root, ValueError for an unknown task or a bad line.
    """
    chosen = sorted(set(tasks))
    if not chosen or not set(chosen) <= set(range(1, 21)):
        raise ValueError(f"tasks must be numbers in 1..20, got {chosen}")
    if max_facts < 1:
        raise ValueError(f"max_facts must be at least 1, got {max_facts}")
    paths = {path.name.removesuffix(".xz"): path for path in store.files("babi", root)}
    if 3 in chosen and paths["qa3_train.txt"].parent.name == "en-valid":
        logging.getLogger(__name__).warning(
            "babi: task 3 is trained on its 1k version, en-valid-10k/qa3_train.txt is absent"
        )
    table = SentenceTable()
    parts = {
        part: [
            (task, *example)
            for task in chosen
            for example in _examples(paths[f"qa{task}_{part}.txt"], table, max_facts)
        ]
        for part in ("train", "valid", "test")
    }
    return table.pack(parts)


def _examples(
    path: Path, table: SentenceTable, max_facts: int
) -> Iterator[tuple[list[int], int, str]]:
    """The questions of one file, each with the facts that stand before it in its story."""
    facts: list[int] = []
    try:
        content = path.read_bytes()
        text = (lzma.decompress(content) if path.suffix == ".xz" else content).decode()
    except (lzma.LZMAError, UnicodeDecodeError) as error:
        raise ValueError(f"babi: {path} is not a whole text file ({error})") from error
    if "\t" not in text:
        raise ValueError(f"babi: {path} holds no question")
    for position, line in enumerate(text.splitlines(), start=1):
        identifier, _, rest = line.partition(" ")
        sentence, *columns = rest.split("\t")
        answer = columns[0].strip().lower() if columns else ""
        if not identifier.isdigit() or not sentence.strip() or bool(columns) != bool(answer):
            raise ValueError(
                f"babi: {path}, line {position}: expected a number, a sentence and, after a "
                f"question, a tab and an answer, got {line!r}"
            )
        if identifier == "1":
            facts = []
        if answer:
            yield facts[-max_facts:], table.number(sentence), answer
        else:
            facts.append(table.number(sentence))
