"""Two plus two: families of witnesses that never saw 2 + 2 must decide between 4 and 5.

To read it: `table` (what is shown, what is held out), `stacked` (many nets in one graph), `nets`
(reading, body, head), `arithmetic` (units made for sums), `transformer`, `closed` (least squares,
look-up), `families` (the witnesses), `court` (masses, calibration, verdict, jury), `record`.
"""

# ruff: noqa: I001, RUF022
# Both lists are in reading order.

from quire.papers.two_plus_two.table import (
    Holdout,
    Lesson,
    check_leak,
    containing,
    list_cells,
    make_lesson,
    only,
    random_cells,
    with_sum,
)
from quire.papers.two_plus_two.stacked import (
    StackedLinear,
    count_weights,
    stack_mlp,
    take_member,
)
from quire.papers.two_plus_two.nets import (
    Classes,
    Head,
    Net,
    Number,
    OneHot,
    Scalar,
    SharedEmbedding,
)
from quire.papers.two_plus_two.arithmetic import NAC, NALU, NAU, NMU
from quire.papers.two_plus_two.transformer import DigitTransformer
from quire.papers.two_plus_two.closed import (
    BayesianLinear,
    LeastSquares,
    Lookup,
    one_hot,
    with_bias,
)
from quire.papers.two_plus_two.families import Witness, measure_losses, teach, witnesses
from quire.papers.two_plus_two.court import (
    Mass,
    Poll,
    Verdict,
    calibration_error,
    conformal_set,
    fit_temperature,
    mix,
    poll,
    pool,
    verdict,
    weigh_classes,
    weigh_numbers,
)
from quire.papers.two_plus_two.record import Statement, write_record, write_statement

__all__ = [
    "Holdout", "Lesson", "check_leak", "containing", "list_cells", "make_lesson", "only",
    "random_cells", "with_sum",
    "StackedLinear", "count_weights", "stack_mlp", "take_member",
    "Classes", "Head", "Net", "Number", "OneHot", "Scalar", "SharedEmbedding",
    "NAC", "NALU", "NAU", "NMU",
    "DigitTransformer",
    "BayesianLinear", "LeastSquares", "Lookup", "one_hot", "with_bias",
    "Witness", "measure_losses", "teach", "witnesses",
    "Mass", "Poll", "Verdict", "calibration_error", "conformal_set", "fit_temperature", "mix",
    "poll", "pool", "verdict", "weigh_classes", "weigh_numbers",
    "Statement", "write_record", "write_statement",
]  # fmt: skip
