"""`python -m mutants`: do the tests bite? Each safeguard is taken out once, and the tests must notice.

A mutant is a small change of the code that breaks a promise (`table.py`). It is made in a copy of the tree, with a
Python environment of its own, so that the processes which tests start run the changed code too (`tree.py`). The tests
that are to notice are run there (`suite.py`); a mutant that none of them notices is a test that is missing.
"""
