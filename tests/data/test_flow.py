import inspect

from sflow_jax.data import flow
from sflow_jax.ops.optical_flow import farneback


def test_stored_flow_is_made_with_the_parameters_of_eq_8():
    parameters = inspect.signature(farneback).parameters.values()
    defaults = {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}
    assert defaults == flow.FARNEBACK
