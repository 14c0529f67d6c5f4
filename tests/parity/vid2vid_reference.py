"""Training on a clip frame by frame by NVIDIA/vid2vid, for `vid2vid_training.case`.

Flows and confidences of the real frames are ours.
"""

import numpy as np

from sflow_jax.methods.vid2vid import NUM_PREVIOUS
from tests.parity import cases, vid2vid
from tests.parity.pix2pixhd import default_type, from_reference, load
from tests.parity.vid2vid_training import (
    NUM_FRAMES,
    NUM_SCALES,
    PLAYERS,
    TEMPORAL,
    Outcome,
    case,
)

LOSSES = {  # the reference's, and the factor that its training applies after reporting them
    "generator/adversarial_image": ("G_GAN", 1.0),
    "generator/feature_matching_image": ("G_GAN_Feat", 1.0),
    "generator/flow": ("F_Flow", 1.0),
    "generator/flow_warping": ("F_Warp", 1.0),
    "generator/warping": ("G_Warp", 1.0),
    "discriminator_image/real": ("D_real", 0.5),
    "discriminator_image/fake": ("D_fake", 0.5),
}
TEMPORAL_LOSSES = {
    "generator/adversarial_temporal_{}": ("G_T_GAN", 1.0),
    "generator/feature_matching_temporal_{}": ("G_T_GAN_Feat", 1.0),
    "discriminator_temporal_{}/real": ("D_T_real", 0.5),
    "discriminator_temporal_{}/fake": ("D_T_fake", 0.5),
}


def training(reference):
    """The `Outcome` of every frame, by the reference's models and its order of updates."""
    import torch

    with default_type(torch.float64):
        return _Reference(reference, case()).train()


class _Reference:
    """The reference's models, with our weights, and what they remember."""

    def __init__(self, reference, step):
        self.step = step
        discriminator = step.config.discriminator
        self.model_g = _create_generating_model(reference, step.config)
        self.model_d = _create_judge(reference, step.config)
        names = {
            "generator": vid2vid.generator_names(
                step.config.generator.num_downsamplings, step.config.generator.num_blocks
            )
        }
        scales, layers = discriminator.num_scales, discriminator.num_layers
        names |= dict.fromkeys(PLAYERS[1:], vid2vid.discriminator_names(scales, layers))
        self.names = names
        model_d = self.model_d
        networks = (self.model_g.netG0, model_d.netD, model_d.netD_T0, model_d.netD_T1)
        optimizers = (
            self.model_g.optimizer_G,
            model_d.optimizer_D,
            model_d.optimizer_D_T0,
            model_d.optimizer_D_T1,
        )
        self.networks = dict(zip(PLAYERS, networks, strict=True))
        self.optimizers = dict(zip(PLAYERS, optimizers, strict=True))
        for player, network in self.networks.items():
            load(network, self._to_theirs(player, step.params[player]), names[player])

    def _to_theirs(self, player, params):
        return vid2vid.frames_first(params) if player in TEMPORAL else params

    def _from_theirs(self, player, tensors):
        arrays = {key: tensor.detach().numpy().copy() for key, tensor in tensors.items()}
        found = from_reference(arrays, self.names[player], self.step.params[player])
        return vid2vid.flows_first(found) if player in TEMPORAL else found

    def train(self):
        """All players learn from one frame after the other."""
        outcomes, have_learned = [], set()
        generated, past = None, (None,) * 4
        for time in range(NUM_PREVIOUS, NUM_FRAMES):
            before = generated
            judged, generated = self._generate(time, before)
            of_image = self._losses(0, [_flat(x) for x in judged])
            past, triples = self.model_d.get_all_skipped_frames(
                past, judged[0], judged[1], *judged[-2:], NUM_SCALES, 3, 1, time, self._flows
            )
            of_triples = [
                self._losses(scale + 1, [part[scale] for part in triples])
                for scale in range(NUM_SCALES)
                if triples[0][scale] is not None
            ]
            of_g, of_d, of_d_t, _ = self.model_d.get_losses(of_image, of_triples, NUM_SCALES)
            gradients = {}
            # Temporal discriminators without a triple, which do not learn, are the last ones.
            for player, loss in zip(PLAYERS, (of_g, of_d, *of_d_t), strict=False):
                self.optimizers[player].zero_grad()
                loss.backward()
                self.optimizers[player].step()
                if player not in have_learned:
                    named = dict(self.networks[player].named_parameters())
                    tensors = {key: tensor.grad for key, tensor in named.items()}
                    gradients[player] = self._from_theirs(player, tensors)
                    have_learned.add(player)
            params = {
                player: self._from_theirs(player, dict(network.named_parameters()))
                for player, network in self.networks.items()
            }
            losses = _by_our_names(of_image, of_triples) | {"generator/total": of_g.item()}
            outcomes.append(Outcome(losses, params, gradients))
        return outcomes

    def _generate(self, time, before):
        """What the discriminating model takes of a frame, [1, 1, ...], and the new memory."""
        window = slice(time - NUM_PREVIOUS, time + 1)
        label, instance = (
            _video(self.step.batch[key][0, window, None].astype(float))
            for key in ("label", "instance")
        )
        image = _video(self.step.clip.image[window])
        # It changes the list that it is given; on GPUs that is a copy, too.
        memory = None if before is None else list(before)
        fake, raw, flow, mask, condition, real, generated = self.model_g(
            label, image, instance, memory
        )
        real_before, real = real[:, :1], real[:, 1:]
        fake_before = self.model_g.compute_fake_B_prev(real_before, before, fake)
        flow_and_confidence = self._flows(real, real_before)
        judged = [real, fake, raw, condition, real_before, fake_before, flow, mask]
        return [*judged, *flow_and_confidence], generated

    def _flows(self, later, earlier):
        """Our flows and confidences between real frames, [1, N, 3, H, W], in FlowNet2's place."""
        flows, confidences = [], []
        clip = self.step.clip
        for pair in zip(later[0], earlier[0], strict=True):
            time, before = (self._number(frame) for frame in pair)
            skip = time - before
            flows.append(clip.flows[skip][time])
            # It asks for a confidence in flows between frames far apart, and makes no use of it.
            unused = np.full_like(clip.confidence[time], np.nan)
            confidences.append(clip.confidence[time] if skip == 1 else unused)
        return _video(np.stack(flows)), _video(np.stack(confidences))

    def _number(self, frame):
        """The number of a real frame [3, H, W] in the clip."""
        images = np.moveaxis(self.step.clip.image[:, 0], -1, 1)
        (number,) = np.flatnonzero((images == frame.numpy()).all((1, 2, 3)))
        return number

    def _losses(self, scale, tensors):
        names = self.model_d.loss_names_T if scale else self.model_d.loss_names
        values = self.model_d(scale, tensors)
        return {name: value.mean() for name, value in zip(names, values, strict=True)}


def _video(frames):
    """Frames [T, 1, H, W, C] as a tensor [1, T, C, H, W]."""
    import torch

    return torch.from_numpy(np.ascontiguousarray(frames.transpose(1, 0, 4, 2, 3)))


def _flat(video):
    return video.reshape(-1, *video.shape[2:])


def _by_our_names(of_image, of_triples):
    found = {ours: factor * of_image[theirs].item() for ours, (theirs, factor) in LOSSES.items()}
    for scale in range(NUM_SCALES):
        for ours, (theirs, factor) in TEMPORAL_LOSSES.items():
            is_ready = scale < len(of_triples)
            value = factor * of_triples[scale][theirs].item() if is_ready else 0.0
            found[ours.format(scale)] = value
    return found


def _create_generating_model(reference, config):
    return vid2vid.create_model(
        reference.generating.Vid2VidModelG(),
        input_nc=cases.NUM_CLASSES,
        n_frames_G=3,
        ngf=config.generator.width,
        netG="composite",
        n_downsample_G=config.generator.num_downsamplings,
        n_blocks=config.generator.num_blocks,
        use_single_G=False,
        no_first_img=False,
        openpose_only=False,
        no_flow=False,
        fg=False,
        dataset_mode="temporal",
        n_frames_total=6,
        max_frames_per_gpu=1,
        niter_fix_global=0,
        lr=config.optimizer.learning_rate,
        beta1=config.optimizer.beta1,
    )


def _create_judge(reference, config):
    sizes = {key: config.discriminator[key] for key in ("width", "num_layers", "num_scales")}
    return vid2vid.create_judge(
        reference,
        sizes,
        config.loss.feature_matching_weight,
        lambda_F=config.vid2vid.flow_weight,
        lambda_T=config.vid2vid.warp_weight,
        n_scales_temporal=NUM_SCALES,
        sparse_D=False,
        no_first_img=False,
        lr=config.optimizer.learning_rate,
        beta1=config.optimizer.beta1,
    )
