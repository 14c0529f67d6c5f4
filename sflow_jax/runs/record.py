"""Records what a run was made with that its config does not say: data, batch size, threads."""

import dataclasses
import pathlib
import sys

from sflow_jax.data.labels import CLASSES_FILE, ClassTable
from sflow_jax.errors import InputError
from sflow_jax.files import read_json, write_json, write_whole
from sflow_jax.runs.schedule import Schedule

RUN_FILE = "run.json"


@dataclasses.dataclass(frozen=True)
class RunRecord:
    """Kept in `workdir/run.json`, with the class table in `workdir/classes.json`.

    Attributes:
        dataset: folder of the prepared dataset, absolute; '' where imported networks come without.
        num_examples: of its training split.
        global_batch_size: examples per step over all devices.
        schedule: the run in steps, which follows from both and the config.
        imported_from: the files that the networks come from, if they were not trained here.
        data: the `PreparedDataset.fingerprint`; '' where it has none.
        config: the `configuration.fingerprint` of the run; '' of an earlier version.
        num_threads: `sharding.num_threads`, or 0 of an earlier version.
    """

    dataset: str
    num_examples: int
    global_batch_size: int
    schedule: Schedule
    imported_from: tuple[str, ...] = ()
    data: str = ""
    config: str = ""
    num_threads: int = 0

    def save(self, workdir: pathlib.Path, class_table: ClassTable) -> None:
        """Writes both files.

        Raises:
            OSError: the folder cannot be written.
        """
        write_whole(workdir / CLASSES_FILE, class_table.to_json())
        write_json(workdir / RUN_FILE, dataclasses.asdict(self))

    @classmethod
    def load(cls, workdir: pathlib.Path) -> "RunRecord":
        """Reads the record of a run.

        Raises:
            InputError: it is missing or damaged.
        """
        path = workdir / RUN_FILE
        values = read_json(path, "training")
        try:
            schedule = Schedule(**values["schedule"])
            imported_from = tuple(values.get("imported_from", ()))  # JSON has no tuples
            record = cls(**(values | {"schedule": schedule, "imported_from": imported_from}))
            for part in (schedule, record):
                _check_types(part)
        except (AttributeError, KeyError, TypeError) as error:
            raise InputError(f"{path}: {error!r}; expected the JSON that training wrote") from error
        return record

    def check_continues(self, workdir: pathlib.Path, class_table: ClassTable) -> None:
        """Checks that the run in `workdir` was started on the same data and batch size.

        Its steps would mean something else otherwise: another epoch, stage or learning rate. A note
        says so if only its last bits will differ.

        Raises:
            InputError: names what differs.
        """
        before = RunRecord.load(workdir)
        checked = ("num_examples", "global_batch_size")
        differences = [
            f"{field} is {getattr(self, field)} and was {getattr(before, field)}"
            for field in checked
            if getattr(self, field) != getattr(before, field)
        ]
        if before.data and self.data and before.data != self.data:
            differences.append(f"the training examples are others than those in {before.dataset}")
        if not ClassTable.from_json(workdir / CLASSES_FILE).has_classes_of(class_table):
            differences.append("the dataset's classes are others")
        if differences:
            raise InputError(
                f"{workdir}: cannot continue this run ({'; '.join(differences)}); expected the "
                "data and the examples per step (config.train.batch_size times the number of "
                "devices) that it was started with, or another --workdir"
            )
        if self.num_threads != before.num_threads and self.num_threads and before.num_threads:
            print(
                f"note: {workdir}: found {self.num_threads} threads where the run had "
                f"{before.num_threads}: a CPU then adds in another order; the run goes on, equal "
                f"to rounding; NPROC={before.num_threads} in the environment keeps the last bit",
                file=sys.stderr,
            )


def _check_types(part: "RunRecord | Schedule") -> None:
    """Checks that what JSON has given is of the types of the fields.

    Raises:
        TypeError: names the field that is not.
    """
    for field in dataclasses.fields(part):
        value = getattr(part, field.name)
        if field.type in (int, "int"):
            holds = type(value) is int and value >= 0
        elif field.type in (str, "str"):
            holds = isinstance(value, str)
        else:
            holds = not isinstance(value, tuple) or all(isinstance(x, str) for x in value)
        if not holds:
            raise TypeError(f"{field.name} is {value!r}")


def check_was_trained(workdir: pathlib.Path, option: str, expected: str) -> None:
    """Checks that the run in `workdir`, if there is one, was not imported.

    Imported networks come without discriminators and optimizers, so that nothing can go on.

    Args:
        workdir: the folder of the run.
        option: what names it, for the message.
        expected: what it should name.

    Raises:
        InputError: it was imported.
    """
    if not (workdir / RUN_FILE).exists():
        return
    if files := RunRecord.load(workdir).imported_from:
        raise InputError(
            f"{option}: {workdir} holds networks imported from {' and '.join(files)}, without "
            f"discriminators and optimizers; expected {expected}"
        )
