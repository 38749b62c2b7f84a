"""One Airflow DAG, windtunnel_maintenance, that removes what nobody needs any more, by `retention` in the problem files."""

from windtunnel.operators import register_maintenance

register_maintenance("problems", globals())
