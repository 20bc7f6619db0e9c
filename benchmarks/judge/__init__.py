"""How good a validator is: labelled cases, attacks on it, and figures that begin with false passes."""
