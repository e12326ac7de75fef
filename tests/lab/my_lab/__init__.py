"""A laboratory's own choices for imer_ray: ``plugins=[my_lab]`` loads them."""
