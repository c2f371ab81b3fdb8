"""What a caller may ask: the table of all parameters, and `SamplingParams`."""
