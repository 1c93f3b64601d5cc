"""Processes that have ended: their numbers may be in use nevertheless."""

import threading

from pyrun.container.process import open_process


def test_a_number_that_a_thread_of_another_process_has_by_now_is_no_process():
    ended = threading.Event()
    thread = threading.Thread(target=ended.wait)
    thread.start()
    try:
        assert open_process(thread.native_id, 1) == -1
    finally:
        ended.set()
        thread.join()
