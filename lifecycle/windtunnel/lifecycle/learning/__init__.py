"""What learns and from what: estimators, transformers, shards, training, tuning."""
