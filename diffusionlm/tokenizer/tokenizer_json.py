"""``tokenizer.json``, the one-file format of the ``tokenizers`` package, read into plain parts.

A file is a chain of steps (normalizer, pre-tokenizer, model, decoder) with many settings each. Read are files whose
tokens are bytes. ``TokenizerFile.foreign`` says in words what our own encoder would not do exactly as the package does;
a file without such a thing is a ``Vocabulary`` for it. Post-processors, which put tokens around a text, are not read:
what stands around a text is the caller's.

https://huggingface.co/docs/tokenizers; the patterns are those of GPT-2, Llama 3 and Qwen 2.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from diffusionlm.errors import TokenizerError
from diffusionlm.tokenizer import alphabet, files
from diffusionlm.tokenizer.lossless import to_bytes
from diffusionlm.tokenizer.normalize import Normalizer
from diffusionlm.tokenizer.pretokenize import PATTERNS, Pattern

_CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
SPELLINGS: dict[str, Pattern] = {pattern: name for name, pattern in PATTERNS.items()} | {  # type: ignore[misc]
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+": "gpt2",
    PATTERNS["gpt4"].replace(_CONTRACTIONS, "'(?i:[sdmt]|ll|ve|re)"): "gpt4",
}
"""How files spell the patterns that we know."""


class Added(BaseModel):
    """A token that is found in the text before anything else is done to it."""

    id: int
    content: str
    single_word: bool = False
    lstrip: bool = False
    rstrip: bool = False
    normalized: bool = True
    special: bool = False


class Model(BaseModel):
    """The vocabulary and the merges."""

    vocab: dict[str, int]
    merges: list[tuple[str, str] | str]
    dropout: float | None = None
    unk_token: str | None = None
    continuing_subword_prefix: str | None = None
    end_of_word_suffix: str | None = None
    byte_fallback: bool = False
    ignore_merges: bool = False


class _File(BaseModel):
    truncation: dict[str, Any] | None = None
    padding: dict[str, Any] | None = None
    added_tokens: list[Added] = []
    normalizer: dict[str, Any] | None = None
    pre_tokenizer: dict[str, Any] | None = None
    decoder: dict[str, Any] | None = None
    model: dict[str, Any]


@dataclass(frozen=True)
class Vocabulary:
    """What decides the ids of a byte-level BPE.

    Attributes:
        vocab: Token → id, without ``specials`` and ``whole``.
        merges: The most urgent first.
        specials: Control token → id.
        whole: Token that is ordinary text but is found before the words are cut → id.
        pattern: How text is cut into words.
        normalizer: What is done to the text before.
        ignore_merges: A word that is a token is that token, whatever the merges make of it.
    """

    vocab: Mapping[bytes, int]
    merges: Sequence[tuple[bytes, bytes]]
    specials: Mapping[str, int]
    whole: Mapping[str, int]
    pattern: Pattern
    normalizer: Normalizer | None
    ignore_merges: bool


@dataclass(frozen=True)
class TokenizerFile:
    """A byte-level file.

    Attributes:
        path: Where it lies.
        text: Its JSON.
        content: The same, parsed.
        added: Its added tokens.
        model: Its vocabulary and merges.
    """

    path: Path
    text: str
    content: dict[str, Any]
    added: list[Added]
    model: Model

    @cached_property
    def merges(self) -> list[tuple[str, str]]:
        """The merges, in the byte alphabet."""
        pairs = [tuple(merge.split(" ")) if isinstance(merge, str) else merge for merge in self.model.merges]
        if wrong := next((pair for pair in pairs if len(pair) != 2 or not all(pair)), None):
            raise TokenizerError(f"{self.path}: a merge is two tokens, not {' '.join(wrong)!r}")
        return pairs  # type: ignore[return-value]

    @property
    def specials(self) -> dict[str, int]:
        """The added tokens that are marked special."""
        return {token.content: token.id for token in self.added if token.special}

    @property
    def whole(self) -> dict[str, int]:
        """The added tokens that are ordinary text."""
        return {token.content: token.id for token in self.added if not token.special}

    def tokens(self) -> list[bytes]:
        """Return the bytes of every id; an id that no token has stands for none."""
        names = {token.id: token.content.encode("utf-8", "surrogatepass") for token in self.added}
        known = {id: _bytes_of(token) for token, id in self.model.vocab.items()} | names
        return [known.get(id, b"") for id in range(1 + max(known))]

    @cached_property
    def foreign(self) -> str | None:
        """The first thing in it that our encoder does not do exactly, or None."""
        model, made = self.model, {left + right for left, right in self.merges}
        names = {token.content for token in self.added}
        twice = [merge for merge, times in Counter(self.merges).items() if times > 1]
        normalizer = _normalizer(self.content["normalizer"])
        unread = next((token for token in model.vocab if token not in names and not _is_bytes(token)), None)
        ordinary = next((token for token in self.added if token.content in made or _is_byte(token.content)), None)
        trimmed = next((token for token in self.added if token.single_word or token.lstrip or token.rstrip), None)
        ways = {token.normalized for token in self.added}
        found = {
            _pattern_problem(self.content["pre_tokenizer"]): True,
            f"the normalizer {normalizer}": normalizer not in (None, "nfc"),
            f"the unknown token {model.unk_token!r}": model.unk_token is not None,
            "byte_fallback": model.byte_fallback,
            f"the merge {' '.join(twice[0]) if twice else ''!r} twice": bool(twice),
            f"the token {unread!r} that stands for no bytes": unread is not None,
            f"the added token {ordinary and ordinary.content!r} that is an ordinary one, too": ordinary is not None,
            f"the added token {trimmed and trimmed.content!r} that takes in what is beside it": trimmed is not None,
            "added tokens that are looked for in the normalized text": len(ways) > 1
            or (True in ways and normalizer is not None),
        }
        return next((what for what, holds in found.items() if holds and what is not None), None)

    def vocabulary(self) -> Vocabulary:
        """Return what our encoder needs; ``foreign`` is None."""
        assert (found := self.foreign) is None, found
        names = {token.content for token in self.added}
        return Vocabulary(
            vocab={alphabet.read(token): id for token, id in self.model.vocab.items() if token not in names},
            merges=[(alphabet.read(left), alphabet.read(right)) for left, right in self.merges],
            specials=self.specials,
            whole=self.whole,
            pattern=_pattern(self.content["pre_tokenizer"]),
            normalizer=_normalizer(self.content["normalizer"]),  # type: ignore[arg-type]
            ignore_merges=self.model.ignore_merges,
        )


def read(path: Path) -> TokenizerFile:
    """Read a file.

    Raises:
        TokenizerError: It is missing, damaged, contradicts itself, or its tokens are not bytes.
    """
    text = files.read_text(path)
    content = files.parse(path, text)
    if not isinstance(content, dict) or not isinstance(content.get("model"), dict):
        raise TokenizerError(f"{path} is not a tokenizer.json: it has no model; save the tokenizer again")
    kind = content["model"].get("type", "BPE" if "merges" in content["model"] else "unknown")
    if kind != "BPE":
        raise TokenizerError(f"{path} holds a {kind} model; only byte-level BPE can be read")
    parsed = _validated(_File, content, path)
    _check_steps(parsed, path)
    model = _validated(Model, parsed.model, path)
    _check_model(model, path)
    file = TokenizerFile(path, text, parsed.model_dump(), parsed.added_tokens, model)
    _check_ids(file)
    _check_merges(file)
    return file


def _validated(kind: type[Any], content: dict[str, Any], path: Path) -> Any:
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise TokenizerError(f"{path}: {place}: {first['msg']}; save the tokenizer again") from None


def _check_steps(file: _File, path: Path) -> None:
    """Refuse steps that make of a text something other than the tokens of its bytes."""
    for name in ("truncation", "padding"):
        if file.model_dump()[name] is not None:
            raise TokenizerError(f"{path} sets {name}, which would change texts in silence; set it to null")
    for name, step, inner in (
        ("pre_tokenizer", file.pre_tokenizer, "pretokenizers"),
        ("decoder", file.decoder, "decoders"),
    ):
        kinds = [one["type"] for one in _steps(step, inner)]
        if "ByteLevel" not in kinds:
            raise TokenizerError(
                f"{path} is not byte-level: its {name} is {', '.join(kinds) or 'null'}; only byte-level BPE can be read"
            )


def _check_model(model: Model, path: Path) -> None:
    if model.dropout:
        raise TokenizerError(f"{path} sets dropout {model.dropout}, which makes ids random; set it to null")
    if model.continuing_subword_prefix or model.end_of_word_suffix:
        affix = model.continuing_subword_prefix or model.end_of_word_suffix
        raise TokenizerError(
            f"{path} marks tokens with {affix!r}, so they are not bytes; only byte-level BPE can be read"
        )


def _check_ids(file: TokenizerFile) -> None:
    ids: dict[int, str] = {}
    vocab = file.model.vocab
    if len({token.content for token in file.added}) < len(file.added):
        raise TokenizerError(f"{file.path} lists an added token twice")
    for token, id in [*vocab.items(), *((token.content, token.id) for token in file.added)]:
        if ids.setdefault(id, token) != token or (token in vocab and vocab[token] != id) or id < 0 or not token:
            raise TokenizerError(f"{file.path}: the id {id} of {token!r} is not its own; each token has one, 0 or more")
    lacking = {alphabet.show(bytes([byte])) for byte in range(256)} - vocab.keys()
    if lacking:
        raise TokenizerError(
            f"{file.path} is not byte-level: its vocabulary lacks the single byte {min(lacking)!r}; all 256 are needed"
        )
    if max(ids, default=0) > 2 * len(ids):
        raise TokenizerError(f"{file.path}: ids go up to {max(ids)} for {len(ids)} tokens; number them without gaps")


def _check_merges(file: TokenizerFile) -> None:
    vocab = file.model.vocab
    for left, right in file.merges:
        if missing := next((token for token in (left, right, left + right) if token not in vocab), None):
            raise TokenizerError(
                f"{file.path}: the merge '{left} {right}' needs {missing!r}, which the vocabulary lacks"
            )


def _steps(step: dict[str, Any] | None, inner: str) -> list[dict[str, Any]]:
    """Return the steps of a step that may be a sequence of steps, each with its ``type``."""
    if step is None:
        return []
    if step.get("type") == "Sequence" and isinstance(step.get(inner), list):
        return [one for part in step[inner] for one in _steps(part, inner)]
    return [{"type": "unknown", **step}]


def _normalizer(step: dict[str, Any] | None) -> str | None:
    """Return None for no normalizer, "nfc", or the types of another one."""
    kinds = [str(one["type"]) for one in _steps(step, "normalizers")]
    return {(): None, ("NFC",): "nfc"}.get(tuple(kinds), ", ".join(kinds))


def _pattern_problem(step: dict[str, Any] | None) -> str | None:
    """Return what about a pre-tokenizer we do not know, or None."""
    steps = _steps(step, "pretokenizers")
    kinds = [one["type"] for one in steps]
    if kinds not in (["ByteLevel"], ["Split", "ByteLevel"]):
        return f"the pre-tokenizer {', '.join(kinds)}"
    last = {"add_prefix_space": True, "use_regex": True, **steps[-1]}
    if last["add_prefix_space"]:
        return "add_prefix_space"
    if len(steps) == 1:
        return None if last["use_regex"] else "no pattern that cuts words"
    split = {"behavior": None, "invert": False, "pattern": None, **steps[0]}
    if last["use_regex"] or (split["behavior"], split["invert"]) not in (("Isolated", False), ("Removed", True)):
        return "the way in which it cuts words"
    regex = split["pattern"].get("Regex") if isinstance(split["pattern"], dict) else None
    return None if regex in SPELLINGS else f"the pattern {regex or split['pattern']!r}"


def _pattern(step: dict[str, Any] | None) -> Pattern:
    steps = _steps(step, "pretokenizers")
    return "gpt2" if len(steps) == 1 else SPELLINGS[steps[0]["pattern"]["Regex"]]


def _is_bytes(shown: str) -> bool:
    try:
        alphabet.read(shown)
    except KeyError:
        return False
    return True


def _is_byte(shown: str) -> bool:
    return len(shown) == 1 and _is_bytes(shown)


def _bytes_of(shown: str) -> bytes:
    """Return what the package's decoder makes of a token: its bytes, or the UTF-8 of what is not in the alphabet."""
    return alphabet.read(shown) if _is_bytes(shown) else to_bytes(shown)
