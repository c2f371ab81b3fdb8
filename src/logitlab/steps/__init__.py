"""The steps, one file per family.

Each is a function named by its request key (`top_p`), which is the mathematics, and a step in
CamelCase (`TopP`), which is the function with its value chosen. Both are exported by `logitlab`.
What all of them take and return, `Transform` says.
"""
