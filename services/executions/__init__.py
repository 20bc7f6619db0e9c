"""Executions: started by a person, run step by step, settled once."""
