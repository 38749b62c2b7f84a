"""The allow-list: types that a pipeline of ours may hold; ours, and those of packages that are installed."""

from windtunnel.lifecycle.contract.seams.learners import LEARNERS
from windtunnel.lifecycle.contract.seams.transformers import TRANSFORMERS

__all__ = ["TRUSTED", "trusted"]

TRUSTED: tuple[str, ...] = (
    "numpy.dtype",
    "numpy.dtypes.StringDType",
    "numpy.number",
    "numpy.ravel",  # flattens columns of text (`learning.transformers`)
    "pandas.StringDtype",
    "scipy._lib.array_api_compat.numpy._aliases.asarray",
    "scipy.interpolate._bsplines.BSpline",
    "scipy.sparse._csr.csr_matrix",
    "sklearn._loss.link.IdentityLink",
    "sklearn._loss.link.Interval",
    "sklearn._loss.link.LogLink",
    "sklearn._loss.link.LogitLink",
    "sklearn._loss.link.MultinomialLogit",
    "sklearn._loss._loss.CyHalfBinomialLoss",
    "sklearn._loss._loss.CyHalfMultinomialLoss",
    "sklearn._loss._loss.CyHalfSquaredError",
    "sklearn._loss._loss.CyHalfTweedieLoss",
    "sklearn._loss._loss.CyHalfTweedieLossIdentity",
    "sklearn._loss.loss.HalfBinomialLoss",
    "sklearn._loss.loss.HalfMultinomialLoss",
    "sklearn._loss.loss.HalfSquaredError",
    "sklearn._loss.loss.HalfTweedieLoss",
    "sklearn._loss.loss.HalfTweedieLossIdentity",
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._SigmoidCalibration",
    "sklearn.compose._column_transformer._RemainderColsList",
    "sklearn.compose._column_transformer.make_column_selector",
    "sklearn.ensemble._hist_gradient_boosting.binning._BinMapper",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.feature_selection._univariate_selection.chi2",
    "sklearn.feature_selection._univariate_selection.f_classif",
    "sklearn.feature_selection._univariate_selection.f_regression",
    "sklearn.model_selection._split.KFold",
    "sklearn.model_selection._split.StratifiedKFold",
    "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
    "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
    "sklearn.tree._tree.Tree",
    "sklearn.utils._bunch.Bunch",
)
"""Types, beyond skops' own defaults, that a pipeline of ours may hold."""


def trusted() -> list[str]:
    """`TRUSTED`, and the types that the registered learners and transformers of installed packages name: never what an artefact names."""
    rows = [*LEARNERS, *TRANSFORMERS]
    return sorted({*TRUSTED, *(kind for row in rows for kind in row.trusted)})
