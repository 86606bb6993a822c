"""The incremental trainer against one that counts everything again for every merge."""

import itertools
import random
import warnings
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffusionlm.errors import TokenizerError
from diffusionlm.tokenizer import EOS, BPEParams, build_tokenizer, train_bpe
from diffusionlm.tokenizer.counting import count_words, first_bytes, plain_pieces
from diffusionlm.tokenizer.pretokenize import split_words
from diffusionlm.tokenizer.train import learn_merges
from tests.diffusionlm.tokenizer.conftest import TEXT


def naive_merges(counts, n_merges):
    """Sennrich et al. as written: count all pairs of all words, merge the best, again."""
    words = {word: [bytes([b]) for b in word] for word in counts}
    merges = []
    for _ in range(n_merges):
        totals = Counter()
        for word, symbols in words.items():
            for pair in itertools.pairwise(symbols):
                totals[pair] += counts[word]
        if not totals:
            break
        best = max(totals, key=lambda pair: (totals[pair], pair))
        merges.append(best)
        for word, symbols in words.items():
            merged, i = [], 0
            while i < len(symbols):
                if tuple(symbols[i : i + 2]) == best:
                    merged.append(best[0] + best[1])
                    i += 2
                else:
                    merged.append(symbols[i])
                    i += 1
            words[word] = merged
    return merges


WORDS = st.binary(min_size=1, max_size=12) | st.text("ab", min_size=1, max_size=12).map(str.encode)


@given(st.dictionaries(WORDS, st.integers(1, 6), min_size=1, max_size=15), st.integers(0, 60))
@settings(max_examples=400, deadline=None)
def test_equals_the_full_recount(counts, n_merges):
    assert learn_merges(counts, n_merges) == naive_merges(counts, n_merges)


def test_equals_the_full_recount_on_text(shared_data):
    counts = count_words([shared_data("tinyshakespeare.txt").read_bytes()[:60_000]])
    assert learn_merges(counts, 250) == naive_merges(counts, 250)


def test_textbook_example():
    text = "low low low low low lower lower widest widest widest " + "newest " * 6
    merges = learn_merges(Counter(word.encode() for word in text.split()), 6)
    assert merges == [(b"s", b"t"), (b"e", b"st"), (b"o", b"w"), (b"l", b"ow"), (b"w", b"est"), (b"n", b"e")]


def test_ties_go_to_the_greatest_pair():
    assert learn_merges({b"ab": 1, b"ba": 1, b"b\xff": 1}, 1) == [(b"b", b"\xff")]
    # "ab" is greater than its prefix "a": of (x, a) and (x, ab), both seen 5 times, the second goes first.
    assert learn_merges({b"ab": 9, b"xab": 5, b"xac": 5}, 2) == [(b"a", b"b"), (b"x", b"ab")]


def test_runs_are_merged_from_the_left():
    assert learn_merges({b"a" * 7: 1}, 9) == [(b"a", b"a"), (b"aa", b"aa"), (b"aaaa", b"aa"), (b"aaaaaa", b"a")]


def test_a_long_word_is_trained_in_place():
    """A blob without a break: each merge visits its own places, so 200 kB take a moment, not hours."""
    rng = random.Random(0)
    word = bytes(rng.choices(b"abcdefgh", weights=range(1, 9), k=200_000))
    merges = learn_merges({word: 1, b"a" * 100_000: 1}, 300)
    assert len(merges) == 300
    short = word[:3000]
    assert learn_merges({short: 1}, 100) == naive_merges({short: 1}, 100)


def test_merges_equal_the_tokenizers_package_while_no_counts_tie(shared_data):
    """The package breaks ties by id; on the counts of real text its first merges have none."""
    from tokenizers import ByteLevelBPETokenizer

    text = shared_data("tinyshakespeare.txt").read_text(encoding="utf-8")
    theirs = ByteLevelBPETokenizer()
    theirs.train_from_iterator([text], vocab_size=256 + 60, min_frequency=1, show_progress=False)
    ours = train_bpe([text], 256 + 60 + 1)
    expected = sorted(theirs.get_vocab().items(), key=lambda item: item[1])
    from diffusionlm.tokenizer.alphabet import show

    assert [show(ours.token_bytes(i)) for i in range(256 + 60)] == [token for token, _ in expected]


def test_ids_are_contiguous_and_vocab_size_is_kept():
    specials = [EOS, "<|user|>", "<|a b|>"]
    tokenizer = train_bpe([TEXT], 300, specials)
    assert tokenizer.vocab_size == 300
    assert tokenizer.specials == {name: 297 + i for i, name in enumerate(specials)}
    assert [tokenizer.token_bytes(i) for i in (0, 187, 188)] == [b"!", b"\xff", b"\x00"]
    assert len({tokenizer.token_bytes(i) for i in range(300)}) == 300
    assert [tokenizer.token_bytes(256 + i) for i in range(41)] == [left + right for left, right in tokenizer.merges]


def test_order_of_the_texts_does_not_matter():
    words = split_words(TEXT) * 3
    random.Random(0).shuffle(words)
    assert train_bpe(words, 300).fingerprint() == train_bpe(sorted(words), 300).fingerprint()


def test_no_merges_is_a_byte_vocabulary():
    tokenizer = train_bpe(["abab"], 257)
    assert tokenizer.merges == []
    assert tokenizer.eos_id == 256


def test_exhausted_corpus_warns_and_is_shorter():
    with pytest.warns(UserWarning, match="ran out of pairs to merge: the vocabulary has 260 ids, not 1000"):
        tokenizer = train_bpe(["aaa aaa"], 1000)
    assert tokenizer.vocab_size == 260
    assert tokenizer.encode("aaa aaa") == [257, 258]


def test_full_vocabulary_does_not_warn():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train_bpe([TEXT], 300)


def test_names_of_specials_teach_nothing():
    marked = train_bpe([f"ab{EOS}{EOS}cd" * 20, EOS], 258)
    assert marked.merges in ([(b"c", b"d")], [(b"a", b"b")])
    pieces = plain_pieces([f"ab{EOS}cd <|x|>", EOS], [EOS])
    assert count_words(pieces) == {b"ab": 1, b"cd": 1, b" <|": 1, b"x": 1, b"|>": 1}


def test_words_do_not_span_texts():
    assert count_words(["ab", b"cd"]) == {b"ab": 1, b"cd": 1}


@given(st.lists(st.binary(max_size=30), max_size=5))
def test_counting_any_bytes(texts):
    counts = count_words(texts)
    assert sum(len(word) * count for word, count in counts.items()) == sum(map(len, texts))


@pytest.mark.parametrize(
    ("limit", "expected"),
    [(1, {b"a": 1}), (3, {b"aaa": 1}), (4, {b"aaa": 1}), (5, {"aaaé".encode(): 1}), (6, {"aaaé".encode(): 1, b"b": 1})],
)
def test_train_bytes_caps_what_is_read(limit, expected):
    read = []

    def texts():
        for text in ["aaaé", b"bb", "cc"]:
            read.append(text)
            yield text

    assert count_words(first_bytes(texts(), limit)) == expected
    assert len(read) == (2 if limit == 6 else 1)


def test_train_bytes_cuts_what_is_not_utf8_anywhere():
    assert count_words(first_bytes([b"\x80" * 9], 7)) == {b"\x80" * 7: 1}


def test_bad_input_is_one_line():
    with pytest.raises(
        TokenizerError, match=r"^vocab_size 257 is too small; 256 bytes and 2 special tokens need 258 ids$"
    ):
        train_bpe([TEXT], 257, [EOS, "<|x|>"])
    for empty in ([], ["", b""], [EOS]):
        with pytest.raises(TokenizerError, match="the corpus holds no text"):
            train_bpe(empty, 300)
    with pytest.raises(TokenizerError, match="special_tokens must contain"):
        train_bpe([TEXT], 300, ["<|x|>"])
    with pytest.raises(TokenizerError, match="contains '<|x|>' twice".replace("|", r"\|")):
        train_bpe([TEXT], 300, [EOS, "<|x|>", "<|x|>"])
    with pytest.raises(TokenizerError, match="empty string"):
        train_bpe([TEXT], 300, [EOS, ""])
    with pytest.raises(TokenizerError, match="trained on a corpus and none is given"):
        build_tokenizer(BPEParams(vocab_size=300))


def test_small_vocabulary_is_refused_before_the_corpus_is_read():
    def texts():
        raise AssertionError("the corpus was read")
        yield

    with pytest.raises(TokenizerError, match="too small"):
        train_bpe(texts(), 100)


def test_params_reach_the_trainer():
    params = BPEParams(vocab_size=270, special_tokens=["<|x|>", EOS], train_bytes=50)
    tokenizer = build_tokenizer(params, lambda: [TEXT])
    assert tokenizer.fingerprint() == train_bpe([TEXT[:50]], 270, ["<|x|>", EOS]).fingerprint()
