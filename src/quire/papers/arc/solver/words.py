"""Eight cells at a time: images read, hashed and compared as 64-bit words; sets of hashes.

Images start at multiples of eight cells, and what is left of an image's last word is 0. Cells are
0..9, so that sums of bytes below 128 never go over into the next byte.
"""

from typing import Any

import numpy as np

from quire.papers.arc.grids import inlined, part
from quire.papers.arc.solver.pointers import pointer

GOLD = np.uint64(0x9E3779B97F4A7C15)
MIX = np.uint64(0xFF51AFD7ED558CCD)
SECOND, THIRD, FOURTH = np.uint64(0xC4CEB9FE1A85EC53), np.uint64(0x94D049BB133111EB), ~GOLD
S7, S29, S32, S56 = np.uint64(7), np.uint64(29), np.uint64(32), np.uint64(56)
ZERO, ONE = np.uint64(0), np.uint64(1)
LOW = np.uint64(0x7F7F7F7F7F7F7F7F)
HIGH = np.uint64(0x8080808080808080)
EACH_BYTE = np.uint64(0x0101010101010101)
GATHER = np.uint64(0x0102040810204080)
"""Times a word of bytes 0 or 1: its top byte has the eight as bits."""


@part
def bits_set(word: Any) -> Any:
    """The number of ones of a 64-bit word."""
    word -= (word >> np.uint64(1)) & np.uint64(0x5555555555555555)
    low = np.uint64(0x3333333333333333)
    word = (word & low) + ((word >> np.uint64(2)) & low)
    word = (word + (word >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return np.int64((word * np.uint64(0x0101010101010101)) >> np.uint64(56))


@inlined
def mix(code: Any, value: Any) -> Any:
    """One step of the hash."""
    code = (code ^ value) * MIX
    return code ^ (code >> S29)


@part
def insert(table: Any, mask: Any, code: Any) -> Any:
    """Add a hash to an open-addressing set of mask + 1 places; False where it is there already."""
    if code == ZERO:
        code = GOLD
    spot = (code ^ (code >> S32)) & mask
    while table[spot] != ZERO:
        if table[spot] == code:
            return False
        spot = (spot + ONE) & mask
    table[spot] = code
    return True


@part
def fold(words: Any, first: Any, number: Any) -> Any:
    """Hash of `number` words, and their union. Four sums side by side, as each step waits for the
    one before it."""
    one, two, three, four = GOLD, SECOND, THIRD, FOURTH
    union = ZERO
    p, end = first, first + number
    while p + 4 <= end:
        v, w, x, y = words[p], words[p + 1], words[p + 2], words[p + 3]
        one, two, three, four = mix(one, v), mix(two, w), mix(three, x), mix(four, y)
        union |= v | w | x | y
        p += 4
    while p < end:
        one = mix(one, words[p])
        union |= words[p]
        p += 1
    return mix(mix(mix(one, two), three), four), union


@part
def finish(words: Any, meta: Any, k: Any) -> Any:
    """`fold` of image k, whose padding is cleared."""
    size = np.int64(meta[k, 1]) * np.int64(meta[k, 2])
    first = np.int64(meta[k, 0]) >> 3
    number = (size + 7) >> 3
    rest = size & 7
    if rest != 0:
        words[first + number - 1] &= (ONE << np.uint64(8 * rest)) - ONE
    return fold(words, first, number)


@inlined
def identity(meta: Any, k: Any) -> Any:
    """Size and place of image k in one number."""
    place_ = (np.int64(meta[k, 3]) + 100) * 256 + np.int64(meta[k, 4]) + 100
    return np.uint64(np.int64(meta[k, 1]) * 32 + np.int64(meta[k, 2]) + 1024 * place_)


def again(table: Any, larger: Any) -> Any:
    """Enter the hashes of a table into a larger one."""
    for code in table:
        if code != ZERO:
            insert(pointer(larger), np.uint64(len(larger) - 1), code)


@inlined
def bits_of(bytes_: Any) -> Any:
    """The highest bits of eight bytes, as eight bits."""
    return ((bytes_ >> S7) * GATHER) >> S56


@part
def one_colour(lines: Any, goals: Any, end: Any) -> Any:
    """The colour that all painted cells should have, 0 where they should have several."""
    colour = np.int64(-1)
    every = ZERO
    for p in range(end):
        painted = (lines[p] + LOW) & HIGH
        if painted == ZERO:
            continue
        if colour < 0:
            lowest = painted & (~painted + ONE)
            byte = np.uint64(bits_set(lowest - ONE) & 56)
            colour = np.int64((goals[p] >> byte) & np.uint64(255))
            every = np.uint64(colour) * EACH_BYTE
        if ((goals[p] ^ every) + LOW) & painted != ZERO:
            return np.int64(0)
    return colour
