"""Every option of a run: its name, its default, what it may be and what it means.

Options are set in the files of configs/ or on the command line:

    python -m sflow_jax.main --config configs/streets.py --config.flow.loss=warp --workdir DIR

`OPTIONS` is the only list of them. To add an option, add an entry: every config then has it.
"""

import dataclasses

from sflow_jax.data.datasets import DATASETS
from sflow_jax.methods import METHODS
from sflow_jax.option_rules import (
    BELOW_ONE,
    BOOLEAN,
    COUNT,
    EPOCHS,
    FLOAT32,
    HALVINGS,
    IMAGE_SIDE,
    PART,
    PATH,
    SEED,
    SHARE,
    SIX_WEIGHTS,
    SOME_EPOCHS,
    STEPS,
    WEIGHT,
    WIDTH,
    Rule,
    between,
    key_of,
    names_among,
    one_of,
    optional,
)


@dataclasses.dataclass(frozen=True)
class Option:
    """One option.

    Attributes:
        default: its value unless an experiment or the command line sets another one, which must be
            of the same type. Runs from before the option existed are read with it as well.
        rule: which values may be used.
        meaning: what it is, in a line.
        may_change: whether a run may be resumed with another value; any other option would make it
            another run.
        value_type: of the values, for an option whose default is None.
    """

    default: object
    rule: Rule
    meaning: str
    may_change: bool = False
    value_type: type | None = None


OPTIONS: dict[str, Option] = {
    "method": Option("sflow", key_of(METHODS), "which method is trained; sflow is the paper's"),
    "seed": Option(0, SEED, "of all random draws: the same seed gives the same run"),
    "init_from": Option(
        "",
        PATH,
        "--workdir of a run to start from: a video stage, other classes, a local enhancer; empty "
        "starts anew, which a video run has to ask for by 'none'",
    ),
    # The training data.
    "data.dataset": Option("cityscapes", key_of(DATASETS), "what to train on"),
    "data.source": Option(
        "",
        PATH,
        "folder of the raw dataset; not needed for streets, nor once prepared",
        may_change=True,
    ),
    "data.data_dir": Option(
        "",
        PATH,
        "folder of prepared datasets; '' is $TFDS_DATA_DIR or ~/tensorflow_datasets",
        may_change=True,
    ),
    "data.height": Option(256, IMAGE_SIDE, "height of the examples, in pixels"),
    "data.width": Option(512, IMAGE_SIDE, "width of the examples, in pixels"),
    "data.frames": Option(
        1,
        between(1, 1000),
        "consecutive frames per example: images, pairs for a flow loss, or clips for vid2vid",
    ),
    "data.frame_step": Option(
        1,
        between(0, 1_000_000_000),
        "from the number of a frame to the next one's, in synthia and folder; 0 takes frames in "
        "the order of their names, such as time stamps",
    ),
    "data.num_train": Option(
        400, between(1, 999_999), "training examples, where streets renders them"
    ),
    "data.num_validation": Option(
        50, between(0, 999_999), "examples of this split of streets; 0 for none"
    ),
    "data.num_test": Option(
        50, between(0, 999_999), "examples of this split of streets; 0 for none"
    ),
    "data.streets_seed": Option(0, between(0, 2**40 - 1), "which streets to render"),
    "data.worker_count": Option(
        0,
        COUNT,
        "processes that read examples; 0 reads with threads of this process",
        may_change=True,
    ),
    # The Laplacian edge maps.
    "edges.threshold": Option(
        0.1, between(0, 4), "|Laplacian| of the gray image in [0, 1] above which a pixel is an edge"
    ),
    "edges.quantile": Option(
        None,
        optional(SHARE),
        "such as 0.9, fixes the share of pixels that are edges instead",
        value_type=float,
    ),
    # DNED, which draws the edges that the generator sees.
    "dned.width": Option(64, WIDTH, "channels of the first stage; 64 as in HED"),
    "dned.init": Option(
        "random", one_of("random", "hed"), "first weights; hed's see photographs in gray or rgb"
    ),
    "dned.frozen": Option(
        False, BOOLEAN, "True never trains it: with hed's weights the network of reference [39]"
    ),
    "dned.input": Option("edges", one_of("edges", "gray", "rgb"), "what it sees of the image"),
    "dned.balanced": Option(True, BOOLEAN, "class-balanced BCE, as in HED; False is plain BCE"),
    "dned.ensemble_draws": Option(
        0.0, SHARE, "share of the examples that draw other ensemble weights in training as well"
    ),
    "dned.stop_gradient": Option(
        False, BOOLEAN, "True stops the gradient from the generator into DNED"
    ),
    # The generator.
    "generator.kind": Option(
        "global", one_of("global", "local"), "local is pix2pixHD's enhancer, for 1024x512 and more"
    ),
    "generator.width": Option(64, WIDTH, "channels of the first layer (ngf)"),
    "generator.num_downsamplings": Option(3, HALVINGS, "halvings before the residual blocks"),
    "generator.num_blocks": Option(9, between(0, 1000), "residual blocks"),
    "generator.num_local_blocks": Option(
        3, between(0, 1000), "residual blocks of the local enhancer"
    ),
    "generator.fixed_trunk": Option(
        False, BOOLEAN, "True trains only the local enhancer around a trunk of init_from"
    ),
    "generator.upsampling": Option(
        "transposed",
        one_of("transposed", "resize"),
        "how it doubles sides: as pix2pixHD does, or without a checkerboard",
    ),
    "generator.remat": Option(
        False,
        BOOLEAN,
        "compute residual blocks again for the gradient; no use on a CPU",
        may_change=True,
    ),
    "generator.edges": Option(
        "dned",
        one_of("dned", "laplacian", "none"),
        "edges that it sees: DNED's, Laplacian ones (no DNED) or none (labels only)",
    ),
    "generator.palette": Option(
        "none",
        one_of("none", "classes"),
        "colors that it is told: none, as in the paper, or the mean color of every class",
    ),
    # The discriminators.
    "discriminator.num_scales": Option(1, one_of(1, 2, 3), "how many PatchGANs"),
    "discriminator.width": Option(64, WIDTH, "channels of the first layer (ndf)"),
    "discriminator.num_layers": Option(3, HALVINGS, "strided layers"),
    "discriminator.sees_edges": Option(False, BOOLEAN, "True shows it the edges too; not in eq. 3"),
    # The losses of images, eqs. 2 to 7.
    "loss.adversarial": Option(
        "lsgan",
        one_of("lsgan", "bce", "hinge"),
        "form of the GAN loss; bce is eq. 2, non-saturating for G",
    ),
    "loss.feature_matching_weight": Option(10.0, WEIGHT, "lambda_1 of eq. 7"),
    "loss.feature_weighting": Option(
        "paper", one_of("paper", "pix2pixhd"), "of the layers; paper is eq. 5"
    ),
    "loss.perceptual_weight": Option(10.0, WEIGHT, "lambda_2 of eq. 7; at 0 no network is needed"),
    "loss.perceptual_network": Option(
        "vgg19",
        one_of("vgg19", "hed_vgg16", "streets"),
        "eq. 6 has vgg19; hed_vgg16's weights pip can get; streets is the package's segmenter",
    ),
    "loss.perceptual_weighting": Option(
        "pix2pixhd", one_of("pix2pixhd", "uniform"), "of the slices: 1/32 ... 1, or 1/P (eq. 6)"
    ),
    "loss.perceptual_input": Option(
        "imagenet", one_of("imagenet", "raw"), "vgg19's: normalized, or raw as in pix2pixHD"
    ),
    "loss.perceptual_window": Option(
        1.0,
        PART,
        "share of the width that the perceptual network sees, at a place drawn anew in every "
        "step: half of it costs half the time",
    ),
    "loss.num_shifts": Option(
        1,
        between(1, 256),
        "pixels by which images are shifted at random before discriminators and perceptual "
        "network see them, so that no pattern of their strides is learned; 1 shifts none",
    ),
    "loss.dned_weight": Option(1.0, WEIGHT, "lambda_3 of eq. 7"),
    "loss.side_weights": Option(
        (1.0,) * 6, SIX_WEIGHTS, "a_i of eq. 4, also the ensemble that the generator sees"
    ),
    # What only pix2pix has; its generator is generator.width and num_downsamplings.
    "pix2pix.labels": Option(
        "colors", one_of("colors", "one_hot"), "how its networks see label maps; officially colors"
    ),
    "pix2pix.l1_weight": Option(100.0, WEIGHT, "lambda of its eq. 4"),
    # What only pix2pixHD has.
    "pix2pixhd.boundaries": Option(
        True, BOOLEAN, "its networks see where instances meet; False where the data have none"
    ),
    "pix2pixhd.num_features": Option(
        0,
        between(0, 1000),
        "of every instance, by an encoder of the real image; officially 3, or none",
    ),
    # What only vid2vid has, which trains on clips.
    "vid2vid.boundaries": Option(
        True, BOOLEAN, "its networks see where instances meet; False where the data have none"
    ),
    "vid2vid.first_frames": Option(
        "none",
        one_of("none", "given"),
        "a clip begins with nothing, or with two frames that are given: real ones in training",
    ),
    "vid2vid.first_length": Option(6, between(1, 1000), "frames that are made of a clip at first"),
    "vid2vid.epochs_per_length": Option(
        5.0, SOME_EPOCHS, "epochs after which twice as many frames are made, up to all of a clip"
    ),
    "vid2vid.num_temporal_scales": Option(
        2, between(0, 8), "discriminators of triples of frames, each of sparser ones"
    ),
    "vid2vid.flow_weight": Option(10.0, WEIGHT, "of the generator's flow"),
    "vid2vid.warp_weight": Option(10.0, WEIGHT, "of frames moved along a flow"),
    # The losses of pairs of frames, eqs. 8 and 9.
    "flow.loss": Option(
        "farneback",
        one_of("farneback", "warp", "both", "none"),
        "compares flows (eq. 8), or a frame with the other one warped, or both",
    ),
    "flow.farneback_weight": Option(1.0, WEIGHT, "weight of eq. 8, whose unit is pixels"),
    "flow.warp_weight": Option(
        10.0, WEIGHT, "weight of the warp loss, whose unit is half the range of intensities"
    ),
    "flow.mask": Option(
        "warp",
        one_of("warp", "both", "none"),
        "which flow losses skip pixels that are hidden in a frame",
    ),
    # Adam, and the average of the parameters.
    "optimizer.learning_rate": Option(2e-4, FLOAT32, "of all networks", may_change=True),
    "optimizer.beta1": Option(0.5, BELOW_ONE, "decay of the mean of the gradients"),
    "optimizer.beta2": Option(0.999, BELOW_ONE, "decay of the mean of their squares"),
    "optimizer.ema_decay": Option(0.999, SHARE, "of the averaged parameters, which sampling uses"),
    # Random changes of the examples and of the edges that DNED sees.
    "augmentation.flip": Option(True, BOOLEAN, "mirror half of the examples"),
    "augmentation.zoom": Option(
        0.0, between(0, 15), "crop at random and resize, by a factor of up to 1 + zoom"
    ),
    "augmentation.cg_edges": Option(
        0.0, SHARE, "share of the examples whose edges DNED sees in the CG frame, and has to mend"
    ),
    "augmentation.threshold_jitter": Option(
        1.0, between(0, 1000), "multiply or divide the edge threshold by up to 1 + jitter"
    ),
    "augmentation.edge_dropout": Option(0.3, SHARE, "remove up to this share of 4x4 cells"),
    "augmentation.edge_blur": Option(0.5, SHARE, "mix in up to this share of a 3x3 blur"),
    # The course of training. An epoch sees every example once.
    "train.batch_size": Option(
        1,
        between(1, 2**24),
        "examples per device; a run continues with as many over all devices as before",
        may_change=True,
    ),
    "train.order": Option(
        "together",
        one_of("together", "discriminator_first"),
        "both players move at once, or the generator against discriminators that have moved",
    ),
    "train.compute_dtype": Option(
        "float32", one_of("float32", "bfloat16"), "parameters and norms stay float32"
    ),
    "train.laplacian_epochs": Option(50.0, EPOCHS, "stage A: Laplacian edges into the generator"),
    "train.ramp_epochs": Option(
        5.0, EPOCHS, "from Laplacian to DNED edges, which stage B then has"
    ),
    "train.constant_epochs": Option(
        100.0,
        EPOCHS,
        "until the learning rate starts to fall linearly to 0",
        may_change=True,
    ),
    "train.epochs": Option(200.0, SOME_EPOCHS, "length of the run", may_change=True),
    "train.max_steps": Option(
        0,
        between(0, 2**31 - 1),
        "if not 0, the last step; the schedule stays that of the full run",
        may_change=True,
    ),
    # What a run writes on its way.
    "log.every_steps": Option(50, STEPS, "steps between lines of metrics.jsonl", may_change=True),
    "log.images_every_steps": Option(1000, STEPS, "steps between previews", may_change=True),
    "log.num_images": Option(4, between(1, 1000), "examples in a preview", may_change=True),
    # Scores of the validation split during training.
    "eval.every_steps": Option(
        0,
        between(0, 2**31 - 1),
        "steps between scores, which the end has too; 0 is never",
        may_change=True,
    ),
    "eval.num_examples": Option(
        50, between(1, 10**9), "how many of its examples, the first ones", may_change=True
    ),
    "eval.metrics": Option(
        "",
        names_among("fid", "frechet_streets", "segmentation"),
        "as evaluate's --metrics, such as 'fid,segmentation'; '' is all it can",
        may_change=True,
    ),
    # Checkpoints, from which a run resumes.
    "checkpoint.every_steps": Option(1000, STEPS, "steps between checkpoints", may_change=True),
    "checkpoint.keep": Option(
        3, between(1, 1000), "how many of the newest to keep", may_change=True
    ),
}


RENAMED: dict[str, str] = {
    "dned.blur": "augmentation.edge_blur",
    "dned.dropout": "augmentation.edge_dropout",
    "dned.threshold_jitter": "augmentation.threshold_jitter",
    "flow.weight": "flow.farneback_weight",
    "loss.dned": "loss.dned_weight",
    "loss.feature_matching": "loss.feature_matching_weight",
    "loss.perceptual": "loss.perceptual_weight",
    "loss.perceptual_weights": "loss.perceptual_weighting",
    "train.flip": "augmentation.flip",
    "train.zoom": "augmentation.zoom",
}
"""Former names of options, which the config files of older runs have."""

RENAMED_VALUES: dict[str, dict[object, object]] = {"dned.input": {"grey": "gray"}}
"""Former values of options."""
