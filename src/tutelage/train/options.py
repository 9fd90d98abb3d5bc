"""How to train, as plain options: read by the command line without importing torch."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class TrainOptions:
    """Everything about a training that is not the method: length, optimizer, schedule, devices, checkpoints."""

    epochs: int = 30
    """Passes over the training data."""
    batch_size: int = 64
    """Samples per batch, over all devices."""
    optimizer: str = "SGD"
    """Name of a class of torch.optim."""
    learning_rate: float = 0.05
    """Learning rate at the start (after warm-up)."""
    momentum: float = 0.9
    """Momentum, for optimizers that have one."""
    weight_decay: float = 0.0
    """Weight decay, for optimizers that have one."""
    optimizer_arguments: dict[str, float] = field(default_factory=dict)
    """More arguments of the optimizer, by name."""
    schedule: str = "cosine"
    """cosine (to zero), linear (to zero), constant, step, or the name of a class of torch.optim.lr_scheduler, stepped every epoch;
    ReduceLROnPlateau goes by `monitor`, at every validation."""
    schedule_arguments: dict[str, float] = field(default_factory=dict)
    """Arguments of a scheduler of torch, by name."""
    milestones: tuple[float, ...] = (0.5, 0.75)
    """For schedule=step: progress in [0, 1] at which the learning rate is multiplied by gamma."""
    gamma: float = 0.1
    """For schedule=step: the factor at each milestone."""
    warmup: float = 0.0
    """Share of the training over which the learning rate rises linearly from zero."""
    clip: float | None = None
    """Largest gradient norm of each player."""
    accumulate: int = 1
    """Batches whose gradients are added up before each optimizer step."""
    accelerator: str = "auto"
    """Where to compute: auto, cpu, cuda, mps."""
    devices: int = 1
    """Number of devices or processes."""
    strategy: str = "auto"
    """How to use several devices: auto, ddp, ddp_find_unused_parameters_true (for players that move in turn), fsdp."""
    precision: str = "32-true"
    """Numeric precision, by its name in Lightning Fabric: 32-true, bf16-mixed, 16-mixed."""
    channels_last: str = "no"
    """Store a convolutional student's weights channels-last: no, yes, or auto, where that is measured to be faster on the first batch."""
    monitor: str = "accuracy"
    """Validation metric that decides which checkpoint is best and when to stop early."""
    minimise: bool = False
    """Whether a smaller value of the monitored metric is better."""
    patience: int | None = None
    """Stop after more than this many validations without a better value of the monitored metric."""
    keep: str = "last"
    """Which weights a finished training ends with: last or best."""
    validate_every: int = 1
    """Epochs between validations."""
    checkpoint_every: int = 1
    """Epochs between checkpoints."""
    checkpoint_steps: int | None = None
    """Optimizer steps between further checkpoints inside an epoch."""
    log_every: int = 50
    """Optimizer steps between lines of losses in the metrics file."""
    tensorboard: bool = False
    """Also write the metrics as TensorBoard events."""
