"""How fitted transformers are applied and shards are written."""
