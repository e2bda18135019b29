"""How fast convolutional networks train: dlassign beside bare PyTorch loops and Lightning.

Two networks train on 32x32 colour images, on the CPU: the 2018 VGG, and the fast network of configs/fast. Every turn is
a process of its own, so that nobody finds the threads and caches of another; everyone takes turns, and each is compared
with dlassign in its own round. Steps before the clock starts warm everything up.

Install: pip install -e '.[bench]'
Command: python scripts/bench_conv.py                (some minutes; leave the machine alone meanwhile)
Exit:    0 every bound holds, or --quick; 1 one does not
"""

from __future__ import annotations

import argparse
import importlib.util
import io
import json
import logging
import os
import platform
import shlex
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from bench_startup import parse_options, publish
from dlassign.config.load import load_config
from dlassign.config.run import RunConfig
from dlassign.data.augment import Augmentation
from dlassign.data.batches import Batches
from dlassign.data.bundle import Split
from dlassign.data.on_device import DevicePreprocess
from dlassign.launch.display import make_display
from dlassign.train.arithmetic import FAST_BF16_FLAGS, cpu_flags
from dlassign.train.cache import DataCache
from dlassign.train.device import cpu_name, fitting_threads, keep_memory
from dlassign.train.learner import Steps
from dlassign.train.loop import Alone, fit
from dlassign.train.stopping import StopRequest
from run_on_arrays import assemble_on, open_run

ROOT = Path(__file__).parents[1]
OUTPUT = ROOT / "docs" / "benchmarks" / "conv.md"
FAST = ROOT / "configs" / "fast" / "cifar10_82.yaml"
SHAPE, CLASSES, SEED, WARM_UP_STEPS = (3, 32, 32), 10, 0, 3
MEAN, STD = (0.49, 0.48, 0.45), (0.25, 0.24, 0.26)
OURS, FP32, BF16, LIGHTNING = "dlassign", "bare fp32", "bare bf16", "lightning"
LEAST = {FP32: 1.6, BF16: 0.97, LIGHTNING: 3.0}
CUT, AUGMENT, PREPARE, MODEL, UPDATE, REST = (
    "cutting the batch out",
    "augmentation",
    "preprocessing",
    "forward and backward",
    "optimizer",
    "all else",
)

TEXT = """\
# How fast convolutional networks train

Everyone trains the same network on the same {samples:,} images of 3x32x32 bytes ({origin}) with the same optimizer, on
the CPU. Every turn is a process of its own; they take turns, in reversed order every other round. The clock starts
after {warm_up} steps and stops before the last checkpoint is written. Nobody evaluates.

* **dlassign**: the learner, batches and `fit` that `dlassign train` sets up, with `precision: auto`. Images lie in
  memory as bytes; each batch is flipped, moved by up to 2 pixels and normalised. Training accuracy is counted at every
  step, a log record written, the display fed, Ctrl-C looked for.
* **bare fp32**: a hand-written loop on the same network written with `torch.nn` alone. Images lie in memory normalised,
  as float32; `randperm`, `index_select`, `zero_grad`, `cross_entropy`, `backward`, `step`. **No augmentation**, no
  counting, no log.
* **bare bf16**: the same loop with autocast to bf16, network and images in channels_last layout, images normalised and
  in bf16 before the clock starts. **No augmentation** either.
* **lightning**: `Trainer(barebones=True)` in its default float32 with a `DataLoader` and torchvision's v2 transforms
  of each image: `RandomCrop(32, padding=4)`, `RandomHorizontalFlip`, `ToImage`, `ToDtype`, `Normalize`; with 0 and 2
  workers, of which the faster one is judged.

The bare loops take torch.optim's fused or foreach kernels, whichever is faster there; Lightning takes the fused ones.
dlassign asks glibc to keep freed memory between steps, as in every run of it; the other loops do not, and some of
their time goes into pages that are cleared anew.
Numbers are medians, with the smallest and the largest in brackets. The ratio is dlassign's images a second over those
of the loop named, in the same round.

| | |
|---|---|
{facts}
"""


@dataclass(frozen=True, kw_only=True)
class Job:
    """A network and how it is trained; the same for everyone."""

    title: str
    model: dict[str, Any]
    optimizer: dict[str, Any]
    batch_size: int
    steps: int
    samples: int
    threads: int
    images: str | None = None

    def data(self) -> tuple[np.ndarray, np.ndarray]:
        """Return x: (N, C, H, W) uint8 and y: (N,) int64."""
        rng = np.random.default_rng(SEED)
        x = rng.integers(256, size=(self.samples, *SHAPE), dtype=np.uint8)
        if self.images is not None:
            x = np.ascontiguousarray(np.load(self.images, mmap_mode="r")[: self.samples])
        return x, rng.integers(CLASSES, size=len(x))

    def config(self) -> RunConfig:
        """Return the run as a user writes it; of its data section only the images' treatment is used."""
        scale, normalize = {"name": "scale"}, {"name": "normalize", "mean": MEAN, "std": STD}
        augment = ({"name": "flip"}, {"name": "translate", "pixels": 2})
        return RunConfig.model_validate(
            {
                "name": "bench",
                "data": {"name": "cifar10", "preprocess": (scale, normalize), "augment": augment},
                "model": self.model,
                "optimizer": self.optimizer,
                "train": {"steps": WARM_UP_STEPS + self.steps, "batch_size": self.batch_size, "drop_last": True},
                "seed": SEED,
                "device": "cpu",
            }
        )


@dataclass
class Clock:
    """Seconds of each phase; while it runs one phase follows the other, so they add up to the whole."""

    seconds: dict[str, float] = field(default_factory=dict)
    phase: str = REST
    since: float = 0.0
    running: bool = False

    def start(self) -> None:
        """Begin to count."""
        self.since, self.running = time.perf_counter(), True

    def stop(self) -> None:
        """Count no more."""
        self.switch(REST)
        self.running = False

    def switch(self, phase: str) -> None:
        """Go over to another phase."""
        if self.running:
            now = time.perf_counter()
            self.seconds[self.phase] = self.seconds.get(self.phase, 0.0) + now - self.since
            self.phase, self.since = phase, now

    def timed(self, phase: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function that does the same, in this phase."""

        def call(*args: Any, **kwargs: Any) -> Any:
            before = self.phase
            self.switch(phase)
            result = function(*args, **kwargs)
            self.switch(before)
            return result

        return call


@dataclass(frozen=True)
class Turn:
    """What one process measured: images a second, milliseconds a step by phase, parameters, arithmetic."""

    rate: float
    phases: dict[str, float]
    parameters: int
    arithmetic: str


def train_dlassign(job: Job, clock: Clock) -> tuple[nn.Module, str]:
    """Train as run_experiment does, on images that are there already."""
    keep_memory()
    cfg = job.config()
    # Before the parts are made, for some of them keep what they find.
    Augmentation.pixels = clock.timed(AUGMENT, Augmentation.pixels)  # type: ignore[method-assign]
    Batches.between = in_phase(clock, Batches.between)  # type: ignore[method-assign]
    DevicePreprocess.__call__ = clock.timed(PREPARE, DevicePreprocess.__call__)  # type: ignore[method-assign]
    parts = assemble_on(cfg, Split(*job.data()), CLASSES, cache=DataCache())
    learner: Any = parts.learner
    learner.step = clock.timed(MODEL, learner.step)
    learner.optimizer.step = clock.timed(UPDATE, learner.optimizer.step)
    with (
        redirect_stderr(io.StringIO()),
        make_display(parts.plan.steps, parts.plan.steps_per_epoch, len(parts.splits["train"]), say=print) as display,
        open_run(cfg, parts, display.on_record) as (run, trainer),
        StopRequest() as stop,
        fitting_threads(learner.n_params, job.batch_size),
    ):
        run.take(*timed(trainer, WARM_UP_STEPS))
        close = run.close

        def stop_and_close() -> None:
            clock.stop()  # training is over: the checkpoint that follows does not count
            close()

        run.close = stop_and_close  # type: ignore[method-assign]
        clock.start()
        fit(trainer, [run], interrupted=stop)
    if stop.requested:
        raise KeyboardInterrupt
    return learner.model, learner.arithmetic.precision


def timed(trainer: Alone, steps: int) -> tuple[Steps, float]:
    """Take the first steps; return what they gave and the seconds they took."""
    began = time.perf_counter()
    [taken] = trainer.advance(0, steps, lambda: False)
    return taken, time.perf_counter() - began


def in_phase(clock: Clock, between: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
    """Return `between` with each batch cut in its phase."""

    def cut(*args: Any) -> Iterator[Any]:
        following = clock.timed(CUT, between(*args).__next__)
        try:
            while True:
                yield following()
        except StopIteration:
            clock.switch(REST)

    return cut


def train_bare(job: Job, clock: Clock, *, half: bool) -> tuple[nn.Module, str]:
    """Train as a short script does; with half, as a script for records does."""
    torch.manual_seed(SEED)
    model = PLAIN[job.model["name"]](**job.model)
    x, y = map(torch.from_numpy, job.data())
    images = ((x / 255 - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)).contiguous()
    if half:
        model = model.to(memory_format=torch.channels_last)
        images = images.permute(0, 2, 3, 1).bfloat16().contiguous()  # rows of it are images in channels_last layout
    optimizer, step, rows = faster_optimizer(job, model), 0, iter(())
    while step < WARM_UP_STEPS + job.steps:
        if step == WARM_UP_STEPS:
            clock.start()
        clock.switch(CUT)
        if step % (len(x) // job.batch_size) == 0:
            rows = iter(torch.randperm(len(x)).split(job.batch_size))
        chosen = next(rows)
        inputs, labels = images.index_select(0, chosen), y[chosen]
        clock.switch(MODEL)
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            loss = F.cross_entropy(model(inputs.permute(0, 3, 1, 2) if half else inputs), labels)
        loss.backward()
        clock.switch(UPDATE)
        optimizer.step()
        clock.switch(REST)
        step += 1
    clock.stop()
    return model, "bf16" if half else "fp32"


def faster_optimizer(job: Job, model: nn.Module) -> torch.optim.Optimizer:
    """Return an optimizer with those kernels of torch.optim that take less time on this model's layout."""
    params = [p for p in model.parameters() if p.requires_grad]
    for p in params:
        p.grad = torch.zeros_like(p)
    seconds = {}
    for kernel in ("fused", "foreach"):
        optimizer = make_torch_optimizer(job, params, **{kernel: True})
        times = [time.perf_counter()]
        for _ in range(4):
            optimizer.step()
            times.append(time.perf_counter())
        seconds[kernel] = min(end - start for start, end in list(pairwise(times))[1:])
    return make_torch_optimizer(job, params, **{min(seconds, key=seconds.__getitem__): True})


def make_torch_optimizer(job: Job, params: Any, **kernel: bool) -> torch.optim.Optimizer:
    options = {key: value for key, value in job.optimizer.items() if key != "name"}
    return {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}[job.optimizer["name"]](params, **options, **kernel)


def train_lightning(job: Job, clock: Clock, *, workers: int) -> tuple[nn.Module, str]:
    """Train with Lightning at its fastest, on images that are transformed one by one."""
    import lightning
    from PIL import Image
    from torchvision.transforms import v2

    class Photos(Dataset[tuple[Tensor, int]]):
        def __init__(self) -> None:
            x, self.y = job.data()
            self.x = np.ascontiguousarray(x.transpose(0, 2, 3, 1))
            crop, flip = v2.RandomCrop(32, padding=4), v2.RandomHorizontalFlip()
            to_float = v2.ToDtype(torch.float32, scale=True)
            self.change = v2.Compose([crop, flip, v2.ToImage(), to_float, v2.Normalize(MEAN, STD)])

        def __len__(self) -> int:
            return len(self.y)

        def __getitem__(self, index: int) -> tuple[Tensor, int]:
            return self.change(Image.fromarray(self.x[index])), int(self.y[index])

    class Classifier(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model = PLAIN[job.model["name"]](**job.model)

        def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
            return F.cross_entropy(self.model(batch[0]), batch[1])

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return make_torch_optimizer(job, [p for p in self.parameters() if p.requires_grad], fused=True)

        def on_train_batch_end(self, *_: Any) -> None:
            if self.global_step == WARM_UP_STEPS:
                clock.start()
            elif self.global_step == WARM_UP_STEPS + job.steps:
                clock.stop()

    torch.manual_seed(SEED)
    classifier = Classifier()
    options = {"num_workers": workers, "persistent_workers": workers > 0, "drop_last": True, "shuffle": True}
    loader = DataLoader(Photos(), batch_size=job.batch_size, **options)
    steps = WARM_UP_STEPS + job.steps
    lightning.Trainer(barebones=True, max_steps=steps, accelerator="cpu", devices=1).fit(classifier, loader)
    return classifier.model, "fp32"


def plain_vgg(**_: Any) -> nn.Module:
    """Return the 2018 VGG, written with torch.nn alone."""
    layers: list[nn.Module] = []
    channels = 3
    for stage in ((64,), (128,), (256, 256), (512, 512), (512, 512)):
        for width in stage:
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
            channels = width
        layers.append(nn.MaxPool2d(3, stride=2, padding=1))
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels, CLASSES))


def plain_whitened(*, widths: Any, depths: Any, patch: int, stride: int, filters: int, **_: Any) -> nn.Module:
    """Return the fast network, written with torch.nn alone; its frozen first filters are whatever torch.nn draws."""
    first = nn.Conv2d(3, filters, patch, stride=stride, padding=(patch - 1) // 2)
    first.weight.requires_grad = False
    layers: list[nn.Module] = [first, nn.SiLU()]
    channels = filters
    for width, depth in zip(widths, depths, strict=True):
        for number in range(depth):
            norm = nn.BatchNorm2d(width, momentum=0.4)
            norm.weight.requires_grad = False
            pool = [] if number else [nn.MaxPool2d(2)]
            layers += [nn.Conv2d(channels, width, 3, padding=1, bias=False), *pool, norm, nn.SiLU()]
            channels = width
    return nn.Sequential(*layers, nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(channels, CLASSES, bias=False))


PLAIN: dict[str, Callable[..., nn.Module]] = {"vgg": plain_vgg, "whitened_cnn": plain_whitened}
RUNNERS: dict[str, Callable[[Job, Clock], tuple[nn.Module, str]]] = {
    OURS: train_dlassign,
    BF16: lambda job, clock: train_bare(job, clock, half=True),
    FP32: lambda job, clock: train_bare(job, clock, half=False),
    f"{LIGHTNING}, 0 workers": lambda job, clock: train_lightning(job, clock, workers=0),
    f"{LIGHTNING}, 2 workers": lambda job, clock: train_lightning(job, clock, workers=2),
}


def child(runner: str, job: Job) -> Turn:
    """Do one turn in this process."""
    for name in ("lightning", "lightning.pytorch", "lightning.fabric", "lightning.pytorch.utilities.rank_zero"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    torch.set_num_threads(job.threads)
    clock = Clock()
    model, arithmetic = RUNNERS[runner](job, clock)
    seconds = sum(clock.seconds.values())
    phases = {phase: value / job.steps * 1e3 for phase, value in clock.seconds.items()}
    n = sum(p.numel() for p in model.parameters())
    return Turn(job.steps * job.batch_size / seconds, phases, n, arithmetic)


def turn(runner: str, job: Job) -> Turn:
    """Do one turn in a process of its own.

    Raises:
        RuntimeError: it failed; with what it said.
    """
    command = [sys.executable, __file__, "--child", runner, json.dumps(asdict(job))]
    environment = {**os.environ, "OMP_NUM_THREADS": str(job.threads)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{runner} failed: {done.stderr[-2000:]}")
    return Turn(**json.loads(done.stdout.splitlines()[-1]))


Turns = dict[str, list[Turn]]


def measure(job: Job, repeats: int) -> Turns:
    """Let everyone who is installed take turns, in reversed order every other round.

    Raises:
        RuntimeError: the networks differ in their number of parameters.
    """
    names = [name for name in RUNNERS if not name.startswith(LIGHTNING) or installed()]
    turns: Turns = {name: [] for name in names}
    for number in range(repeats):
        for name in names[:: -1 if number % 2 else 1]:
            turns[name].append(turn(name, job))
        rates = "  ".join(f"{name} {turns[name][-1].rate:,.0f}" for name in names)
        print(f"{job.title}, round {number + 1} of {repeats}, images/s: {rates}", file=sys.stderr, flush=True)
    counts = {name: found[0].parameters for name, found in turns.items()}
    if len(set(counts.values())) > 1:
        raise RuntimeError(f"{job.title}: the networks differ in their parameters: {counts}")
    return turns


def installed() -> bool:
    return importlib.util.find_spec("lightning") is not None


def ratios(turns: Turns, name: str) -> list[float]:
    """Return dlassign's speed over that of another, round by round."""
    return [own.rate / other.rate for own, other in zip(turns[OURS], turns[name], strict=True)]


def spread(values: list[float], form: str) -> str:
    return f"{median(values):{form}} [{min(values):{form}}, {max(values):{form}}]"


def table(job: Job, turns: Turns) -> str:
    """Return the results as Markdown: speeds, and where the time of a step goes."""
    steps = f"{job.steps} steps of {job.batch_size} a turn"
    lines = [f"## {job.title}, {turns[OURS][0].parameters:,} parameters, {steps}", ""]
    lines += ["| loop | arithmetic | images a second | ratio of dlassign to it |", "|---|---|---|---|"]
    for name in RUNNERS:
        if name not in turns:
            lines.append(f"| {name} | not installed | | |")
            continue
        ratio = "1" if name == OURS else spread(ratios(turns, name), ".3f")
        rates = [one.rate for one in turns[name]]
        lines.append(f"| {name} | {turns[name][0].arithmetic} | {spread(rates, ',.0f')} | {ratio} |")
    lines += ["", "Milliseconds of a step, medians over the rounds:", ""]
    lines += [f"| phase | {OURS} | {BF16} | {FP32} |", "|---|---|---|---|"]
    for phase in (CUT, AUGMENT, PREPARE, MODEL, UPDATE, REST):
        cells = [f"{median(one.phases.get(phase, 0.0) for one in turns[name]):,.2f}" for name in (OURS, BF16, FP32)]
        lines.append(f"| {phase} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def verdicts(job: Job, turns: Turns) -> list[tuple[bool | None, str]]:
    """Return for each bound whether it holds, or None where it is for other processors, and a sentence."""
    peers = [name for name in turns if name.startswith(LIGHTNING)]
    fastest = max(peers, key=lambda name: median(one.rate for one in turns[name]), default=None)
    found: list[tuple[bool | None, str]] = []
    for name, least in ((FP32, LEAST[FP32]), (BF16, LEAST[BF16]), (fastest, LEAST[LIGHTNING])):
        if name is not None:
            ratio = median(ratios(turns, name))
            judged = name != FP32 or "amx_bf16" in cpu_flags()
            what = f"at least {least}" if judged else f"at least {least} on a CPU with AMX, which this is not"
            found.append((ratio >= least if judged else None, f"{job.title}: {ratio:.3f} of {name}; {what}"))
    return found


def facts(jobs: list[Job], repeats: int, load: float) -> str:
    """Return where and with what this was measured, as rows of a table."""
    packages = ["torch", "torchvision", "dlassign", *(["lightning"] if installed() else [])]
    flags = sorted((FAST_BF16_FLAGS | {"avx512f", "avx2"}) & cpu_flags())
    rows = {
        "Processor": f"{cpu_name()}, {os.cpu_count()} cores, {jobs[0].threads} torch threads",
        "Of its flags": ", ".join(flags),
        "System": f"{platform.system()} {platform.release()} {platform.machine()}",
        "Load average before": f"{load:.2f}",
        "Versions": f"Python {platform.python_version()}, {', '.join(f'{name} {version(name)}' for name in packages)}",
        "Rounds": str(repeats),
        "Date": time.strftime("%Y-%m-%d", time.gmtime()),
        "Command": f"`python scripts/bench_conv.py {shlex.join(sys.argv[1:])}`".replace(" `", "`"),
    }
    return "\n".join(f"| {key} | {value} |" for key, value in rows.items())


def make_jobs(options: argparse.Namespace) -> list[Job]:
    """Return both workloads, or only the first where the config of the fast network is missing."""
    shared = {"samples": options.samples, "threads": options.threads, "images": options.images}
    adam = {"name": "adam", "lr": 1e-4}
    sgd = {"name": "sgd", "lr": 0.01, "momentum": 0.85, "nesterov": True}
    first, second = options.steps[0], options.steps[-1]
    jobs = [Job(title="2018 VGG", model={"name": "vgg"}, optimizer=adam, batch_size=128, steps=first, **shared)]
    if not options.fast.exists():
        print(f"{options.fast} is missing: the fast network is left out", file=sys.stderr)
        return jobs
    model = load_config(options.fast).model.model_dump(mode="json")
    return [*jobs, Job(title="Fast network", model=model, optimizer=sgd, batch_size=1024, steps=second, **shared)]


def parse() -> argparse.Namespace:
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    add = parser.add_argument
    add("--repeats", type=int, default=3, metavar="N", help="rounds (default: 3)")
    add(
        "--steps",
        type=int,
        nargs="+",
        default=[12, 4],
        metavar="N",
        help="timed steps, of both or each (default: 8 4)",
    )
    add("--threads", type=int, default=len(os.sched_getaffinity(0)), metavar="N", help="default: all cores")
    add("--samples", type=int, default=20_480, metavar="N", help="images in memory (default: 20480)")
    add("--images", metavar="FILE", help="a .npy file of images, (N, 3, 32, 32) uint8 (default: random bytes)")
    add("--fast", type=Path, default=FAST, metavar="FILE", help="whose model is the fast network (default: cifar10_82)")
    add("--quick", action="store_true", help="a step each, to see that it works; judges nothing")
    add("--child", nargs=2, metavar=("NAME", "JOB"), help=argparse.SUPPRESS)
    options = parse_options(parser, OUTPUT)
    if options.quick:
        options.repeats, options.steps, options.samples = 1, [1], 4096
    if options.samples < 1024 * (WARM_UP_STEPS + options.steps[-1]):
        parser.error(f"{WARM_UP_STEPS} + {options.steps[-1]} steps need more samples than {options.samples}")
    return options


def main() -> int:
    options = parse()
    if options.child:
        name, job = options.child
        print(json.dumps(asdict(child(name, Job(**json.loads(job))))))
        return 0
    load = os.getloadavg()[0]
    jobs = make_jobs(options)
    results = [measure(job, options.repeats) for job in jobs]
    origin = "random" if options.images is None else Path(options.images).name
    about = facts(jobs, options.repeats, load)
    parts = [TEXT.format(samples=options.samples, origin=origin, warm_up=WARM_UP_STEPS, facts=about)]
    parts += [table(job, turns) for job, turns in zip(jobs, results, strict=True)]
    bounds = [bound for job, turns in zip(jobs, results, strict=True) for bound in verdicts(job, turns)]
    if options.quick:
        parts.append("A trial of the script with a step each: these numbers mean nothing.\n")
    else:
        words = {True: "holds", False: "DOES NOT HOLD", None: "not judged"}
        parts.append("\n".join(["## Bounds", "", *(f"* {words[holds]}: {text}." for holds, text in bounds), ""]))
    return publish("\n".join(parts), options, holds=all(holds is not False for holds, _ in bounds))


if __name__ == "__main__":
    sys.exit(main())
