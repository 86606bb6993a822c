"""Signals: the first asks, the second Ctrl-C insists, and handlers are given back."""

import os
import signal
import threading

import pytest

from diffusionlm.training.signals import stop_on_signals


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_the_first_signal_is_a_request(name):
    number = signal.Signals[name]
    former = signal.getsignal(number)
    with stop_on_signals() as stop:
        assert not stop
        os.kill(os.getpid(), number)
        assert stop
        assert stop.signal_name == name
    assert signal.getsignal(number) is former


def test_the_second_ctrl_c_interrupts():
    former = signal.getsignal(signal.SIGINT)
    with stop_on_signals() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.signal_name == "SIGTERM"
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is former


def test_in_another_thread_nothing_is_touched():
    seen = []

    def work() -> None:
        before = signal.getsignal(signal.SIGTERM)
        with stop_on_signals() as stop:
            seen.append((bool(stop), signal.getsignal(signal.SIGTERM) is before))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [(False, True)]
