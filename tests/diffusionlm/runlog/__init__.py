"""Tests of diffusionlm.runlog."""
