-- The databases beside Prefect's, which the image makes by itself.
CREATE DATABASE mlflow;
CREATE DATABASE mlflow_auth;
