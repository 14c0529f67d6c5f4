import pytest

from sflow_jax.errors import InputError, one_line, reading_from, writing_to


def test_what_a_library_raises_becomes_a_short_line_that_names_the_file():
    with pytest.raises(InputError) as error, reading_from("run/7", "a checkpoint"):
        raise KeyError("two\nlines" + 1000 * "x")
    text = str(error.value)
    assert text.startswith("run/7: found 'two")
    assert text.endswith("x; expected a checkpoint")
    assert "\n" not in text
    assert len(text) < 350


def test_a_long_message_is_cut():
    error = ValueError("two\nlines" + 1000 * "x")
    assert one_line(error) == "two lines" + 291 * "x"
    assert one_line(error, longest=None) == "two lines" + 1000 * "x"


def test_an_interrupt_while_reading_stays_one():
    with pytest.raises(KeyboardInterrupt), reading_from("run/7", "a checkpoint"):
        raise KeyboardInterrupt


def test_a_folder_without_room_is_named():
    expected = "^out: no room; expected a folder with room to write$"
    with pytest.raises(InputError, match=expected), writing_to("out"):
        raise OSError("no room")
