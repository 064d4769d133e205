"""Coverage-guided fuzzing of what takes bytes from strangers: the decoder, and the stand-in's request parsing.

`decoder` and `kurrentdb` hold one function each, `check(data)`, which raises where a promise is broken. Nothing in them
needs the fuzzer: the tests run the same checks over the seeds and over everything that was ever found (`finds/`).
`python -m fuzz` (`make fuzz`) runs both under atheris.
"""
