"""Airflow operators, one a stage of a model's life."""
