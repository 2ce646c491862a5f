"""What `bench` measures, a module each: `define_flags()` and `rows(values)`, an iterator of rows.

`values` are the parsed flags; a row is made by `common.row`, and comes as soon as it is measured.
"""
