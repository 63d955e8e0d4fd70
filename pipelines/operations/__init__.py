"""What keeps scheduled flows running: servers, workers, deployments, automations, and how an experiment stands."""
