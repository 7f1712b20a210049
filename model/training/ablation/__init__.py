"""Does each mechanism of the paper help? Each is taken out in turn and the rest trained again, from the same start."""
