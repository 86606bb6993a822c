"""The registry of schedules, apart from the package's ``__init__`` because processes' parameters are built from it."""

from diffusionlm.process import schedules
from diffusionlm.process.schedules import Schedule
from diffusionlm.registry import Registry

SCHEDULES: Registry[Schedule] = Registry("schedule", Schedule, vars(schedules))
