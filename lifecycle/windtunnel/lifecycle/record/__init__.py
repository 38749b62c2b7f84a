"""What is remembered: which stage of which run came from what, and how runs are told apart and computed again."""
