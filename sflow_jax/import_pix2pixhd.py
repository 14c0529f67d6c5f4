"""Makes a run of NVIDIA/pix2pixHD's official PyTorch checkpoints, to sample from and to score.

    python -m sflow_jax.import_pix2pixhd --config configs/baselines/pix2pixhd.py --workdir RUN
        --generator latest_net_G.pth [--classes FILE]
    python -m sflow_jax.import_pix2pixhd --config configs/baselines/pix2pixhd.py --workdir RUN
        --generator latest_net_G.pth --encoder latest_net_E.pth --dataset FOLDER

What the networks are is read from the files; the config says the rest, such as the size of images,
--config.data.width and height. Label maps have the 35 ids of Cityscapes, unless --classes or the
dataset has a class table. An encoder of instance features needs a prepared dataset: the features
that instances have in use are found in its training images.

The run cannot be trained further: the files hold neither discriminators nor optimizers.
"""

import copy
import pathlib
import shlex
from collections.abc import Sequence

import ml_collections
from absl import flags

from sflow_jax import cli, configuration
from sflow_jax.data.labels import CITYSCAPES, ClassTable
from sflow_jax.data.prepared import PreparedDataset, open_dataset
from sflow_jax.errors import InputError, writing_to
from sflow_jax.files import named_path, require_new_folder, whole_folder
from sflow_jax.models.generator import LocalEnhancer
from sflow_jax.models.pix2pixhd import InstanceEncoder
from sflow_jax.pretrained.pix2pixhd import (
    Generator,
    OfficialNetwork,
    read_encoder,
    read_generator,
)
from sflow_jax.runs.checkpoints import save_networks
from sflow_jax.runs.record import RunRecord
from sflow_jax.runs.schedule import Schedule

_STEP = 0  # the files do not say how many there were


def main() -> None:
    """The command."""
    options = flags.FLAGS
    paths = {
        name: getattr(options, name)
        for name in ("workdir", "generator", "encoder", "classes", "dataset")
    }
    given = {
        name: named_path(f"--{name}", path) for name, path in paths.items() if path is not None
    }
    workdir = given["workdir"]
    print(import_run(options.config, **given))
    print(f"{workdir}: ready; for a FOLDER with label/, and instance/ if it sees boundaries:")
    print(_sample_command(workdir))


def import_run(
    config: ml_collections.ConfigDict,
    workdir: pathlib.Path,
    generator: pathlib.Path,
    encoder: pathlib.Path | None = None,
    classes: pathlib.Path | None = None,
    dataset: pathlib.Path | None = None,
) -> str:
    """Writes a run with the networks of official checkpoints.

    Args:
        config: of pix2pixHD; what it says of networks gives way to what the files hold.
        workdir: folder of the run, new or empty.
        generator: the official `latest_net_G.pth`.
        encoder: `latest_net_E.pth`, for a generator that is told features of instances.
        classes: a class table as JSON, if it is not that of Cityscapes or of the dataset.
        dataset: folder of a prepared dataset.

    Returns:
        What was found in the files, and what of them was left out.

    Raises:
        InputError: one of them cannot be used, or they do not fit each other.
    """
    _check_options(config, encoder, classes, dataset)
    require_new_folder(workdir)
    prepared = _open_dataset(dataset) if dataset else None
    class_table = _class_table(classes, prepared)
    network_g, network_e = read_generator(generator), read_encoder(encoder) if encoder else None
    boundaries = sees_boundaries(network_g, network_e, class_table, generator)
    if prepared and (boundaries or encoder):
        prepared.require_keys(["instance"], "the maps of instances that these networks need")
    config = describe_networks(config, network_g, network_e, boundaries)
    configuration.check(config)
    networks = {"generator": network_g.params}
    if network_e:
        networks["encoder"] = network_e.params
    files = [path for path in (generator, encoder) if path]
    with writing_to(workdir), whole_folder(workdir) as folder:
        configuration.save(config, folder)
        _record(prepared, files, config).save(folder, class_table)
        save_networks(folder, _STEP, networks)
    return _report(network_g, network_e, class_table, boundaries, files)


def sees_boundaries(
    generator: OfficialNetwork[Generator],
    encoder: OfficialNetwork[InstanceEncoder] | None,
    class_table: ClassTable,
    path: pathlib.Path,
) -> bool:
    """Whether a generator is shown the boundaries of instances, by the number of its inputs.

    Args:
        generator: from `read_generator`.
        encoder: of the instance features that it is told, if it is.
        class_table: the meaning of its label maps.
        path: the generator's file, for messages.

    Raises:
        InputError: classes, boundaries and features do not add up to its inputs.
    """
    found, num_classes = generator.num_inputs, class_table.num_classes
    num_features = encoder.module.num_features if encoder else 0
    rest = found - num_classes - num_features
    if rest in (0, 1):
        return rest == 1
    if encoder and found - num_classes in (0, 1):
        raise InputError(
            f"--encoder: found one with {path}, whose {found} input channels have no place for "
            f"features beside the {num_classes} classes of {class_table.name!r}; expected none"
        )
    parts = f"{num_classes} classes of {class_table.name!r}"
    if encoder:
        parts += f" and {num_features} features of instances"
    remedies = ["--classes FILE or --dataset FOLDER if it was trained on other classes"]
    if rest > 1 and not encoder:
        remedies.insert(0, "--encoder FILE if it is told features of instances, 3 as a rule")
    expected = num_classes + num_features
    raise InputError(
        f"{path}: found a generator of {found} input channels, expected {expected} ({parts}) or "
        f"{expected + 1} (and boundaries of instances); give {', or '.join(remedies)}"
    )


def describe_networks(
    config: ml_collections.ConfigDict,
    generator: OfficialNetwork[Generator],
    encoder: OfficialNetwork[InstanceEncoder] | None,
    boundaries: bool,
) -> ml_collections.ConfigDict:
    """A copy of the config with the networks that the files hold.

    Args:
        config: of pix2pixHD.
        generator: from `read_generator`.
        encoder: from `read_encoder`, if there is one.
        boundaries: from `sees_boundaries`.
    """
    config, module = copy.deepcopy(config), generator.module
    config.generator.upsampling = module.upsampling
    config.generator.width = module.width
    config.generator.num_downsamplings = module.num_downsamplings
    config.generator.num_blocks = module.num_blocks
    config.generator.kind = "global"
    if isinstance(module, LocalEnhancer):
        config.generator.kind = "local"
        config.generator.num_local_blocks = module.num_local_blocks
    config.pix2pixhd.boundaries = boundaries
    config.pix2pixhd.num_features = encoder.module.num_features if encoder else 0
    return config


def _check_options(
    config: ml_collections.ConfigDict,
    encoder: pathlib.Path | None,
    classes: pathlib.Path | None,
    dataset: pathlib.Path | None,
) -> None:
    """Checks what can be checked before any file is read."""
    if config.method != "pix2pixhd":
        raise InputError(
            f"config.method: found {config.method!r}, expected 'pix2pixhd', as in "
            "configs/baselines/pix2pixhd.py"
        )
    if encoder and not dataset:
        raise InputError(
            "--dataset: missing beside --encoder; expected a prepared dataset, in whose training "
            "images the features of instances are found"
        )
    if classes and dataset:
        raise InputError("--classes: found beside --dataset, which has its own; expected only one")


def _open_dataset(folder: pathlib.Path) -> PreparedDataset:
    dataset = open_dataset(folder)
    dataset.require_examples("train")
    return dataset


def _class_table(classes: pathlib.Path | None, dataset: PreparedDataset | None) -> ClassTable:
    """The classes of the dataset or of the file; those of Cityscapes without either."""
    if dataset:
        return dataset.class_table
    return ClassTable.from_json(classes) if classes else CITYSCAPES


def _record(
    dataset: PreparedDataset | None,
    files: Sequence[pathlib.Path],
    config: ml_collections.ConfigDict,
) -> RunRecord:
    """The record of a run that is over at its first checkpoint."""
    num_examples = dataset.num_examples["train"] if dataset else 0
    return RunRecord(
        dataset=str(dataset.directory.absolute()) if dataset else "",
        num_examples=num_examples,
        global_batch_size=1,
        schedule=Schedule(max(1, num_examples), 0, 0, 0, 0, _STEP),
        imported_from=tuple(str(path.absolute()) for path in files),
        data=dataset.fingerprint if dataset else "",
        config=configuration.fingerprint(config.to_dict()),
    )


def _sample_command(workdir: pathlib.Path) -> str:
    """Of networks that see no edges, so that no CG frames are needed."""
    options = f"--workdir {shlex.quote(str(workdir))} --input FOLDER --output OUT --edges none"
    return f"python -m sflow_jax.sample {options}"


def _report(
    generator: OfficialNetwork[Generator],
    encoder: OfficialNetwork[InstanceEncoder] | None,
    class_table: ClassTable,
    boundaries: bool,
    files: Sequence[pathlib.Path],
) -> str:
    """What was found in the files and what of them was left out."""
    module = generator.module
    kind, blocks = "global generator", f"{module.num_blocks} residual blocks"
    if isinstance(module, LocalEnhancer):
        kind, blocks = "local enhancer", f"{blocks}, {module.num_local_blocks} local ones"
    inputs = [f"{class_table.num_classes} classes of {class_table.name!r}"]
    inputs += ["boundaries"] if boundaries else []
    inputs += [f"{encoder.module.num_features} features"] if encoder else []
    lines = [
        f"{files[0]}: {kind}, ngf {module.width}, {module.num_downsamplings} halvings, {blocks}",
        f"  {generator.num_inputs} inputs: {', '.join(inputs)}",
        *_counts(generator),
    ]
    if encoder:
        count = encoder.module.num_features
        lines += [f"{files[1]}: encoder of {count} features", *_counts(encoder)]
    return "\n".join(lines)


def _counts(network: OfficialNetwork) -> list[str]:
    left_out = [f"{network.num_biases} biases before instance norms, which subtract them"]
    if network.num_statistics:
        left_out.append(f"{network.num_statistics} running statistics, which no norm used")
    return [f"  {network.num_parameters:,} parameters", f"  left out: {'; '.join(left_out)}"]


def _define_flags() -> None:
    cli.define_config_flag()
    flags.DEFINE_string(
        "generator", None, "The official generator, such as latest_net_G.pth; required."
    )
    flags.DEFINE_string("encoder", None, "The official encoder of instance features.")
    flags.DEFINE_string("classes", None, "classes.json of the label maps; Cityscapes by default.")
    flags.DEFINE_string("dataset", None, "Folder of a prepared dataset, to score and for features.")
    flags.DEFINE_string("workdir", None, "Folder of the run, new or empty; required.")
    flags.mark_flags_as_required(["config", "generator", "workdir"])


if __name__ == "__main__":
    _define_flags()
    cli.run(main)
