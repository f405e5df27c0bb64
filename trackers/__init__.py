"""What a run is logged to: metrics.csv always, and the dashboards and trackers that the command line asks for."""
