"""Diffusion of latent sequences: pure functions of tensors and an explicit generator."""
