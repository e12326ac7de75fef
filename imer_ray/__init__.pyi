from imer_ray.api.configuration import compose as compose
from imer_ray.api.model import Model as Model
from imer_ray.api.model import evaluate as evaluate
from imer_ray.api.model import load_model as load_model
from imer_ray.api.model import train as train
from imer_ray.api.study import Study as Study
from imer_ray.api.study import load_study as load_study
from imer_ray.api.study import search as search
from imer_ray.errors import UserError as UserError

__version__: str
