"""The files of a tokenizer folder: GPT-2's ``vocab.json`` and ``merges.txt``, the specials, and what kind it is.

    tokenizer_type.json   {"format": 1, "name": "bpe" | "byte" | "json"}, and "pattern" where it is not GPT-2's; a
                          folder without it is read as its tokenizer.json, or as GPT-2 files
    vocab.json            token, shown in the byte alphabet → id; special tokens by their plain names
    merges.txt            "#version: 0.2", then one merge "left right" a line, the most urgent first
    special_tokens.json   special token → id; without it, what no merge makes is special (GPT-2's own files)
    tokenizer.json        all of it for other programs, beside the files of "bpe"; the tokenizer itself of "json", a
                          vocabulary that GPT-2's files cannot describe

Everything is UTF-8 with \\n line ends, whatever the locale. Only plain data lives here; the tokenizer classes read it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from diffusionlm.errors import TokenizerError
from diffusionlm.tokenizer import alphabet

TYPE = "tokenizer_type.json"
VOCAB = "vocab.json"
MERGES = "merges.txt"
SPECIALS = "special_tokens.json"
JSON = "tokenizer.json"
FORMAT = 1
MERGES_HEADER = "#version: 0.2"


def to_json(value: object) -> str:
    """Return ``value`` as readable JSON with its order kept."""
    return json.dumps(value, ensure_ascii=False, indent=0) + "\n"


def write_folder(folder: Path, name: str, texts: Mapping[str, str], facts: Mapping[str, str] | None = None) -> None:
    """Write a tokenizer folder: the kind ``name``, ``facts`` beside it, and the files ``texts`` (file name → content).

    Raises:
        TokenizerError: The folder or a file cannot be written.
    """
    kind = json.dumps({"format": FORMAT, "name": name, **(facts or {})}) + "\n"
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        for file, text in {**texts, TYPE: kind}.items():
            # Names of special tokens may hold lone surrogates; JSON and the merges file must still be readable.
            (Path(folder) / file).write_text(text, encoding="utf-8", errors="surrogatepass", newline="\n")
    except OSError as error:
        raise TokenizerError(f"cannot write the tokenizer to {folder}: {error.strerror or error}") from error


def read_type(folder: Path) -> str:
    """Return the kind of tokenizer in ``folder``: of files that another program wrote, "json" goes before "bpe".

    Raises:
        TokenizerError: No such folder, no tokenizer in it, or a kind or format that this version does not know.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise TokenizerError(f"no tokenizer at {folder}; give a folder with {VOCAB} and {MERGES}, or a {JSON}")
    path = folder / TYPE
    if not path.exists():
        if (folder / JSON).exists():
            return "json"
        if (folder / VOCAB).exists() or (folder / MERGES).exists():
            return "bpe"
        raise TokenizerError(f"no tokenizer in {folder}: neither {TYPE} nor {JSON} nor {VOCAB} is there")
    content = parse(path)
    if not isinstance(content, dict) or set(content) - {"pattern"} != {"format", "name"}:
        raise TokenizerError(f'{path} must be {{"format": {FORMAT}, "name": "bpe", "byte" or "json"}}')
    if content["format"] != FORMAT:
        raise TokenizerError(f"{path} has format {content['format']!r}, this version reads {FORMAT}; save it again")
    return str(content["name"])


def read_pattern(folder: Path, known: Sequence[str]) -> str:
    """Return the name of the pre-tokenisation pattern of a folder that ``read_type`` accepts; GPT-2's if none is named.

    Raises:
        TokenizerError: It is none of the ``known`` ones.
    """
    path = Path(folder) / TYPE
    content = parse(path) if path.exists() else {}
    pattern = content.get("pattern", "gpt2") if isinstance(content, dict) else "gpt2"
    if pattern not in known:
        raise TokenizerError(f"{path} names an unknown pattern {pattern!r}; known: {', '.join(known)}")
    return pattern


def read_ids(path: Path) -> dict[str, int]:
    """Return a JSON object of token → id.

    Raises:
        TokenizerError: The file is missing, not JSON, or holds something else.
    """
    content = parse(path)
    if not isinstance(content, dict):
        raise TokenizerError(f"{path} must hold a JSON object of token: id, not a {type(content).__name__}")
    for token, id in content.items():
        if type(id) is not int:
            raise TokenizerError(f"{path}: the id of {token!r} must be an integer, not {id!r}")
    return content


def read_merges(path: Path) -> list[tuple[str, str]]:
    """Return the merges, the most urgent first, in the byte alphabet.

    Raises:
        TokenizerError: The file is missing, a line is not two tokens, or a merge is listed twice.
    """
    merges: dict[tuple[str, str], None] = {}
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        line = line.rstrip("\r")
        if not line or (number == 1 and line.startswith("#version")):  # "# #" further down is a merge like any other
            continue
        parts = line.split(" ")
        if len(parts) != 2 or not all(parts):
            raise TokenizerError(f"{path} line {number}: a merge is two tokens with one space between, not {line!r}")
        merge = (parts[0], parts[1])
        if merge in merges:
            raise TokenizerError(f"{path} line {number}: the merge {line!r} is listed twice")
        merges[merge] = None
    return list(merges)


def read_specials(folder: Path, shown: Mapping[str, int], merges: Sequence[tuple[str, str]]) -> dict[str, int]:
    """Return the special tokens: those of the file, or without one whatever is neither a byte nor a merge's product.

    Raises:
        TokenizerError: The file is damaged, or contradicts the vocabulary ``shown``.
    """
    path = folder / SPECIALS
    if not path.exists():
        ordinary = {alphabet.show(bytes([b])) for b in range(256)} | {left + right for left, right in merges}
        return {token: id for token, id in shown.items() if token not in ordinary}
    specials = read_ids(path)
    for token, id in specials.items():
        if token in shown and shown[token] != id:
            raise TokenizerError(
                f"{path} gives {token!r} the id {id}, {VOCAB} gives it {shown[token]}; they must agree"
            )
    return specials


def write_merges(merges: list[tuple[str, str]]) -> str:
    """Return the text of ``merges.txt``."""
    return "\n".join([MERGES_HEADER, *(f"{left} {right}" for left, right in merges)]) + "\n"


def check_contiguous(ids: Mapping[str, int], path: Path, first: int = 0) -> None:
    """Refuse ids that are not exactly first, first + 1, ...

    Raises:
        TokenizerError: Names a token whose id is a duplicate or leaves a gap.
    """
    last = first + len(ids) - 1
    order = sorted(ids.items(), key=lambda item: item[1])
    for expected, (token, id) in enumerate(order, start=first):
        if id != expected:
            raise TokenizerError(f"{path}: ids must be {first}..{last}, each once; {token!r} has {id}, not {expected}")


def check_tokens(
    path: Path, shown: Mapping[str, int], merges: Sequence[tuple[str, str]], specials: Mapping[str, int]
) -> None:
    """Refuse a vocabulary, merges and specials that do not belong together.

    Raises:
        TokenizerError: Names one token that shows it.
    """
    single = {alphabet.show(bytes([b])) for b in range(256)}
    made = single | {left + right for left, right in merges}
    for pair in merges:
        if part := next((part for part in pair if part not in made), None):
            merge = f"the merge '{pair[0]} {pair[1]}'"
            raise TokenizerError(f"{path.parent / MERGES}: {part!r} in {merge} is neither a byte nor made by a merge")
    if lacking := made - shown.keys():
        token = min(lacking)
        what = "single byte" if token in single else "merged token"
        raise TokenizerError(f"{path} lacks the {what} {token!r}; it and {MERGES} do not belong together")
    if clashing := made & specials.keys():
        raise TokenizerError(f"{path.parent / SPECIALS}: {min(clashing)!r} is an ordinary token, it cannot be special")
    if orphans := shown.keys() - made - specials.keys():
        raise TokenizerError(f"{path}: no merge makes {min(orphans)!r}; if it is special, list it in {SPECIALS}")


def read_text(path: Path) -> str:
    """Return a file's text.

    Raises:
        TokenizerError: The file is missing, cannot be read, or is not UTF-8.
    """
    try:
        return path.read_bytes().decode("utf-8", "surrogatepass")
    except FileNotFoundError:
        raise TokenizerError(
            f"{path} is missing; a tokenizer folder holds {VOCAB}, {MERGES} and {SPECIALS}, or {JSON}"
        ) from None
    except OSError as error:
        raise TokenizerError(f"cannot read {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise TokenizerError(f"{path} is damaged: byte {error.start} is not UTF-8") from error


def parse(path: Path, text: str | None = None) -> object:
    """Return a file's JSON; ``text`` is what it holds where that is at hand.

    Raises:
        TokenizerError: The file is missing or damaged.
    """
    try:
        return json.loads(read_text(path) if text is None else text)
    except json.JSONDecodeError as error:
        raise TokenizerError(f"{path} is damaged: not JSON at line {error.lineno}: {error.msg}") from error
