"""FlowLM's library: language models that generate by discrete flow matching or diffusion.

Layers, strictly downward: workflows → training, generation, evaluation → objective, sampling, checkpoint → data, model
→ tokenizer, process, kernels, optim, dist → errors, params, registry, rng, runlog, lazy.
"""
