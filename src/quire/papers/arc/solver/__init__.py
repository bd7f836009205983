"""The program search. To read it: `primitives` (the language) with `objects`, `shapes`, `lines` and
`patterns` (its functions); `search` and `explorer` (chains of them, on all grids of a task at
once); `harvest` and `stacking` (from partial answers to programs); `program`; `solver` (views,
budget, ranking); `pool` (many tasks, in processes). `grids`, a floor higher, is the memory that all
of them share; `pointers` and `words` make it fast.

Nothing is imported here, so that what needs no numba can be had without it.
"""
