"""Every option with its default; the experiments in this folder change what differs.

Run an experiment, not this file: python -m sflow_jax.main --config configs/streets.py --workdir DIR
"""

from ml_collections import config_dict


def get_config() -> config_dict.ConfigDict:
    """The defaults of the paper, at 512x256; a field that is not listed here is an error."""
    config = config_dict.ConfigDict()
    config.seed = 0
    config.init_from = ""  # --workdir of the image run that a video run starts from; "none" = none

    config.data = data = config_dict.ConfigDict()
    data.dataset = "cityscapes"  # streets | cityscapes | synthia | folder
    data.source = ""  # folder of the raw dataset; not needed for streets or once it is prepared
    data.data_dir = ""  # where prepared datasets live; "" = $TFDS_DATA_DIR or ~/tensorflow_datasets
    data.height = 256
    data.width = 512
    data.frames = 1  # consecutive frames per example: 1 trains images, 2 trains video
    data.num_train = 400  # streets only: examples to render per split, and from which seed
    data.num_validation = 50
    data.num_test = 50
    data.streets_seed = 0
    data.worker_count = 0  # reading processes; 0 = threads in this process

    config.edges = edges = config_dict.ConfigDict()
    edges.threshold = 0.1  # |Laplacian| of the gray image in [0, 1] above which a pixel is an edge
    edges.quantile = config_dict.placeholder(float)  # e.g. 0.9: fix the edge density instead

    config.dned = dned = config_dict.ConfigDict()
    dned.width = 64  # channels of the first stage, as in HED
    dned.input = "edges"  # edges | gray | rgb
    dned.balanced = True  # class-balanced BCE, as in HED; False = plain BCE
    dned.stop_gradient = False  # True = no gradient from the generator into DNED
    dned.threshold_jitter = 1.0  # corruption of an edge input: threshold x or / up to 1 + jitter,
    dned.dropout = 0.3  # up to this share of 4x4 cells removed,
    dned.blur = 0.5  # up to this share of a 3x3 blur mixed in

    config.generator = generator = config_dict.ConfigDict()
    generator.kind = "global"  # global | local (pix2pixHD's enhancer, for 1024x512 and more)
    generator.width = 64  # ngf
    generator.num_downsamplings = 3
    generator.num_blocks = 9
    generator.num_local_blocks = 3  # local only
    generator.remat = False  # compute residual blocks again for the gradient; no use on a CPU
    generator.edges = "dned"  # dned | laplacian (no DNED) | none (labels only)

    config.discriminator = discriminator = config_dict.ConfigDict()
    discriminator.num_scales = 1  # 1-3 PatchGANs
    discriminator.width = 64  # ndf
    discriminator.num_layers = 3
    discriminator.sees_edges = False  # eq. 3 writes D(s, .)

    config.loss = loss = config_dict.ConfigDict()
    loss.adversarial = "lsgan"  # lsgan | bce (eq. 2 literally) | hinge
    loss.feature_matching = 10.0  # lambda_1
    loss.feature_weighting = "paper"  # paper (eq. 5) | pix2pixhd
    loss.perceptual = 10.0  # lambda_2; 0 = off
    loss.perceptual_network = "vgg19"  # vgg19 | streets (features of the shipped segmenter)
    loss.perceptual_weights = "pix2pixhd"  # pix2pixhd (1/32 ... 1) | uniform (1/P, eq. 6)
    loss.perceptual_input = "imagenet"  # of vgg19: imagenet (normalized) | raw (as pix2pixHD)
    loss.dned = 1.0  # lambda_3
    loss.side_weights = (1.0,) * 6  # a_i of eq. 4, also the ensemble that the generator sees

    config.flow = flow = config_dict.ConfigDict()  # of pairs of frames only
    flow.loss = "farneback"  # farneback (eq. 8) | warp | both | none
    flow.weight = 1.0  # of eq. 8, whose unit is pixels
    flow.warp_weight = 10.0  # of the warp loss, whose unit is half the range of intensities
    flow.mask = "warp"  # which losses leave out what is hidden in a frame: warp | both | none

    config.optimizer = optimizer = config_dict.ConfigDict()
    optimizer.learning_rate = 2e-4
    optimizer.beta1 = 0.5
    optimizer.beta2 = 0.999
    optimizer.ema_decay = 0.999

    config.train = train = config_dict.ConfigDict()
    train.batch_size = 1  # per device
    train.compute_dtype = "float32"  # float32 | bfloat16 (parameters and norms stay float32)
    train.flip = True  # mirror half of the examples
    train.zoom = 0.0  # crop at random and resize, by a factor of up to 1 + zoom
    train.laplacian_epochs = 50.0  # stage A: Laplacian edges into the generator
    train.ramp_epochs = 5.0  # from Laplacian to DNED edges; stage B: DNED edges
    train.constant_epochs = 100.0  # then the learning rate falls linearly to 0
    train.epochs = 200.0
    train.max_steps = 0  # > 0: stop here whatever the epochs say (the schedule is not squeezed)

    config.log = log = config_dict.ConfigDict()
    log.every_steps = 50
    log.images_every_steps = 1000
    log.num_images = 4

    config.eval = eval_ = config_dict.ConfigDict()  # scores of the validation split while training
    eval_.every_steps = 0  # and at the end of the run; 0 = never
    eval_.num_examples = 50  # the first so many
    eval_.metrics = ""  # as evaluate's --metrics, such as "fid,segmentation"; "" = all that it can

    config.checkpoint = checkpoint = config_dict.ConfigDict()
    checkpoint.every_steps = 1000
    checkpoint.keep = 3  # the newest so many
    return config.lock()


def video_stage(config: config_dict.ConfigDict) -> config_dict.ConfigDict:
    """Makes the config of an image run that of the video stage which starts from it."""
    config.data.frames = 2
    config.optimizer.learning_rate = 2e-5
    # The image run has been through its stages: DNED's edges from the first step.
    config.train.laplacian_epochs = 0.0
    config.train.ramp_epochs = 0.0
    config.train.constant_epochs = 20.0
    config.train.epochs = 20.0
    return config
