"""One row of each seam, as a package of somebody else's brings them: text only, so importing this costs nothing."""

from windtunnel.lifecycle.contract.seams.baselines import BaselineRow
from windtunnel.lifecycle.contract.seams.expectations import ConditionRow
from windtunnel.lifecycle.contract.seams.learners import LearnerRow
from windtunnel.lifecycle.contract.seams.metrics import MetricRow
from windtunnel.lifecycle.contract.seams.notifiers import NotifierRow
from windtunnel.lifecycle.contract.seams.pages import PageRow
from windtunnel.lifecycle.contract.seams.sources import SourceRow
from windtunnel.lifecycle.contract.seams.targets import TargetRow
from windtunnel.lifecycle.contract.seams.transformers import TransformerRow

NEAREST = LearnerRow(
    name="nearest",
    summary="what the rows most like it were",
    estimators={"binary": "sklearn.neighbors:KNeighborsClassifier"},
    defaults={"binary": {"n_neighbors": 3}},
)
HALVER = TransformerRow(
    name="scratch_parts.Halver",
    summary="half of each value's share of the greatest",
    accumulator="scratch_parts:HalverAccumulator",
    compile="scratch_parts:compile_halver",
    trusted=("scratch_parts.Halver",),
)
EVEN = ConditionRow(name="column_values.even", summary="whole numbers that 2 divides", module="scratch_expectations")
COUNTDOWN = SourceRow(
    name="countdown",
    summary="rows that count down",
    read="scratch_parts:read_countdown",
    plan="scratch_parts:plan_countdown",
    options="scratch_parts:CountdownOptions",
    needs=(),
)
MEMO = TargetRow(name="memo", summary="a list in memory", schemes=("memo",), make="scratch_parts:memo_target")
SHARE_FOUND = MetricRow(name="share_found", summary="found among the true ones", tasks=("binary",), compute="scratch_parts:share_found")
COIN = BaselineRow(name="coin", summary="always one half", tasks=("binary",), fit="scratch_parts:fit_coin")
NOTE = NotifierRow(name="note", summary="a note in a list", path="scratch_parts.NoteNotifier")
DIGEST = PageRow(name="digest", summary="the result in one line", stage="profile", file="digest.html", render="scratch_parts:digest_page")
