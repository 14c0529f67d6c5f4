"""sniklaus/pytorch-hed as a reference: loading its network, and its names for our parameters."""

import contextlib
import importlib.util
import pathlib
import sys

import numpy as np

_STAGES = ("One", "Two", "Thr", "Fou", "Fiv")
_CONVOLUTIONS = (2, 2, 3, 3, 3)
MEAN = np.array([104.00698793, 116.66876762, 122.67891434])  # that it subtracts from 255 * input


def create_network(checkout, params):
    """The reference's `Network` with our parameters.

    Its script parses the command line, turns gradients off for the whole process, and downloads
    weights when a network is made: it sees an empty command line, gradients are turned on again,
    and our parameters stand in for the download.
    """
    import torch

    spec = importlib.util.spec_from_file_location("hed", pathlib.Path(checkout) / "run.py")
    script = importlib.util.module_from_spec(spec)
    argv, download = sys.argv, torch.hub.load_state_dict_from_url
    sys.argv = ["run.py"]
    torch.hub.load_state_dict_from_url = lambda **_: {
        key: torch.from_numpy(np.ascontiguousarray(values))
        for key, values in _to_reference(params).items()
    }
    try:
        spec.loader.exec_module(script)
        return script.Network()
    finally:
        torch.set_grad_enabled(True)
        torch.hub.load_state_dict_from_url = download
        sys.argv = argv


def _to_reference(params):
    tensors = {}
    for stage, (name, count) in enumerate(zip(_STAGES, _CONVOLUTIONS, strict=True), start=1):
        first = 0 if stage == 1 else 1  # the later stages begin with a pool
        layers = {f"conv{stage}_{i + 1}": f"moduleVgg{name}.{first + 2 * i}" for i in range(count)}
        for ours, theirs in (layers | {f"side_{stage}": f"moduleScore{name}"}).items():
            tensors |= _layer(params["params"][ours], theirs)
    return tensors | _layer(params["params"]["fuse"], "moduleCombine.0")


def _layer(layer, name):
    weight = np.transpose(layer["kernel"], (3, 2, 0, 1))
    return {f"{name}.weight": weight, f"{name}.bias": layer["bias"]}


def logits(network, x):
    """The five side scores at full size and the fusion before its sigmoid, [B, H, W, 1] each.

    Args:
        network: what `create_network` gives.
        x: what its first convolution shall see, [B, H, W, 3].
    """
    import torch

    captured = []
    combine = network.netCombine[0]
    with contextlib.ExitStack() as hooks, torch.no_grad():
        for hook in (
            combine.register_forward_pre_hook(lambda _, inputs: captured.extend(inputs)),
            combine.register_forward_hook(lambda _, __, output: captured.append(output)),
        ):
            hooks.callback(hook.remove)
        image = (np.moveaxis(x, -1, 1) + MEAN[:, None, None]) / 255
        network(torch.from_numpy(image.astype(x.dtype)))
    sides, fusion = (tensor.numpy() for tensor in captured)
    return [*(sides[:, i, ..., None] for i in range(5)), fusion[:, 0, ..., None]]
