"""What each stage of a model's life means, in plain Python: neither Airflow nor Beam is imported here."""
