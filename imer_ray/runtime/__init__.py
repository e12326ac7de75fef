"""Predictors beside eager PyTorch: a `imer_ray.models.pattern_model.PatternModel` as a graph of tensors, for
torch.export and ONNX Runtime.

Legend: B clips, M = 3 modalities (l, a, v), L frames, D features, T modalities that are drawn, N draws of a clip, K
arrays of noise that a sampler takes; L' and D' of latents.
"""
