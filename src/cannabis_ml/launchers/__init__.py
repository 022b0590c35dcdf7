"""Run the pipelines on another machine, rented by the hour or one's own, and fetch the results."""
