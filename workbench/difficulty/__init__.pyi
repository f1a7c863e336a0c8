from . import irt as irt
from .counts import attempts_needed as attempts_needed
from .counts import beta_binomial as beta_binomial
from .counts import from_counts as from_counts
from .counts import population as population
from .counts import share_within as share_within
from .ratings import from_ratings as from_ratings
from .ratings import matching_eta as matching_eta
