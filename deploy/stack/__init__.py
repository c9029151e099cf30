"""A service on one machine: PostgreSQL, Prefect's and MLflow's servers, and workers, kept up by supervisord."""
