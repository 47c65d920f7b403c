"""Text survives its tokens, and other programs that load the file see the same tokens."""

import pickle
from itertools import pairwise

import numpy as np
import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from seqstate.text import chunks
from seqstate.text.chunks import Piece, blocks
from seqstate.text.tokenizer import KINDS, Tokenizer

TRAINING = (
    "The king's men don't sleep.  The king sleeps, and his men wait.\n\n\tWait 1984 times: wait!\n"
    "春天来了，花开了。春天来了！ 「你好」，世界。\nna\u00efve nai\u0308ve "
    "\U0001f469\u200d\U0001f680 👍🏽 x_y = f(x)\r\n    indented\n"
    "ひらがな、カタカナ。 한국어 문장 ไทยครับ שלום، सत्य। \u3000\x85\x1c end \u00e9 e\u0301 <doc> <unk>\n"
)
AWKWARD = st.text(
    st.one_of(
        st.sampled_from(list(TRAINING)),
        st.sampled_from(" \n\t'’s\u3000\xa0，。\u0301\u200d\x00\x1c\x85<doc>"),
        st.characters(exclude_categories=["Cs"]),
    )
)
SEEN = st.lists(st.sampled_from(sorted(set(TRAINING)))).map("".join)


@pytest.fixture(scope="module", params=KINDS)
def tokenizer(request):
    return trained(request.param)


def trained(kind):
    return Tokenizer.train(kind, [TRAINING, TRAINING], vocab_size=320 if kind == "bpe" else None)


@pytest.mark.parametrize("kind", ["byte", "bpe"])
@given(text=AWKWARD)
def test_bytes_and_bpe_give_any_text_back(kind, text):
    tokenizer = CACHED[kind]
    assert tokenizer.decode(tokenizer.encode(text)) == text


@given(text=SEEN)
def test_characters_give_back_what_they_have_seen(text):
    assert CACHED["char"].decode(CACHED["char"].encode(text)) == text


@given(data=st.data())
def test_words_give_back_every_sentence_of_known_words(data):
    tokenizer = CACHED["word"]
    known = st.sampled_from(range(2, tokenizer.vocab_size))
    text = tokenizer.decode(data.draw(st.lists(known)))
    ids = tokenizer.encode(text)
    if tokenizer.unknown not in ids:  # joined words may make a new one: "the" + "men"
        assert tokenizer.decode(ids) == text


@given(text=st.lists(st.sampled_from(TRAINING.splitlines(keepends=True))).map("".join))
def test_words_know_the_sentences_they_learnt_from(text):
    ids = CACHED["word"].encode(text)
    assert CACHED["word"].unknown not in ids
    assert CACHED["word"].decode(ids) == text


CACHED = {kind: trained(kind) for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
@given(text=AWKWARD)
def test_the_quick_way_gives_the_librarys_own_ids_and_text(kind, text):
    tokenizer = CACHED[kind]
    ids = tokenizer.encode(text)
    assert ids.tolist() == tokenizer.model.encode(text).ids
    assert tokenizer.decode(ids) == tokenizer.model.decode(ids.tolist())


def test_the_saved_file_is_read_alike_by_tokenizers_and_transformers(tokenizer, tmp_path):
    path = tokenizer.save(tmp_path / "tokenizer.json")
    ours = Tokenizer.load(path)
    library = tokenizers.Tokenizer.from_file(str(path))
    hugging = PreTrainedTokenizerFast(tokenizer_file=str(path))
    for text in [TRAINING, TRAINING[7:], "The men ' s , unseen: zebra ☃ <doc> ."]:
        ids = tokenizer.encode(text).tolist()
        assert ours.encode(text).tolist() == library.encode(text).ids == ids
        assert hugging(text)["input_ids"] == ids
        assert tokenizer.decode(ids) == ours.decode(ids) == library.decode(ids)
        assert hugging.decode(ids) == tokenizer.decode(ids)
    assert (ours.kind, ours.vocab_size, ours.boundary, ours.unknown) == (
        tokenizer.kind,
        tokenizer.vocab_size,
        tokenizer.boundary,
        tokenizer.unknown,
    )
    assert library.token_to_id("<doc>") == tokenizer.boundary
    assert library.get_vocab_size() == len(hugging) == tokenizer.vocab_size


def test_a_written_out_boundary_stays_text(tokenizer):
    ids = tokenizer.encode("The <doc> men <doc>")
    assert tokenizer.boundary not in ids
    assert tokenizer.decode([tokenizer.boundary]) == "<doc>"


@pytest.mark.parametrize("kind", KINDS)
@given(text=st.lists(AWKWARD, max_size=6).map("".join), cuts=st.lists(st.integers(0, 400)))
def test_a_stream_in_any_pieces_is_the_whole_encoded(kind, text, cuts):
    tokenizer = CACHED[kind]
    places = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    pieces = [Piece(text[a:b], rank == 0) for rank, (a, b) in enumerate(pairwise(places))]
    streamed = np.concatenate(list(tokenizer.encode_pieces(pieces)))
    assert streamed.tolist() == [tokenizer.boundary, *tokenizer.encode(text)]


@pytest.mark.parametrize("kind", KINDS)
def test_small_blocks_cut_no_token_in_two(kind):
    tokenizer = CACHED[kind]
    whole = tokenizer.encode(TRAINING * 3)
    small = [block.text for block in blocks([Piece(TRAINING * 3, True)], size=60)]
    assert max(map(len, small)) <= 60 < len(TRAINING)
    assert np.concatenate([tokenizer.encode(text) for text in small]).tolist() == whole.tolist()


def test_a_line_without_end_is_cut_where_the_block_ends():
    endless = "x" * (3 * chunks.BLOCK + 5)
    sizes = [len(block.text) for block in blocks([Piece(endless, True)])]
    assert sizes == [chunks.BLOCK] * 3 + [5]
    tokenizer = CACHED["bpe"]
    assert tokenizer.decode(tokenizer.encode(endless)) == endless


def test_every_document_is_opened_by_the_boundary_also_an_empty_one():
    tokenizer = CACHED["byte"]
    pieces = [Piece("ab", True), Piece("c", False), Piece("", True), Piece("d", True)]
    ids = np.concatenate(list(tokenizer.encode_pieces(pieces)))
    assert tokenizer.decode(ids) == "<doc>abc<doc><doc>d"


@given(text=AWKWARD, garbage=st.lists(st.integers(0, 255), max_size=3))
def test_streaming_out_gives_the_text_and_never_half_a_character(text, garbage):
    tokenizer = CACHED["byte"]
    ids = [*tokenizer.encode(text).tolist(), *garbage]
    decoder = tokenizer.stream()
    parts = [*(decoder.push(token) for token in ids), decoder.finish()]
    assert "".join(parts) == tokenizer.decode(ids)
    if not garbage:
        assert "\ufffd" not in "".join(parts) or "\ufffd" in text


def test_bytes_that_are_no_text_are_shown_as_escapes():
    tokenizer = CACHED["byte"]
    assert [tokenizer.token_text(i) for i in (97, 0xE4, 256)] == ["a", r"\xe4", "<doc>"]
    assert CACHED["word"].token_text(CACHED["word"].encode(" king")[0]) == " king"


def test_words_keep_their_space_and_their_apostrophe():
    words = CACHED["word"]
    ids = words.encode("The king's men don't wait!\n    indented 19")
    shown = "The| king's| men| don't| wait|!|\n|    |indented| 1|9"
    assert [words.token_text(i) for i in ids] == shown.split("|")
    assert [words.token_text(i) for i in words.encode("春天来了。")] == list("春天来了。")


def test_what_training_showed_once_is_unknown():
    for kind in ("char", "word"):
        tokenizer = Tokenizer.train(kind, ["a a b b c"])
        assert tokenizer.encode("c")[-1] == tokenizer.unknown
        assert tokenizer.decode(tokenizer.encode("c")) == "<unk>"


def test_the_vocabulary_keeps_the_most_frequent():
    tokenizer = Tokenizer.train("char", ["aaaabbbcc"], vocab_size=4)
    assert tokenizer.vocab_size == 4
    assert tokenizer.decode(tokenizer.encode("abc")) == "ab<unk>"


def test_training_twice_gives_the_same_vocabulary(tokenizer):
    assert trained(tokenizer.kind).model.to_str() == tokenizer.model.to_str()


def test_bpe_learns_pairs_and_keeps_byte_values_as_ids():
    tokenizer = CACHED["bpe"]
    assert tokenizer.vocab_size == 320
    assert len(tokenizer.encode(TRAINING)) < 0.7 * len(TRAINING.encode())
    assert Tokenizer.train("bpe", [], 300).encode("né").tolist() == list("né".encode())


def test_a_tokenizer_crosses_to_another_process(tokenizer):
    copy = pickle.loads(pickle.dumps(tokenizer))
    assert copy.encode(TRAINING).tolist() == tokenizer.encode(TRAINING).tolist()


def foreign(tmp_path, *, normalizer=None, prefix=False, special="<|endoftext|>"):
    model = tokenizers.Tokenizer(models.BPE())
    if normalizer:
        model.normalizer = normalizer
    model.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix)
    model.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=[special], initial_alphabet=alphabet, show_progress=False
    )
    model.train_from_iterator([TRAINING], trainer)
    model.save(str(tmp_path / "foreign.json"))
    return tmp_path / "foreign.json"


@given(text=AWKWARD)
def test_a_byte_level_bpe_of_another_maker_serves_too(tmp_path_factory, text):
    path = tmp_path_factory.getbasetemp() / "foreign.json"
    tokenizer = Tokenizer.load(path if path.exists() else foreign(path.parent))
    assert (tokenizer.kind, tokenizer.token_text(tokenizer.boundary)) == ("bpe", "<|endoftext|>")
    ids = tokenizer.encode(text + "<|endoftext|>")
    assert tokenizer.boundary not in ids
    assert tokenizer.decode(ids) == text + "<|endoftext|>"


def test_tokenizers_that_change_the_text_are_refused(tmp_path):
    for changed in (
        foreign(tmp_path, normalizer=normalizers.Lowercase()),
        foreign(tmp_path, prefix=True),
    ):
        with pytest.raises(
            ValueError, match=r"cannot use the tokenizer .*changes the text"
        ) as error:
            Tokenizer.load(changed)
        assert "\n" not in str(error.value)


def test_a_tokenizer_without_a_document_token_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"no token that opens a document; one of <doc>"):
        Tokenizer.load(foreign(tmp_path, special="[PAD]"))
    model = tokenizers.Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    model.save(str(tmp_path / "words.json"))
    with pytest.raises(ValueError, match="WordLevel is neither one of ours nor a byte-level BPE"):
        Tokenizer.load(tmp_path / "words.json")


def test_files_that_are_no_tokenizer_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"cannot read the tokenizer .*absent.json: no such file"):
        Tokenizer.load(tmp_path / "absent.json")
    (tmp_path / "other.json").write_text('{"a": 1}')
    with pytest.raises(ValueError, match=r"cannot read the tokenizer .*other.json"):
        Tokenizer.load(tmp_path / "other.json")


@pytest.mark.parametrize(
    ("kind", "size", "says"),
    [
        ("byte", 300, "257 tokens .*not 300"),
        ("bpe", 256, "bpe vocabulary of 256 is too small"),
        ("char", 2, "char vocabulary of 2 is too small"),
        ("word", 1, "word vocabulary of 1 is too small"),
        ("syllable", None, "unknown tokenizer 'syllable'; there are byte, char, word, bpe"),
    ],
)
def test_sizes_and_kinds_that_cannot_be_are_refused(kind, size, says):
    with pytest.raises(ValueError, match=says):
        Tokenizer.train(kind, ["text"], size)


def test_ids_and_text_that_are_none_are_refused(tokenizer):
    with pytest.raises(ValueError, match="outside the vocabulary"):
        tokenizer.decode([tokenizer.vocab_size])
    with pytest.raises(ValueError, match=r"half a surrogate pair \(U\+D83D\)"):
        CACHED["byte"].encode("a\ud83d")


def test_sentences_end_at_full_stops_and_empty_lines_not_at_every_line():
    text = ['He said: "No." Why?! 你好。 3.5 times\n\nor\nmore. (Yes.) '] * 20
    for kind in ("char", "word"):
        tokenizer = Tokenizer.train(kind, text)
        ends = {tokenizer.token_text(token) for token in tokenizer.sentence_ends()}
        assert {".", "?", "。"} <= ends
        assert not {"\n", '"', "a", ")", "<doc>"} & ends
    assert Tokenizer.train("byte", text).sentence_ends() == tuple(b"!.?")
