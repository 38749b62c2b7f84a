"""The counting house: distinct values with their number, moments and quantiles, for whoever counts.

Statistics, expectations and fits read from here. They differ in what they hold for the same value (pandas knows no difference between NaN
and null, Arrow tells the two zeros apart) and in what they do past the limit; how values are added up, when there are too many, how they
go to disk and how parts merge is the same for all.
"""

from windtunnel.lifecycle.statistics.counting.budget import COLUMN_BYTES, TABLE_BYTES, share, size_of
from windtunnel.lifecycle.statistics.counting.counter import Ascending, Counted, Counter, Hashed, InOrder, Rules
from windtunnel.lifecycle.statistics.counting.moments import Moments, TableMoments
from windtunnel.lifecycle.statistics.counting.quantiles import QuantileSketch, at_ranks, between, search
from windtunnel.lifecycle.statistics.counting.sketches import DistinctSketch, FrequentSketch
from windtunnel.lifecycle.statistics.counting.spill import Parts, Runs
from windtunnel.lifecycle.statistics.counting.sums import BlockSum, IntegerSum, PairwiseSum
from windtunnel.lifecycle.statistics.counting.values import combine_counts, count_values, flat, groups

__all__ = [
    "COLUMN_BYTES",
    "TABLE_BYTES",
    "Ascending",
    "BlockSum",
    "Counted",
    "Counter",
    "DistinctSketch",
    "FrequentSketch",
    "Hashed",
    "InOrder",
    "IntegerSum",
    "Moments",
    "PairwiseSum",
    "Parts",
    "QuantileSketch",
    "Rules",
    "Runs",
    "TableMoments",
    "at_ranks",
    "between",
    "combine_counts",
    "count_values",
    "flat",
    "groups",
    "search",
    "share",
    "size_of",
]
