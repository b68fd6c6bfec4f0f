"""Kopf handlers: each parses, calls one service, and decides nothing."""
