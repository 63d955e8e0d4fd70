-- Run once, when the volume of the database is new.
CREATE DATABASE prefect;
CREATE DATABASE mlflow;
