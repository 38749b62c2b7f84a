"""A small problem: who leaves, by age and plan."""

PROBLEM = {
    "name": "churn",
    "owner": "ada",
    "task": "binary",
    "source": {"format": "csv", "path": "{landing}/{day}.csv"},
    "columns": {"id": "int64", "age": "int64", "plan": "string", "left": "int64"},
    "features": {"numeric": ["age"], "categorical": ["plan"]},
    "label": {"column": "left", "positive": {"equals": 1}},
    "keys": ["id"],
    "model": {"family": "linear"},
    "approval": {"promotion": "auto"},
}
