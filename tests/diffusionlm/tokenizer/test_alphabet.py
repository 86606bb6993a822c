from diffusionlm.tokenizer import alphabet


def test_order_is_a_permutation_printable_first():
    order = alphabet.byte_order()
    assert sorted(order) == list(range(256))
    assert order[0] == ord("!")
    assert order[188:191] == bytes([0, 1, 2])


def test_known_characters():
    assert alphabet.show(b" a\n\xff") == "Ġ" + "a" + "Ċ" + "ÿ"
    assert alphabet.show(bytes([0, 127, 173])) == "\u0100\u0121\u0143"


def test_show_and_read_are_inverse_and_without_white_space():
    shown = alphabet.show(bytes(range(256)))
    assert alphabet.read(shown) == bytes(range(256))
    assert len(set(shown)) == 256
    assert not any(c.isspace() for c in shown)
