"""Rules that make a graph of fewer operations: each takes an operation and gives the value that can replace its result,
or None.

At one clip an operation costs about a microsecond whatever it computes, so that time is their number. Rules change
rounding and nothing else. Legend: x and y are computed from the inputs, c and d are constant.
"""
