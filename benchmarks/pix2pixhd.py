"""NVIDIA/pix2pixHD as a peer: its own networks, losses and optimizers, from a checkout.

It needs PyTorch, which nothing else here imports. The training loop is that of its train.py, and
every option that is not given here has its own default.
"""

import argparse
import contextlib
import importlib
import importlib.util
import io
import pathlib
import sys
import time
import types
from collections.abc import Callable, Iterator

import ml_collections
import numpy as np

VARIANTS = ("eager", "channels_last", "compile")


def start(checkout: pathlib.Path, num_threads: int) -> None:
    """Makes the checkout importable, once per process.

    On a machine without a GPU, which its code expects, `.cuda()` returns the tensor itself.

    Args:
        checkout: the folder of the repository.
        num_threads: of PyTorch on the CPU.
    """
    import torch

    torch.set_num_threads(num_threads)
    torch.backends.cudnn.benchmark = True  # as its training has it
    sys.path.insert(0, str(checkout))
    if importlib.util.find_spec("torchvision") is None:  # it is for VGG19 only, which is left out
        stub = types.ModuleType("torchvision")
        stub.models = types.ModuleType("torchvision.models")
        sys.modules |= {"torchvision": stub, "torchvision.models": stub.models}
    if not torch.cuda.is_available():
        torch.Tensor.cuda = lambda tensor: tensor


def version() -> str:
    """PyTorch's."""
    import torch

    return torch.__version__


def make_train_step(
    config: ml_collections.ConfigDict, num_classes: int, batch: dict[str, np.ndarray], variant: str
) -> Callable[[], None]:
    """One iteration of its train.py without VGG19, instance maps and image pool.

    Args:
        config: the whole config, whose generator and discriminators it gets.
        num_classes: channels of the one-hot label map.
        batch: `image` uint8 [B, 1, H, W, 3] and `label` uint8 [B, 1, H, W, 1].
        variant: of `VARIANTS`, or several of them joined by '+'.

    Returns:
        The step; it returns before a GPU is done.
    """
    import torch

    options = _options(config, num_classes)
    with contextlib.redirect_stdout(io.StringIO()):  # it prints its networks
        model = importlib.import_module("models.pix2pixHD_model").Pix2PixHDModel()
        model.initialize(options)
    _apply(variant, model, model.netG, model.netD)
    label_map, image = (_place(x, variant) for x in _arrays(batch, num_classes))

    def step() -> None:
        with _compute_type(config):
            values, _ = model(label_map, None, image, None)
        losses = dict(zip(model.loss_names, values, strict=True))
        model.optimizer_G.zero_grad()
        (losses["G_GAN"] + losses["G_GAN_Feat"]).backward()
        model.optimizer_G.step()
        model.optimizer_D.zero_grad()
        ((losses["D_fake"] + losses["D_real"]) * 0.5).backward()
        model.optimizer_D.step()

    torch.manual_seed(0)
    return step


def make_generator(
    config: ml_collections.ConfigDict, num_classes: int, variant: str
) -> tuple[Callable, Callable]:
    """Its generator, from label maps on the host to images on the host.

    Args:
        config: the whole config, whose generator it gets.
        num_classes: channels of the one-hot label map.
        variant: of `VARIANTS`, or several of them joined by '+'.

    Returns:
        A function of uint8 [B, H, W, 1], class ids, that returns before a GPU is done, and one that
        fetches its result: uint8 images [B, H, W, 3].
    """
    import torch

    options = _options(config, num_classes)
    networks = importlib.import_module("models.networks")
    names = ("netG", "n_downsample_global", "n_blocks_global", "n_local_enhancers")
    with contextlib.redirect_stdout(io.StringIO()):
        network = networks.define_G(
            num_classes, 3, options.ngf, *(getattr(options, name) for name in names),
            options.n_blocks_local, options.norm, options.gpu_ids,
        )  # fmt: skip
    _apply(variant, network.eval(), network)

    def generate(label: np.ndarray) -> torch.Tensor:
        ids = torch.from_numpy(label[..., 0]).cuda().long()
        label_map = torch.nn.functional.one_hot(ids, num_classes).permute(0, 3, 1, 2).float()
        with torch.inference_mode(), _compute_type(config):
            image = network.forward(_laid_out(label_map, variant))
        image = ((image.float() + 1) * 127.5).round().to(torch.uint8)
        return image.permute(0, 2, 3, 1).contiguous()

    return generate, lambda image: image.cpu().numpy()


def wait() -> None:
    """Waits until a GPU is done."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()


class Start:
    """What the first call of a function takes of time and of a GPU's memory.

    Attributes:
        seconds: with whatever it compiles.
        peak_bytes: beside what was there before; 0 without a GPU.
    """

    def __init__(self, make: Callable[[], Callable[[], object]]):
        import torch

        on_gpu = torch.cuda.is_available()
        before = torch.cuda.memory_allocated() if on_gpu else 0
        if on_gpu:
            torch.cuda.reset_peak_memory_stats()
        self.function = make()
        start_time = time.perf_counter()
        self.function()
        wait()
        self.seconds = time.perf_counter() - start_time
        self.peak_bytes = torch.cuda.max_memory_allocated() - before if on_gpu else 0


def _options(config: ml_collections.ConfigDict, num_classes: int) -> argparse.Namespace:
    import torch

    train_options = importlib.import_module("options.train_options").TrainOptions()
    train_options.initialize()
    generator, discriminator = config.generator, config.discriminator
    given = {
        "label_nc": 0,  # the label map comes as one-hot and lies on the device
        "input_nc": num_classes,
        "netG": generator.kind,
        "ngf": generator.width,
        "n_downsample_global": generator.num_downsamplings,
        "n_blocks_global": generator.num_blocks,
        "n_blocks_local": generator.num_local_blocks,
        "num_D": discriminator.num_scales,
        "ndf": discriminator.width,
        "n_layers_D": discriminator.num_layers,
        "lr": config.optimizer.learning_rate,
    }
    arguments = [f"--{name}={value}" for name, value in given.items()]
    options = train_options.parser.parse_args([*arguments, "--no_instance", "--no_vgg_loss"])
    options.isTrain = True
    options.gpu_ids = [0] if torch.cuda.is_available() else []
    return options


def _apply(variant: str, model, *networks) -> None:
    """Changes the memory format, and compiles `forward`, which the reference calls by name."""
    import torch

    words = variant.split("+")
    if "channels_last" in words:
        model.to(memory_format=torch.channels_last)
    if "compile" in words:
        for network in networks:
            network.forward = torch.compile(network.forward)


def _arrays(batch: dict[str, np.ndarray], num_classes: int) -> Iterator[np.ndarray]:
    """The one-hot label map and the image in [-1, 1], float32 [B, C, H, W]."""
    one_hot = np.eye(num_classes, dtype=np.float32)[batch["label"][:, 0, ..., 0]]
    for array in (one_hot, batch["image"][:, 0].astype(np.float32) / 127.5 - 1):
        yield np.ascontiguousarray(np.moveaxis(array, -1, 1))


def _place(array: np.ndarray, variant: str):
    import torch

    return _laid_out(torch.from_numpy(array).cuda(), variant)


def _laid_out(tensor, variant: str):
    import torch

    if "channels_last" in variant.split("+"):
        return tensor.contiguous(memory_format=torch.channels_last)
    return tensor.contiguous()


def _compute_type(config: ml_collections.ConfigDict):
    """bfloat16 under autocast, as PyTorch users have it; float32 otherwise."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    is_bfloat16 = config.train.compute_dtype == "bfloat16"
    return torch.autocast(device, dtype=torch.bfloat16, enabled=is_bfloat16)
