"""Tests of diffusionlm.optim."""
