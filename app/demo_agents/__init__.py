"""Agents for the demo: real HTTP servers that do real work on what they are sent, without a model."""
