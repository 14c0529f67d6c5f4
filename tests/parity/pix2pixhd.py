"""NVIDIA/pix2pixHD as a reference: loading it from a checkout, and its names for our parameters."""

import contextlib
import importlib
import io
import sys
import types

import numpy as np
from flax import traverse_util

from sflow_jax.pretrained.pix2pixhd import (
    encoder_names,
    global_generator_names,
    local_enhancer_names,
)


def imported(checkout):
    """Imports the reference's `models.networks` and `models.pix2pixHD_model`, as a context."""
    return modules_of(checkout, networks="models.networks", model="models.pix2pixHD_model")


@contextlib.contextmanager
def modules_of(checkout, **names):
    """Imports modules of a checkout by their names there.

    They import torchvision for VGG19, which no comparison here uses, and expect a GPU: an empty
    torchvision stands in, and `.cuda()` returns the tensor itself. All of it is undone afterwards.
    """
    import torch

    stub = types.ModuleType("torchvision")
    stub.models = types.ModuleType("torchvision.models")
    modules, path, cuda = dict(sys.modules), list(sys.path), torch.Tensor.cuda
    cuda_bytes = torch.cuda.ByteTensor
    sys.modules |= {"torchvision": stub, "torchvision.models": stub.models}
    sys.path.insert(0, str(checkout))
    torch.Tensor.cuda = lambda tensor, *_: tensor
    torch.cuda.ByteTensor = torch.ByteTensor
    try:
        yield types.SimpleNamespace(
            **{ours: importlib.import_module(theirs) for ours, theirs in names.items()}
        )
    finally:
        torch.Tensor.cuda = cuda
        torch.cuda.ByteTensor = cuda_bytes
        sys.path[:] = path
        for name in list(sys.modules):
            if name.partition(".")[0] in ("models", "util", "torchvision"):
                del sys.modules[name]
        sys.modules |= {
            name: module
            for name, module in modules.items()
            if name.partition(".")[0] in ("models", "util", "torchvision")
        }


def discriminator_names(num_scales, num_layers):
    """Our layers of `MultiScaleDiscriminator`, by path, and the reference's names for them."""
    return {
        f"scale_{scale}/conv_{layer}": f"scale{num_scales - 1 - scale}_layer{layer}.0"
        for scale in range(num_scales)
        for layer in range(num_layers + 2)
    }


def to_reference(params, names):
    """Our parameters (`{'params': ...}`) under the reference's keys, as NumPy arrays."""
    tensors = {}
    for path, values in traverse_util.flatten_dict(params["params"], sep="/").items():
        key, axes = _key_and_axes(path, names)
        tensors[key] = values if axes is None else np.transpose(values, axes)
    return tensors


def from_reference(tensors, names, params):
    """The reference's tensors (parameters or gradients of them) in the structure of ours.

    Args:
        tensors: by the reference's keys.
        names: its names of our layers.
        params: ours, which have no bias where instance norm follows.
    """
    found = {}
    for path in traverse_util.flatten_dict(params["params"], sep="/"):
        key, axes = _key_and_axes(path, names)
        values = np.asarray(tensors[key])
        found[path] = values if axes is None else np.transpose(values, np.argsort(axes))
    return {"params": traverse_util.unflatten_dict(found, sep="/")}


def _key_and_axes(path, names):
    """The reference's key for a parameter of ours, and the order of its axes there, or None."""
    layer, _, kind = path.rpartition("/")
    key = f"{names[layer]}.{'bias' if kind == 'bias' else 'weight'}"
    return key, _axes(layer) if kind == "kernel" else None


def _axes(layer):
    # Height, width, input, output to torch's order: convolutions begin with the output, transposed
    # ones with the input.
    return (2, 3, 0, 1) if layer.endswith("UpsampleConv_0") else (3, 2, 0, 1)


def load(torch_module, params, names):
    """Gives a reference's module our parameters, in the type that the module has.

    The biases that we do not have are 0.5: it must not matter.
    """
    import torch

    tensors = {
        key: torch.from_numpy(np.ascontiguousarray(values))
        for key, values in to_reference(params, names).items()
    }
    biases = {
        key: torch.full_like(tensor, 0.5)
        for key, tensor in torch_module.state_dict().items()
        if key.endswith(".bias")
    }
    torch_module.load_state_dict(dict(torch_module.named_buffers()) | biases | tensors)
    return torch_module


def nchw(x):
    """A NumPy array [B, H, W, C] as a tensor [B, C, H, W] of the default type."""
    import torch

    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(x, -1, 1))).to(
        torch.get_default_dtype()
    )


def nhwc(tensor):
    """A tensor [B, C, H, W] as a NumPy array [B, H, W, C]."""
    return np.moveaxis(tensor.detach().numpy(), 1, -1)


@contextlib.contextmanager
def default_type(dtype):
    """Makes tensors and modules of this type, as the reference asks for none."""
    import torch

    previous = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(previous)


def generate(reference, kind, sizes, params, label_map, edge_map):
    """The images [B, H, W, 3] of the reference's generator with our parameters."""
    import torch

    condition = np.concatenate([label_map, edge_map], -1)
    arguments = (condition.shape[-1], 3, sizes["width"])
    blocks = (sizes["num_downsamplings"], sizes["num_blocks"])
    norm = reference.networks.get_norm_layer("instance")
    if kind == "local":
        count = sizes["num_local_blocks"]
        module = reference.networks.LocalEnhancer(*arguments, *blocks, 1, count, norm)
        load(module, params, local_enhancer_names(*blocks, count))
    else:
        module = reference.networks.GlobalGenerator(*arguments, *blocks, norm)
        load(module, params, global_generator_names(*blocks))
    with torch.no_grad():
        return nhwc(module(nchw(condition)))


def encode(reference, params, image, instance):
    """The features [B, H, W, 3] of the reference's encoder with our parameters."""
    import torch

    module = reference.networks.Encoder(3, 3, 16, 4, reference.networks.get_norm_layer("instance"))
    load(module, params, encoder_names(4))
    with torch.no_grad():
        return nhwc(module(nchw(image), nchw(instance.astype(np.float64))))


def discriminate(reference, sizes, params, condition, image):
    """The features of the reference's discriminators with our parameters, full size first."""
    import torch

    scales, layers = sizes["num_scales"], sizes["num_layers"]
    pair = np.concatenate([condition, image], -1)
    norm = reference.networks.get_norm_layer("instance")
    module = reference.networks.MultiscaleDiscriminator(
        pair.shape[-1], sizes["width"], layers, norm, False, scales, True
    )
    load(module, params, discriminator_names(scales, layers))
    with torch.no_grad():
        return [[nhwc(feature) for feature in features] for features in module(nchw(pair))]


def training_step(reference, step):
    """One iteration of the reference's train.py on its own `Pix2PixHDModel`, in float64.

    Without VGG19 and image pool.

    Args:
        reference: what `imported` gives.
        step: what `cases.step` gives.

    Returns:
        The losses by the reference's names; for `generator` and `discriminator` their gradients and
        updated parameters with our names.
    """
    import torch

    with default_type(torch.float64):
        instance = step.batch.get("instance")
        has_instance = instance is not None
        model = _create_model(reference, step.config, step.label_map.shape[-1], has_instance)
        names, discriminator = _names_of(step.config)
        load(model.netG, step.state.params["generator"], names)
        load(model.netD, step.state.discriminator_params, discriminator)
        instance = nchw(instance[:, 0].astype(np.float64)) if has_instance else None
        values, _ = model(nchw(step.label_map), instance, nchw(step.image), None)
        losses = dict(zip(model.loss_names, values, strict=True))

        model.optimizer_G.zero_grad()
        (losses["G_GAN"] + losses["G_GAN_Feat"]).backward()
        model.optimizer_G.step()
        model.optimizer_D.zero_grad()
        ((losses["D_fake"] + losses["D_real"]) * 0.5).backward()
        model.optimizer_D.step()
        return {
            "losses": {name: value.item() for name, value in losses.items()},
            "generator": _outcome(model.netG, names, step.state.params["generator"]),
            "discriminator": _outcome(model.netD, discriminator, step.state.discriminator_params),
        }


def _names_of(config):
    """The names of the generator's and of the discriminators' layers that a config describes."""
    generator, discriminator = config.generator, config.discriminator
    sizes = (generator.num_downsamplings, generator.num_blocks)
    if generator.kind == "local":
        names = local_enhancer_names(*sizes, generator.num_local_blocks)
    else:
        names = global_generator_names(*sizes)
    return names, discriminator_names(discriminator.num_scales, discriminator.num_layers)


def _create_model(reference, config, num_classes, has_instance):
    generator, discriminator, optimizer = config.generator, config.discriminator, config.optimizer
    options = types.SimpleNamespace(
        isTrain=True,
        gpu_ids=[],
        checkpoints_dir="",
        name="",
        resize_or_crop="none",
        data_type=32,
        verbose=False,
        continue_train=False,
        load_pretrain="",
        label_nc=0,  # the label map comes as one-hot
        input_nc=num_classes,
        output_nc=3,
        no_instance=not has_instance,
        instance_feat=False,
        label_feat=False,
        load_features=False,
        norm="instance",
        netG=generator.kind,
        ngf=generator.width,
        n_downsample_global=generator.num_downsamplings,
        n_blocks_global=generator.num_blocks,
        n_local_enhancers=1,
        n_blocks_local=generator.num_local_blocks,
        num_D=discriminator.num_scales,
        ndf=discriminator.width,
        n_layers_D=discriminator.num_layers,
        no_lsgan=False,
        pool_size=0,
        no_ganFeat_loss=False,
        lambda_feat=config.loss.feature_matching_weight,
        no_vgg_loss=True,
        niter_fix_global=0,
        lr=optimizer.learning_rate,
        beta1=optimizer.beta1,
    )
    model = reference.model.Pix2PixHDModel()
    with contextlib.redirect_stdout(io.StringIO()):  # it prints its networks
        model.initialize(options)
    return model


def _outcome(module, names, params):
    parameters = dict(module.named_parameters())
    gradients = {key: tensor.grad.numpy() for key, tensor in parameters.items()}
    updated = {key: tensor.detach().numpy() for key, tensor in parameters.items()}
    return {
        "gradients": from_reference(gradients, names, params),
        "params": from_reference(updated, names, params),
    }
