"""Signals: the first asks, the second Ctrl-C insists, and handlers are given back."""

import os
import signal
import threading

import pytest

from diffusionlm.training.signals import Terminated, raise_on_termination, stop_on_signals


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
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


def test_an_ignored_hangup_stays_ignored():
    former = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stop_on_signals() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not stop
        raise_on_termination()
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, former)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_termination_interrupts_where_no_loop_asks(number):
    former = {each: signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGHUP)}
    raise_on_termination()
    try:
        with pytest.raises(Terminated) as caught:
            os.kill(os.getpid(), number)
        assert caught.value.signal_name == signal.Signals(number).name
    finally:
        for each, handler in former.items():
            signal.signal(each, handler)


def test_a_forked_worker_ends_as_it_would_have():
    former = signal.getsignal(signal.SIGTERM)
    raise_on_termination()
    try:
        child = os.fork()
        if child == 0:
            os.kill(os.getpid(), signal.SIGTERM)
            os._exit(0)
        assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGTERM
    finally:
        signal.signal(signal.SIGTERM, former)
