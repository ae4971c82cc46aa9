"""Datatrove takes our words and sentences for its own."""

from benchmarks.datatrove_words import words_of


def test_words_are_those_of_the_splitter_and_sentences_those_of_the_text():
    words = words_of(str.split)
    text = " One is 3.14! Two?!\n\nThree\n four. five  "
    assert words.word_tokenize(text) == text.split()
    sentences = ["One is 3.14!", "Two?!", "Three\n four.", "five"]
    assert words.sent_tokenize(text) == sentences
    assert [text[begin:end] for begin, end in words.span_tokenize(text)] == sentences
    assert words.sent_tokenize(" \n") == []
