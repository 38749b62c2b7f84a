"""The model server; its environment has neither Airflow nor Beam."""
