"""What MLflow holds: runs, artifacts, registered versions and their aliases."""
