"""Autoscalers compared on made-up arrivals, in simulated time: `python -m bench.scaling`."""
