"""The rendering of rows, compiled by Numba: one pass over each piece, without the interpreter's lock.

NumPy makes an index and a value for every token before it writes one; here a piece is two loops that write. Identical
to the reference in ``pieces.py``. Imported only for stores that are worth it: loading compiled code takes a second.
"""

# Numba infers the types of compiled functions by itself; a checker that takes them for Python sees other ones.
# pyright: reportArgumentType=false, reportReturnType=false, reportCallIssue=false, reportIndexIssue=false

from __future__ import annotations

from numba import njit


@njit(cache=True, nogil=True)
def place_runs(array, begins, lengths, places, out) -> None:  # noqa: ANN001
    """Copy runs of one array: run i has lengths[i] elements from begins[i] on and goes to out[places[i]:] (int64)."""
    for i in range(len(begins)):
        begin, place = begins[i], places[i]
        for j in range(lengths[i]):
            out[place + j] = array[begin + j]


@njit(cache=True, nogil=True)
def place_labels(places, lengths, segment, document, window, segments, positions, documents, windows) -> None:  # noqa: ANN001
    """Write what the tokens of pieces are: four (B · T,) int64 columns, at places[i] to places[i] + lengths[i]."""
    for i in range(len(places)):
        place = places[i]
        for j in range(lengths[i]):
            segments[place + j] = segment[i]
            positions[place + j] = j
            documents[place + j] = document[i]
            windows[place + j] = window[i]


@njit(cache=True, nogil=True)
def place_tails(used, eos, eos_id, x_1, segments, positions, documents, windows) -> None:  # noqa: ANN001
    """Fill rows, (B, T) int64 columns, behind their used[b] tokens: eos[b] tokens of the last segment, then padding."""
    for row in range(len(used)):
        end = used[row] + eos[row]
        last = used[row] - 1
        for column in range(used[row], x_1.shape[1]):
            goes_on = column < end
            x_1[row, column] = eos_id
            segments[row, column] = segments[row, last] if goes_on else 0
            positions[row, column] = positions[row, last] + column - last if goes_on else 0
            documents[row, column] = documents[row, last] if goes_on else 0
            windows[row, column] = windows[row, last] if goes_on else 0
