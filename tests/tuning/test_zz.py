def test_x():
    import ray
    assert not ray.is_initialized()
