"""Text sources: CSV and its relatives, and JSON lines; one reader of each for every stage and command."""
