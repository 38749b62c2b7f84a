"""How each family of scikit-learn estimators is fitted; `windtunnel.lifecycle.contract.seams.transformers` names them."""
