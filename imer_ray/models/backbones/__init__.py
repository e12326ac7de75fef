"""Conditional score networks, one per file; see `imer_ray.models.backbones.transformer` for what a backbone offers."""
