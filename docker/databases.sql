-- Beside Airflow's database: MLflow's, the Iceberg catalog's (the ledger's too) and Optuna's.
CREATE DATABASE mlflow;
CREATE DATABASE catalog;
