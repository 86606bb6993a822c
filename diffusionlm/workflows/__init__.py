"""The library's verbs: each composes training, generation and evaluation into what one command does.

``diffusionlm.workflows.<verb>.<verb>(params)`` is the one call that the command line makes; ``params`` holds the
configuration classes, which import neither torch nor numpy.
"""
