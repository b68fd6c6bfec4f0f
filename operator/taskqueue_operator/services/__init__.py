"""What the operator does: the services that handlers call."""
