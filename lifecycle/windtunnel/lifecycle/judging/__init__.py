"""How models are judged: metrics from mergeable state, slices, fairness, explanations, costs, gates, and the report."""
