"""A vocabulary of pieces with sentinels, learned from text (section 2.1).

The Unigram model, learned by SentencePiece as in the paper (the same texts give the same pieces,
which the trainer of `tokenizers` does not keep) and run by `tokenizers`. Ids: padding 0, end of
sequence 1, unknown 2, the pieces, and last the sentinels `<extra_id_99>` .. `<extra_id_0>`.
"""

import importlib
import io
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

from quire.papers.t5.objectives import Ids

ROW_MULTIPLE = 128
"""Rows of the published embedding are a multiple of this: 32,128 for 32,100 ids."""


class Vocabulary:
    """Text to token ids and back.

    Example:
        >>> texts = ["the cat sat on the mat .", "the dog sat on the log ."] * 20
        >>> vocabulary = Vocabulary.train(texts, 40, sentinels=4)
        >>> vocabulary.decode(vocabulary.encode(["the cat sat"]))
        ['the cat sat']
        >>> vocabulary.encode(["<extra_id_0>"])[0][-1] == vocabulary.ids.size - 1
        True

    Args:
        tokenizer: A `tokenizers.Tokenizer` with this module's order of ids, such as the one that
            `transformers` keeps for T5 in tokenizer.json.

    Raises ValueError where padding, end of sequence and unknown are not ids 0, 1, 2 or the
    sentinels not the last ids, counting down.
    """

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        size, count = tokenizer.get_vocab_size(), 0
        while tokenizer.token_to_id(f"<extra_id_{count}>") == size - 1 - count:
            count += 1
        named = [tokenizer.token_to_id(name) for name in ("<pad>", "</s>", "<unk>")]
        if named != [0, 1, 2] or not count:
            raise ValueError(
                "a vocabulary has <pad>, </s>, <unk> as ids 0, 1, 2 and <extra_id_0> as its last "
                f"one, got {named} and {count} sentinels"
            )
        self.ids = Ids(size, count)

    @classmethod
    def train(
        cls, texts: Iterable[str], pieces: int = 32_000, *, sentinels: int = 100
    ) -> "Vocabulary":
        """Learn pieces from texts; the same texts give the same ones.

        Args:
            texts: Read once.
            pieces: Ids without sentinels; fewer where the texts do not give as many.
            sentinels: Ids that follow them.

        Raises ImportError naming the extra where a library is missing, ValueError for no text or
        for fewer pieces than it has characters.
        """
        tokenizers, sentencepiece = _library("tokenizers"), _library("sentencepiece")
        lines = [line for text in texts for line in text.splitlines()]
        if not any(line.strip() for line in lines):
            raise ValueError("a vocabulary needs text to learn from, got none")
        learned = io.BytesIO()
        try:
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=iter(lines),
                model_writer=learned,
                vocab_size=pieces,
                hard_vocab_limit=False,
                normalization_rule_name="nfkc",
                max_sentence_length=2**30,
                pad_id=0,
                eos_id=1,
                unk_id=2,
                bos_id=-1,
                minloglevel=2,
            )
        except RuntimeError as error:
            reason = str(error).rpartition("] ")[2]
            raise ValueError(f"no pieces could be learned: {reason}") from error
        model = sentencepiece.SentencePieceProcessor(model_proto=learned.getvalue())
        scores = [(model.id_to_piece(i), model.get_score(i)) for i in range(len(model))]
        tokenizer = tokenizers.Tokenizer(tokenizers.models.Unigram(scores, unk_id=2))
        tokenizer.add_special_tokens(["<pad>", "</s>", "<unk>"])
        normal, pre = tokenizers.normalizers, tokenizers.pre_tokenizers
        tokenizer.normalizer = normal.Sequence(
            [normal.NFKC(), normal.Replace(tokenizers.Regex(r"\s+"), " "), normal.Strip()]
        )
        tokenizer.pre_tokenizer = pre.Metaspace()
        tokenizer.decoder = tokenizers.decoders.Metaspace()
        names = [f"<extra_id_{number}>" for number in reversed(range(sentinels))]
        tokenizer.add_special_tokens(names)
        return cls(tokenizer)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Vocabulary":
        """A vocabulary that `save` wrote, or a tokenizer.json of T5.

        Raises ImportError naming the extra where `tokenizers` is missing, ValueError for another
        file.
        """
        tokenizers = _library("tokenizers")
        try:
            tokenizer = tokenizers.Tokenizer.from_str(Path(path).read_text(encoding="utf-8"))
        except Exception as error:  # what the library raises for another form
            raise ValueError(f"{path} holds no vocabulary: {error}") from error
        return cls(tokenizer)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it as JSON, in the form of `tokenizers`."""
        Path(path).write_text(self.tokenizer.to_str(), encoding="utf-8")

    @property
    def rows(self) -> int:
        """Rows of an embedding as the published models have it: `ids.size` padded up."""
        return -(-self.ids.size // ROW_MULTIPLE) * ROW_MULTIPLE

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of each text, without end of sequence; on all threads of `tokenizers`."""
        found = self.tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return [encoding.ids for encoding in found]

    def decode(self, rows: Iterable[Sequence[int]]) -> list[str]:
        """Text of each row up to its end of sequence; padding is left out, sentinels are shown."""
        clean = [list(self._shown(row)) for row in rows]
        return list(self.tokenizer.decode_batch(clean, skip_special_tokens=False))

    def _shown(self, row: Sequence[int]) -> Iterable[int]:
        for token in row:
            if token == self.ids.eos:
                return
            # Rows that pad the embedding have no text.
            if token != self.ids.pad and token < self.ids.size:
                yield int(token)


def _library(name: Literal["tokenizers", "sentencepiece"]) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(f"a vocabulary needs {name}: pip install 'quire-papers[text]'") from error
