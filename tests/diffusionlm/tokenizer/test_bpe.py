"""Encoding against the naive algorithm, and against two independent implementations on GPT-2's vocabulary."""

import itertools
import json
import random
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffusionlm.errors import TokenizerError
from diffusionlm.tokenizer import EOS, BPETokenizer, bpe
from diffusionlm.tokenizer.bpe import merge_word
from diffusionlm.tokenizer.pretokenize import GPT2_PATTERN, split_words
from tests.diffusionlm.tokenizer.conftest import TEXT, small_bpe

# Unassigned code points (Cn) are left out: implementations with newer Unicode tables take some of them for letters.
# Every category that matters, with runs, contractions, joiners, marks and other alphabets more likely than by chance.
PIECES = st.one_of(
    st.text(st.characters(exclude_categories=["Cs", "Cn"]), max_size=12),
    st.sampled_from(
        ["'s", "'LL", "'re", " don't", "\n\n", "\r\n", "  ", " " * 17, "\t\t", "\u00a0", "\u200d", "\u2028", "\x85"]
    ),
    st.sampled_from(["👩‍👩‍👧", "🇩🇪", "é", "e\u0301", "ß", "中文", "العربية", "हिन्दी", "١٢٣", "Ⅷ", "½", "x²", EOS]),
    st.from_regex(r"[0-9]{1,30}|[a-zA-Z]{1,30}|[!-/]{1,9}", fullmatch=True),
)
UNICODE = st.lists(PIECES, max_size=12).map("".join)


def naive_merge(ids, ranks, products):
    """Find the lowest rank, merge its leftmost place, start over."""
    ids = list(ids)
    while True:
        pairs = [(ranks[pair], i) for i, pair in enumerate(itertools.pairwise(ids)) if pair in ranks]
        if not pairs:
            return ids
        rank, i = min(pairs)
        ids[i : i + 2] = [products[rank]]


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_merges_equal_the_naive_algorithm(data):
    """Any merges at all, urgent ones that use late ones included."""
    n_ranks = data.draw(st.integers(0, 12))
    pairs = data.draw(
        st.lists(st.tuples(*[st.integers(0, 2 + n_ranks)] * 2), min_size=n_ranks, max_size=n_ranks, unique=True)
    )
    ranks, products = {pair: i for i, pair in enumerate(pairs)}, [3 + i for i in range(n_ranks)]
    ids = data.draw(st.lists(st.integers(0, 2), max_size=40))
    assert merge_word(list(ids), ranks, products) == naive_merge(ids, ranks, products)


@given(st.text(st.sampled_from("aabbth e\n"), max_size=60))
@settings(max_examples=200, deadline=None)
def test_words_are_merged_alone(text):
    tokenizer = small_bpe()
    assert tokenizer.encode(text) == [i for word in split_words(text) for i in tokenizer.encode(word)]


def test_learnt_tokens_encode_to_themselves():
    tokenizer = small_bpe()
    for token, id in tokenizer._vocab.items():
        if token.isalpha():
            assert tokenizer.encode(token) == [id]


@pytest.mark.parametrize("letters", ["a", "ab", "the quick"])
def test_a_long_word_takes_few_steps(letters):
    class Counting(dict):
        looked = 0

        def get(self, key):
            Counting.looked += 1
            return super().get(key)

    tokenizer = small_bpe()
    n = 200_000
    word = "".join(random.Random(0).choices(letters.replace(" ", ""), k=n)).encode()
    ids = merge_word([tokenizer._byte_ids[b] for b in word], Counting(tokenizer._ranks), tokenizer._products)
    assert b"".join(map(tokenizer.token_bytes, ids)) == word
    assert Counting.looked < 6 * n
    assert ids == tokenizer.encode(word)


def test_cache_is_bounded(monkeypatch):
    monkeypatch.setattr(bpe, "CACHED_WORDS", 100)
    tokenizer = BPETokenizer.from_merges([(b"1", b"2"), (b"12", b"3")], [EOS])
    text = " ".join(map(str, range(2000))) + " " + "123" * 100
    expected = [i for word in split_words(text) for i in naive_encode(tokenizer, word)]
    assert tokenizer.encode(text) == tokenizer.encode(text) == expected
    assert len(tokenizer._cache) <= 100
    assert max(map(len, tokenizer._cache)) <= bpe.CACHED_LENGTH


def test_a_token_that_two_merges_make_has_one_id():
    merges = [(b"a", b"b"), (b"b", b"c"), (b"ab", b"c"), (b"a", b"bc"), (b"abc", b"d")]
    tokenizer = BPETokenizer.from_merges(merges, [EOS])
    assert tokenizer.vocab_size == 256 + 4 + 1
    assert [tokenizer.token_bytes(i) for i in tokenizer.encode("abcdbc")] == [b"abcd", b"bc"]


def test_threads_share_a_tokenizer(monkeypatch):
    """The cache is emptied under the readers' feet again and again."""
    monkeypatch.setattr(bpe, "CACHED_WORDS", 7)
    tokenizer = BPETokenizer.from_merges([(b"1", b"2"), (b"12", b"3")], [EOS])
    texts = [" ".join(map(str, range(start, 3000, 7))) for start in range(7)]
    expected = [BPETokenizer.from_merges(tokenizer.merges, [EOS]).encode(text) for text in texts]
    with ThreadPoolExecutor(7) as pool:
        assert list(pool.map(tokenizer.encode, texts)) == expected


def naive_encode(tokenizer, word):
    return naive_merge([tokenizer._byte_ids[b] for b in word.encode()], tokenizer._ranks, tokenizer._products)


def test_special_written_like_a_token_is_refused():
    with pytest.raises(TokenizerError, match="special token 'ab' is written like an ordinary token; use a longer name"):
        BPETokenizer.from_merges([(b"a", b"b")], [EOS, "ab"])


def test_fingerprint_follows_the_content():
    one = BPETokenizer.from_merges([(b"a", b"b"), (b"c", b"d")], [EOS])
    same = BPETokenizer.from_merges([(b"a", b"b"), (b"c", b"d")], [EOS])
    other = BPETokenizer.from_merges([(b"c", b"d"), (b"a", b"b")], [EOS])
    assert one.fingerprint() == same.fingerprint() != other.fingerprint()


# GPT-2


@cache
def reference(folder: Path):
    from tokenizers import ByteLevelBPETokenizer

    return ByteLevelBPETokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), add_prefix_space=False)


def test_gpt2_facts(gpt2):
    assert gpt2.vocab_size == 50257
    assert gpt2.specials == {EOS: 50256}
    assert gpt2.encode("Hello world") == [15496, 995]
    assert gpt2.encode(EOS, allow_special=True) == [50256]


@settings(max_examples=1500, deadline=None)
@given(UNICODE)
def _same_ids(gpt2, folder, text):
    assert gpt2.encode(text) == reference(folder).encode(text).ids


def test_gpt2_ids_on_fuzzed_unicode(gpt2, gpt2_folder):
    _same_ids(gpt2, gpt2_folder)


def test_gpt2_ids_on_real_text(gpt2, gpt2_folder, shared_data):
    library = Path(sysconfig.get_path("stdlib"))
    texts = [shared_data("tinyshakespeare.txt").read_text(encoding="utf-8")[:300_000]]
    texts += [
        (library / name).read_text(encoding="utf-8") for name in ("argparse.py", "html/entities.py", "_pydecimal.py")
    ]
    for text in texts:
        expected = reference(gpt2_folder).encode(text).ids
        assert gpt2.encode(text) == gpt2.encode(text.encode()) == gpt2.encode_array(text).tolist() == expected


def tiktoken_of(gpt2):
    """Return tiktoken with the vocabulary of GPT-2."""
    tiktoken = pytest.importorskip("tiktoken")
    ranks = {gpt2.token_bytes(i): i for i in range(gpt2.vocab_size - 1)}
    return tiktoken.Encoding("gpt2-here", pat_str=GPT2_PATTERN, mergeable_ranks=ranks, special_tokens=gpt2.specials)


def test_gpt2_ids_equal_tiktoken(gpt2):
    theirs = tiktoken_of(gpt2)
    for text in [TEXT, "\n \n  x", "ééé" * 50, "1" * 999, "a" * 5000, "👩‍👩‍👧 " * 9]:
        assert gpt2.encode(text) == theirs.encode_ordinary(text)
    marked = f"a{EOS}{EOS} b"
    assert gpt2.encode(marked, allow_special=True) == theirs.encode(marked, allowed_special="all")


def test_gpt2_files_are_written_as_they_were_read(gpt2, gpt2_folder, tmp_path):
    gpt2.save(tmp_path)
    read = [json.loads((folder / "vocab.json").read_text(encoding="utf-8")) for folder in (gpt2_folder, tmp_path)]
    assert read[0] == read[1]
    theirs, ours = ((folder / "merges.txt").read_text(encoding="utf-8") for folder in (gpt2_folder, tmp_path))
    assert ours.removeprefix("#version: 0.2\n") == theirs.removeprefix("#version: 0.2\n")
