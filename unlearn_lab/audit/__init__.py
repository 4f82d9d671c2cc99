"""The command `python -m unlearn_lab.audit`: has a model that somebody else unlearned forgotten?"""
