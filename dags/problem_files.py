"""Shows broken problem files as an import error in Airflow's UI, without taking the other problems' DAGs away. Makes no DAG."""

from windtunnel.operators import check_problems

check_problems("problems")
