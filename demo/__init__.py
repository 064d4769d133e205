"""`python -m demo`: the main job from nothing to verified, on real servers, told as a story and checked throughout.

It knows Wallex from outside: Kafka records, the command line, a search. What each reply must be is worked out by a
model of its own (`model.py`), which shares no code with the worker.
"""
