"""What runs campaigns unattended: Prefect flows, schedules, and the processes that serve them."""
