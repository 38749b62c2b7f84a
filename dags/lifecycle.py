"""Every problem file in problems/ becomes its Airflow DAGs: retraining, monitoring and feedback."""

from windtunnel.operators import register_problems

register_problems("problems", globals())
