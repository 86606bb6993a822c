import numpy as np

from diffusionlm.tokenizer import EOS, ByteParams, ByteTokenizer, build_tokenizer


def test_ids_are_byte_values():
    tokenizer = ByteTokenizer()
    data = bytes(range(256))
    assert tokenizer.encode(data) == list(data)
    assert tokenizer.vocab_size == 257
    assert tokenizer.eos_id == 256
    assert tokenizer.byte_lengths().tolist() == [1] * 256 + [0]
    assert np.array_equal(tokenizer.encode_array("é"), [0xC3, 0xA9])


def test_specials_follow_in_order():
    tokenizer = build_tokenizer(ByteParams(special_tokens=["<|a|>", EOS]))
    assert tokenizer.specials == {"<|a|>": 256, EOS: 257}
    assert tokenizer.encode(f"x{EOS}<|a|>", allow_special=True) == [120, 257, 256]


def test_fingerprint_tells_specials_apart():
    plain = ByteTokenizer()
    assert plain.fingerprint() == ByteTokenizer().fingerprint()
    assert plain.fingerprint() != ByteTokenizer([EOS, "<|x|>"]).fingerprint()
    assert len(plain.fingerprint()) == 64
