"""What more Tasks need, from what one costs. Nothing in it needs a cluster."""
