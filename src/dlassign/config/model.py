"""What a run trains: the model, its initial weights and its loss."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter
from pydantic_core import PydanticCustomError

from dlassign.config.base import Config, Count, Layers, Many, NonNegative, Positive, Rate, Side, Weight, broken_rule
from dlassign.config.convnets import (
    VGG,
    Activation,
    BatchNorm,
    EECSCifarBase,
    EECSCifarImproved,
    PreactResNet,
    WhitenedCNN,
)
from dlassign.config.own_part import Allowed, OrOwn, OwnCode, OwnPart, own_parts
from dlassign.config.transfer import PretrainedInit, ResNet

ClassWeights = Annotated[dict[str, Weight], Field(min_length=1, examples=[{"cat": 2.0}])]
LayerNorm = Literal["layer", "layer_autograd", "layer_manual"]
DropoutScale = Literal["training", "evaluation"]
TORCH_ONLY_NORMS = ("batch_autograd", "batch_manual", "layer_autograd", "layer_manual")
NORMS_WITHOUT_RUNNING = ("batch_without_running", "batch_autograd", "batch_manual")


class OwnLayer(OwnPart):
    """A layer of the user's own inside an mlp; a file may have it for both backends."""

    def first(self, width: int) -> tuple[int, ...]:
        """Return what its class is given before the keys; width: of the hidden layer."""
        return ()

    def name_for(self, backend: Literal["Torch", "Numpy"]) -> str:
        """Return what a backend takes: `acts.py:NumpySwish` if the file has it, or else `acts.py:Swish` itself."""
        twin = self.twin(backend)
        return twin if self.own_code.has(twin) else self.name

    def twin(self, backend: Literal["Torch", "Numpy"]) -> str:
        """Return the name that the part has for one backend alone: `acts.py:NumpySwish`, or `acts.py:numpy_swish`."""
        file, _, inner = self.name.partition(":")
        return f"{file}:{backend.lower()}_{inner}" if inner[:1].islower() else f"{file}:{backend}{inner}"

    def fault_of_keys(self, name: str, width: int) -> str:
        """Return why what a backend takes cannot be called with the keys of the config, with its line; or ""."""
        try:
            inspect.signature(self.own_code.load(name)).bind_partial(*self.first(width), **self.keys())
        except TypeError as error:
            where = self.own_code.place(name, "__init__")
            return f"{where}: {name} must take the keys of {self.name} ({error})"
        return ""


class OwnActivation(OwnLayer):
    """An activation of the user's own: a torch.nn.Module class or a function of a tensor; for NumPy a layer."""

    own_kind = "activation"


class OwnNorm(OwnLayer):
    """A normalisation of the user's own: a torch.nn.Module class that gets the width; for NumPy a layer."""

    own_kind = "norm"

    def first(self, width: int) -> tuple[int, ...]:
        """Return the width, for a norm has parameters for each feature."""
        return (width,)


OneActivation = Annotated[Activation | OwnActivation, OrOwn(OwnActivation)]


class MLP(Config):
    """Linear layers with an activation between; images are flattened channel by channel."""

    name: Literal["mlp"]
    hidden: Layers[Count] = (100,)
    """Width of each hidden layer. [] is no hidden layer: softmax or logistic regression, or a linear SVM."""
    activation: OneActivation | Many[OneActivation] = "relu"
    """Activation after every hidden layer, or a list with one for each."""
    norm: Annotated[Literal["none", BatchNorm, LayerNorm] | OwnNorm, OrOwn(OwnNorm)] = "none"
    """Normalisation of hidden layers: none, over the batch, or over the features. batch_from_zero: running statistics
    start at 0, both of them (EECS 598); batch_without_running: the batch's own statistics in evaluation too (UvA 2018).
    With the torch backend also, as the reports write them, without running statistics: batch_autograd and
    layer_autograd, by autograd; batch_manual and layer_manual, with a backward of their own."""
    norm_at: Literal["before_activation", "after_activation"] = "before_activation"
    """Whether normalisation stands between linear layer and activation, or after the activation."""
    dropout: Rate | Many[Rate] = 0.0
    """Probability to drop a hidden unit, after activation and norm; one number, or one for each layer."""
    dropout_scale: DropoutScale = "training"
    """When dropout makes up for what it drops, by the share it keeps: units are divided by it in training, or, as in
    EECS 598, multiplied by it in evaluation."""
    bias: bool = True
    """Whether linear layers have a bias."""
    in_features: Count | None = None
    """Number of inputs, to have it checked. null: whatever the data has."""

    def _broken_rules(self) -> Iterator[PydanticCustomError]:
        for key in ("activation", "dropout"):
            values = getattr(self, key)
            if isinstance(values, tuple) and len(values) != len(self.hidden):
                counts = f"{len(values)} values for {len(self.hidden)} hidden layers"
                yield broken_rule(key, f"{counts}; give one for each layer, or a single value without brackets")


class EECSConvNet(Config):
    """The EECS 598 ConvNet: valid convolution without bias, [norm,] ReLU, max-pool, [dropout,] linear, ReLU, linear."""

    name: Literal["eecs_convnet"]
    filters: Count = 32
    """Number of filters."""
    kernel_size: Side = 7
    """Height and width of a filter."""
    pool: Side = 2
    """Height, width and stride of the max-pool."""
    hidden: Count = 100
    """Width of the hidden linear layer."""
    norm: Literal["none"] | BatchNorm = "none"
    """Normalisation after the convolution; the names are those of the MLP's norm."""
    dropout: Rate = 0.0
    """Probability to drop a value after the max-pool. The homework's own p is the probability to keep one."""
    dropout_scale: DropoutScale = "training"
    """When dropout makes up for what it drops; the names are those of the MLP's dropout_scale."""


class OwnModel(OwnPart):
    """A model of the user's own: (in_shape, n_classes) -> nn.Module."""

    own_kind = "model"


Model = Annotated[
    MLP | EECSConvNet | EECSCifarBase | EECSCifarImproved | VGG | PreactResNet | ResNet | WhitenedCNN | OwnModel,
    OrOwn(OwnModel),
]


def model_from(values: Mapping[str, Any], *, code: OwnCode | None = None) -> Model:
    """Return the model that plain values describe, as they stand in section `model` of a config.

    Args:
        values: of the section.
        code: the user's code that may run; None: none may.

    Raises:
        ValueError: they describe none.
    """
    checked: Model = TypeAdapter[Any](Model).validate_python(values, context=Allowed(code))
    return checked


def in_numpy_alone(model: Model) -> list[str]:
    """Return the layers of the user's own that a network in NumPy has and one in PyTorch cannot have.

    Args:
        model: of which there is a network in NumPy; a layer is there in PyTorch, too, if that takes another class.
    """
    layers = [one for one in own_parts(model) if isinstance(one, OwnLayer)]
    return [one.name for one in layers if one.name_for("Torch") == one.name_for("Numpy")]


def batch_norm(model: Model) -> str | None:
    """Return the model's batch normalisation, one of BatchNorm, or None if it has none."""
    match model:
        case MLP() | EECSConvNet() | VGG():
            return model.norm if isinstance(model.norm, str) and model.norm.startswith("batch") else None
        case PreactResNet() | ResNet() | WhitenedCNN():
            return "batch"
        case _:
            return None


class PytorchInit(Config):
    """PyTorch's own: weights and biases of linear layers uniform in +-1/sqrt(fan_in)."""

    name: Literal["pytorch"]


class NormalInit(Config):
    """Weights drawn from a normal distribution with mean 0; biases 0."""

    name: Literal["normal"]
    std: Annotated[Positive, Field(examples=[0.01])]
    """Standard deviation of the weights."""


class HeInit(Config):
    """He (Kaiming) initialisation for ReLU: variance 2/fan_in; biases 0."""

    name: Literal["he"]
    distribution: Literal["normal", "uniform"] = "normal"
    """Distribution that the weights are drawn from."""


class XavierInit(Config):
    """Xavier (Glorot) initialisation: variance 2/(fan_in + fan_out); biases 0."""

    name: Literal["xavier"]
    distribution: Literal["normal", "uniform"] = "uniform"
    """Distribution that the weights are drawn from."""


class LegacyNormalInit(Config):
    """Weights from np.random.seed and np.random.randn, as the courses' starter code has them; biases 0.

    The same numbers on every machine and with both backends.
    """

    name: Literal["legacy_normal"]
    std: Annotated[Positive, Field(examples=[0.1])]
    """Standard deviation of the weights."""
    layout: Literal["out_in", "in_out"] = "out_in"
    """In which shape a linear layer's weights are drawn: (outputs, inputs) as UvA has them, or (inputs, outputs) as
    HLCV and EECS do."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] | None = None
    """Seed of np.random. null: the seed of the run."""


Init = Annotated[
    PytorchInit | NormalInit | HeInit | XavierInit | LegacyNormalInit | PretrainedInit, Field(discriminator="name")
]


class Penalty(Config):
    """coefficient * sum over parameter tensors p of ||p||, or of ||p||^2, added to the loss."""

    name: Literal["l1", "l2"]
    """Which norm: sum of absolute values, or Euclidean."""
    coefficient: Annotated[NonNegative, Field(examples=[1e-4])]
    """Factor in front of the penalty."""
    squared: bool = True
    """Square each tensor's norm. false is the plain norm, as in the UvA 2018 report."""
    half: bool = False
    """Multiply by 1/2, so that the gradient of a squared L2 penalty is coefficient * w."""
    on: Literal["weights", "all"] = "weights"
    """Penalise weights of linear and convolution layers only, or every parameter, biases included."""


class OwnPenalty(OwnPart):
    """coefficient * a penalty of the user's own: (params) -> value."""

    own_kind = "penalty"

    coefficient: Annotated[NonNegative, Field(examples=[1e-4])]
    """Factor in front of the penalty."""


class Loss(Config):
    """Keys that every loss has."""

    penalty: Many[Annotated[Penalty | OwnPenalty, OrOwn(OwnPenalty)]] = ()
    """Terms added to the loss for large parameters."""


class CrossEntropy(Loss):
    """Mean of -log softmax(scores)[y]."""

    name: Literal["cross_entropy"]
    label_smoothing: Rate = 0.0
    """Share of the target taken from the true class and spread evenly over all classes. It is in the losses of val and
    test too, so losses compare among runs with the same smoothing alone; accuracies compare always."""
    class_weight: Literal["balanced"] | ClassWeights | None = None
    """What a sample of each class counts in the mean, as `weight` of torch.nn.CrossEntropyLoss, which divides by the
    sum of what the samples of a batch count. balanced: n / (classes * n of the class), counted on train; or weights by
    name, 1 for a class that is not named. They are in the losses of val and test too; accuracies count all alike."""


class DoubleSoftmax(Loss):
    """Cross-entropy of softmax(softmax(scores)), the UvA 2018 error; its floor is ln(1 + (K-1)/e)."""

    name: Literal["double_softmax"]


class Logistic(Loss):
    """Two classes, one score: mean of log(1 + exp(-y s)), y in {-1, 1}."""

    name: Literal["logistic"]


class Hinge(Loss):
    """Two classes, one score: mean of max(0, 1 - y s), y in {-1, 1}; a linear SVM with an l2 penalty."""

    name: Literal["hinge"]


class CrossEntropyOnProbabilities(Loss):
    """Mean of -log(p[y] + eps) with p = softmax(scores), in two steps as the UvA NumPy exercise has them."""

    name: Literal["cross_entropy_on_probabilities"]
    eps: NonNegative = 1e-15
    """Added to the probability, so that its logarithm is finite."""


class MulticlassHinge(Loss):
    """Mean over samples of the sum over wrong classes j of max(0, 1 + s_j - s_y); a multi-class linear SVM."""

    name: Literal["multiclass_hinge"]


class SquaredError(Loss):
    """Mean over samples and classes of (score - target)^2, with target 1 for the true class and 0 for the others."""

    name: Literal["squared_error"]


class OwnLoss(OwnPart, Loss):
    """A loss of the user's own: (scores, y) -> mean loss."""

    own_kind = "loss"


PROBABILITIES = {"cross_entropy", "logistic"}
"""Losses under which the softmax of the scores is a probability."""
LossFunction = Annotated[
    CrossEntropy
    | CrossEntropyOnProbabilities
    | DoubleSoftmax
    | Logistic
    | Hinge
    | MulticlassHinge
    | SquaredError
    | OwnLoss,
    OrOwn(OwnLoss),
]
