"""Measurements of `bench`, a module each with `define_flags(values)` and `measure_rows(values)`.

`values` are the parsed flags; rows are made by `common.make_row`, and yielded as soon as they are
measured. `machine` describes this machine for `doctor`.
"""
