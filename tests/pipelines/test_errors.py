"""Messages are one printable line, whatever they quote."""

from __future__ import annotations

import pickle

import pytest

from pipelines.command.run import say, show
from pipelines.errors import UserError, printable


def test_what_could_steer_a_terminal_is_written_out():
    assert (
        printable("a\x1b[2J\x9b\x07\r\ud800é\u2028\n\t")
        == "a\\x1b[2J\\x9b\\x07\\r\\ud800é\u2028\n\t"
    )


def test_a_message_is_one_line():
    error = UserError("file 'a\nb\x1b]0;x': no such file")
    assert str(error) == "file 'a b\\x1b]0;x': no such file"
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


@pytest.mark.parametrize("stream", ["out", "err"])
def test_what_commands_print_steers_no_terminal(capsys, stream):
    show("label \x1b[31m") if stream == "out" else say("predict", "label \x1b[31m")
    assert "label \\x1b[31m\n" in getattr(capsys.readouterr(), stream)
