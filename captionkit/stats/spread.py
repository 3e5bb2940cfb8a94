"""By how much draws of one record are alike, so that the interval of a share is wide enough.

Each sampled record gives several draws. A tag is in all of them or in few, so that ten draws of one record
tell less than one draw of each of ten. With y captions of a record that count and x of them that hit, the
share R = sum x / sum y has about the variance (Cochran 1977, Sampling Techniques, 6.19 and 11.24)

    (1 - f) sum (x - R y)^2 / (sum y)^2  +  f R (1 - R) / sum y

where f is the part of all records that is in the sample: where all are, only the draws are left to chance.
"""

from __future__ import annotations


def spread(
    *, hits: float, of: float, squares: float, of_squares: float, crossed: float, records: int, part: float
) -> float:
    """The variance over that of independent draws, at least 1 (it is never claimed to be less).

    `hits` and `of` are the sums of x and y over the records, `squares`, `of_squares` and `crossed` those of
    x x, y y and x y; `records` is how many have any y, and `part` is f, from 0 to 1.

    >>> spread(hits=40, of=80, squares=160, of_squares=320, crossed=160, records=20, part=0.0) > 4.0
    True
    >>> spread(hits=40, of=80, squares=160, of_squares=320, crossed=160, records=20, part=1.0)
    1.0
    """
    if not of:
        return 1.0
    share, alike = hits / of, of_squares / of
    if records < 2 or share <= 0.0 or share >= 1.0:
        # Nothing is seen of how records differ: each may be one draw, made several times.
        return max(1.0, (1.0 - part) * alike + part)
    residual = squares - 2.0 * share * crossed + share * share * of_squares
    between = residual * records / (records - 1) / (of * share * (1.0 - share))
    return max(1.0, (1.0 - part) * between + part)
