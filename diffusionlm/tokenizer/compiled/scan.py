"""Cut UTF-8 text into words with a table in place of a regular expression; identical to ``regex`` on all of Unicode.

Bytes that are not UTF-8 count one by one as signs, which is what their surrogate escapes are to the pattern. Two
families of patterns are known:

    GPT2    '(?:[sdmt]|ll|ve|re)| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+
    GPT4    (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,D}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*
            |\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+        with D = 3 (GPT-4, Llama 3) or D = 1 (Qwen)

A pattern is an int: 0 = GPT2, D > 0 = GPT4 with at most D digits. ``word_end`` finds one word, character by character;
``cut_words`` many, and those of ASCII text sixty-four bytes at a time, without a branch for each.
"""

# Numba infers the types of compiled functions by itself; a checker that takes them for Python sees other ones.
# pyright: reportArgumentType=false, reportReturnType=false, reportCallIssue=false, reportIndexIssue=false

from __future__ import annotations

import numpy as np

from diffusionlm.tokenizer.compiled.classes import LETTER, NEWLINE, NUMBER, OTHER, SPACE
from diffusionlm.tokenizer.compiled.jit import compiled
from diffusionlm.tokenizer.compiled.memory import BLOCK, between, bit_length, load8, lowest_bit

GPT2 = 0
_ONE, _TWO, _ALL = np.uint64(1), np.uint64(2), np.uint64(0xFFFFFFFFFFFFFFFF)


@compiled(inline="always")
def _continues(byte: int) -> bool:
    return (byte & 0xC0) == 0x80


@compiled()
def _wide_at(text: int, i: int, n: int, pages, classes) -> int:  # noqa: ANN001
    """Return class · 8 + width of the character at ``i``, whose first byte is not ASCII."""
    first = load8(text + i)
    left = n - i
    if 0xC2 <= first <= 0xDF and left >= 2:
        second = load8(text + i + 1)
        if _continues(second):
            point = (first & 0x1F) << 6 | (second & 0x3F)
            return classes[pages[point >> 8] * 256 + (point & 255)] * 8 + 2
    elif 0xE0 <= first <= 0xEF and left >= 3:
        second, third = load8(text + i + 1), load8(text + i + 2)
        # No overlong forms (E0 80…9F) and no surrogates (ED A0…BF).
        proper = (first != 0xE0 or second >= 0xA0) and (first != 0xED or second <= 0x9F)
        if _continues(second) and _continues(third) and proper:
            point = (first & 0x0F) << 12 | (second & 0x3F) << 6 | (third & 0x3F)
            return classes[pages[point >> 8] * 256 + (point & 255)] * 8 + 3
    elif 0xF0 <= first <= 0xF4 and left >= 4:
        second, third, fourth = load8(text + i + 1), load8(text + i + 2), load8(text + i + 3)
        proper = (first != 0xF0 or second >= 0x90) and (first != 0xF4 or second <= 0x8F)
        if _continues(second) and _continues(third) and _continues(fourth) and proper:
            point = (first & 0x07) << 18 | (second & 0x3F) << 12 | (third & 0x3F) << 6 | (fourth & 0x3F)
            return classes[pages[point >> 8] * 256 + (point & 255)] * 8 + 4
    return OTHER * 8 + 1


@compiled(inline="always")
def _at(text: int, i: int, n: int, pages, classes) -> int:  # noqa: ANN001
    """Return class · 8 + width of the character at ``i`` < n."""
    byte = load8(text + i)
    if byte < 0x80:
        return classes[np.uint64(byte)] * 8 + 1
    return _wide_at(text, i, n, pages, classes)


@compiled(inline="always")
def _run(text: int, i: int, n: int, kind: int, pages, classes) -> int:  # noqa: ANN001
    """Return where the run of characters of one class that may begin at ``i`` ends."""
    while i < n:
        byte = load8(text + i)
        if byte < 0x80:
            if classes[np.uint64(byte)] != kind:
                break
            i += 1
        else:
            found = _wide_at(text, i, n, pages, classes)
            if found >> 3 != kind:
                break
            i += found & 7
    return i


@compiled()
def _spaces(text: int, i: int, n: int, pages, classes) -> int:  # noqa: ANN001
    """Return where \\s+(?!\\S)|\\s+ ends: a run of white space gives its last character to what follows."""
    last, end = i, i
    while end < n:
        found = _at(text, end, n, pages, classes)
        if found >> 3 < SPACE:
            return last if last > i else end
        last = end
        end += found & 7
    return end


@compiled()
def _gpt2_word(text: int, i: int, n: int, pages, classes) -> int:  # noqa: ANN001
    first = load8(text + i)
    if first == 0x27 and i + 1 < n:  # an apostrophe
        second = load8(text + i + 1)
        if second == 0x73 or second == 0x64 or second == 0x6D or second == 0x74:  # s d m t
            return i + 2
        if i + 2 < n:
            third = load8(text + i + 2)
            is_ll = second == 0x6C and third == 0x6C
            if is_ll or (third == 0x65 and (second == 0x76 or second == 0x72)):  # ve re
                return i + 3
    if first == 0x20 and i + 1 < n:
        kind = _at(text, i + 1, n, pages, classes) >> 3
        if kind < SPACE:
            return _run(text, i + 1, n, kind, pages, classes)
    kind = _at(text, i, n, pages, classes) >> 3
    if kind < SPACE:
        return _run(text, i, n, kind, pages, classes)
    return _spaces(text, i, n, pages, classes)


@compiled()
def _contraction(text: int, i: int, n: int) -> int:
    """Return the end of (?i:'s|'t|'re|'ve|'m|'ll|'d) at the apostrophe ``i``, or ``i``. The long s is an s, too."""
    if i + 1 >= n:
        return i
    second = load8(text + i + 1)
    if second == 0xC5 and i + 2 < n and load8(text + i + 2) == 0xBF:  # ſ
        return i + 3
    second |= 0x20
    if second == 0x73 or second == 0x74 or second == 0x6D or second == 0x64:  # s t m d
        return i + 2
    if i + 2 < n:
        third = load8(text + i + 2) | 0x20
        if (third == 0x65 and (second == 0x72 or second == 0x76)) or (second == 0x6C and third == 0x6C):  # re ve ll
            return i + 3
    return i


@compiled()
def _newline_end(text: int, i: int, n: int, pages, classes) -> int:  # noqa: ANN001
    """Return the end of \\s*[\\r\\n]+ at ``i``: behind the last line end of the run of white space; ``i`` if none."""
    end = i
    while i < n:
        found = _at(text, i, n, pages, classes)
        if found >> 3 < SPACE:
            break
        i += found & 7
        if found >> 3 == NEWLINE:
            end = i
    return end


@compiled()
def _gpt4_word(text: int, i: int, n: int, digits: int, pages, classes) -> int:  # noqa: ANN001
    first = load8(text + i)
    if first == 0x27:
        end = _contraction(text, i, n)
        if end > i:
            return end
    found = _at(text, i, n, pages, classes)
    kind, after = found >> 3, i + (found & 7)
    if kind == LETTER:
        return _run(text, after, n, LETTER, pages, classes)
    if kind == NUMBER:
        count = 1
        while count < digits and after < n:
            found = _at(text, after, n, pages, classes)
            if found >> 3 != NUMBER:
                break
            after += found & 7
            count += 1
        return after
    following = _at(text, after, n, pages, classes) >> 3 if after < n else SPACE
    if kind != NEWLINE and following == LETTER:
        return _run(text, after, n, LETTER, pages, classes)
    if kind == OTHER or (first == 0x20 and following == OTHER):
        end = _run(text, after, n, OTHER, pages, classes)
        return _run(text, end, n, NEWLINE, pages, classes)
    end = _newline_end(text, i, n, pages, classes)
    return end if end > i else _spaces(text, i, n, pages, classes)


@compiled(inline="always")
def word_end(text: int, i: int, n: int, pattern: int, pages, classes) -> int:  # noqa: ANN001
    """Return where the word that begins at ``i`` ends, i < end ≤ n.

    Args:
        text: Address of the UTF-8 bytes, padded.
        i, n: Where the word begins and the text ends.
        pattern: 0 = GPT2, D > 0 = GPT4 with at most D digits together.
        pages, classes: ``class_table()``.
    """
    if pattern == GPT2:
        return _gpt2_word(text, i, n, pages, classes)
    return _gpt4_word(text, i, n, pattern, pages, classes)


@compiled(inline="always")
def _gpt2_starts(text: int, left: int) -> np.uint64:
    """Return where words of GPT2 begin behind the one that begins at an address: bit k is byte k of the next 64.

    Nothing is said of what depends on a byte that is not ASCII, or on what follows the ``left`` bytes of the text.
    A sign, letter or digit begins a word where another class was before, unless that was a single space; white space
    where a run of it begins, and at the run's last character. A contraction ends where its letters say.
    """
    certain = min(lowest_bit(between(text, 0x80, 0xFF, 0)), left)
    if certain < 2:
        return np.uint64(0)
    letters, digits = between(text, 0x61, 0x7A, 0x20), between(text, 0x30, 0x39, 0)
    blank = between(text, 0x20, 0x20, 0)
    white = blank | between(text, 0x09, 0x0D, 0)
    others = ~(letters | digits | white)
    same = (letters & letters << _ONE) | (digits & digits << _ONE) | (others & others << _ONE)
    starts = ~(white | same | blank << _ONE) | (white & ~(white << _ONE & white >> _ONE))
    quoted = letters & (between(text, 0x27, 0x27, 0) & (starts | _ONE)) << _ONE
    if quoted != 0:
        one, two = _contractions(text, quoted, 0)
        starts = starts & ~(one | two) | one << _ONE | two << _TWO
    return starts & ((_ONE << np.uint64(certain - 1)) - _TWO)


@compiled(inline="always")
def _contractions(text: int, quoted: np.uint64, flags: int) -> tuple[np.uint64, np.uint64]:
    """Return the first letters of contractions of one letter and of two, of the letters behind an apostrophe.

    ``flags`` = 0x20 takes capitals for small letters.
    """
    s_d = between(text, 0x73, 0x73, flags) | between(text, 0x64, 0x64, flags)
    m_t = between(text, 0x6D, 0x6D, flags) | between(text, 0x74, 0x74, flags)
    v_r = between(text, 0x76, 0x76, flags) | between(text, 0x72, 0x72, flags)
    e, ell = between(text, 0x65, 0x65, flags), between(text, 0x6C, 0x6C, flags)
    return quoted & (s_d | m_t), quoted & ((v_r & e >> _ONE) | (ell & ell >> _ONE))


@compiled(inline="always")
def _groups(numbers: np.uint64, digits: int) -> np.uint64:
    """Return where groups of at most so many digits begin in runs of them."""
    if digits == 1:
        return numbers
    begins = numbers & ~(numbers << _ONE)
    whole = numbers
    for _ in range(digits - 1):
        whole &= numbers & whole << _ONE
    more = begins << np.uint64(digits) & whole
    while more != 0:
        begins |= more
        more = more << np.uint64(digits) & whole
    return begins


@compiled(inline="always")
def _before(ends: np.uint64, through: np.uint64) -> np.uint64:
    """Return the bits of ``through`` from which only such bits lie between them and a higher one of ``ends``."""
    for shift in (1, 2, 4, 8, 16, 32):
        ends |= through & ends >> np.uint64(shift)
        through &= through >> np.uint64(shift)
    return ends


@compiled(inline="always")
def _gpt4_starts(text: int, left: int, digits: int) -> np.uint64:
    """Return where words of GPT4 begin behind the one that begins at an address: bit k is byte k of the next 64.

    Nothing is said of what depends on a byte that is not ASCII, or on what follows the ``left`` bytes of the text: of
    white space that reaches so far only its beginning is told.

    A sign begins a word where no sign and no single space is before it, and takes one letter's run along, or line ends;
    letters begin one where nothing that they could take along is before them. Of a run of white space what goes to its
    last line end is a word, and so is its last character, if that is no line end.
    """
    known = min(lowest_bit(between(text, 0x80, 0xFF, 0)), left)
    if known < 1:
        return np.uint64(0)
    letters, numbers = between(text, 0x61, 0x7A, 0x20), between(text, 0x30, 0x39, 0)
    blank, white = between(text, 0x20, 0x20, 0), between(text, 0x09, 0x0D, 0)
    lines = between(text, 0x0A, 0x0A, 0) | between(text, 0x0D, 0x0D, 0)
    white |= blank
    spaces, signs = white & ~lines, ~(letters | numbers | white)
    certain = bit_length(~white & _ALL >> np.uint64(64 - known))
    if certain == 0:
        return np.uint64(0)
    if certain < known:
        certain += 1
    sign_starts = signs & ~((signs | blank) << _ONE)
    starts = sign_starts | _groups(numbers, digits) | (letters & ~((letters | spaces | sign_starts) << _ONE))
    # White space: its beginning, but for line ends behind a sign; what follows those; its last character.
    taken = lines & signs << _ONE
    starts |= (white & ~(white << _ONE) & ~taken) | (spaces & ((lines + taken) & ~lines | ~(white >> _ONE)))
    indents = spaces & lines << _ONE
    if spaces & lines >> _ONE != 0:
        indents &= ~_before(lines, spaces)
    starts |= indents
    quoted = letters & (between(text, 0x27, 0x27, 0) & (sign_starts | _ONE)) << _ONE
    if quoted != 0:
        one, two = _contractions(text, quoted, 0x20)
        starts |= one << _ONE | two << _TWO
    return starts & (_ALL >> np.uint64(64 - certain)) & ~_ONE


@compiled()
def cut_words(text: int, i: int, n: int, pattern: int, pages, classes, ends) -> int:  # noqa: ANN001
    """Write where the words of text[i … n) end to ``ends`` (int64), as many as surely fit, and return their number.

    Args:
        text, i, n, pattern, pages, classes: See ``word_end``.
        ends: Longer than ``BLOCK``.
    """
    words, room = 0, len(ends) - BLOCK
    while i < n and words <= room:
        starts = _gpt2_starts(text + i, n - i) if pattern == GPT2 else _gpt4_starts(text + i, n - i, pattern)
        if starts == 0:
            stop = min(i + BLOCK, n)
            while i < stop:
                i = word_end(text, i, n, pattern, pages, classes)
                ends[np.uint64(words)] = i
                words += 1
            continue
        begin = i
        while starts != 0:
            i = begin + lowest_bit(starts)
            ends[np.uint64(words)] = i
            words += 1
            starts &= starts - _ONE
    return words
