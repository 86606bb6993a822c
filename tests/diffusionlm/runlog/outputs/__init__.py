"""Tests of diffusionlm.runlog.outputs."""
