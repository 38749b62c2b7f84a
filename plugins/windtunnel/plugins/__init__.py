"""What Airflow's UI and CLI show of Windtunnel."""
