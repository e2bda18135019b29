"""What a run trains: the model, its initial weights and its loss."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from dlassign.config.base import Config, Count, Many, NonNegative, Positive, broken_rule

Activation = Literal["relu", "elu", "gelu", "identity", "leaky_relu", "sigmoid", "silu", "tanh"]
Rate = Annotated[float, Field(ge=0, lt=1)]


class MLP(Config):
    """Linear layers with an activation between; images are flattened channel by channel."""

    name: Literal["mlp"]
    hidden: Many[Count] = (100,)
    """Width of each hidden layer. [] is no hidden layer: softmax or logistic regression, or a linear SVM."""
    activation: Activation | Many[Activation] = "relu"
    """Activation after every hidden layer, or a list with one for each."""
    norm: Literal["none", "batch", "layer"] = "none"
    """Normalisation of hidden layers: none, over the batch, or over the features."""
    norm_at: Literal["before_activation", "after_activation"] = "before_activation"
    """Whether normalisation stands between linear layer and activation, or after the activation."""
    dropout: Rate | Many[Rate] = 0.0
    """Probability to drop a hidden unit, after activation and norm; one number, or one for each layer."""
    bias: bool = True
    """Whether linear layers have a bias."""
    in_features: Count | None = None
    """Number of inputs, to have it checked. null: whatever the data has."""

    @model_validator(mode="after")
    def _one_for_each_layer(self) -> MLP:
        for key in ("activation", "dropout"):
            values = getattr(self, key)
            if isinstance(values, tuple) and len(values) != len(self.hidden):
                counts = f"{len(values)} values for {len(self.hidden)} hidden layers"
                raise broken_rule(key, f"{counts}; give one for each layer, or a single value without brackets")
        return self


Model = MLP


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


Init = Annotated[PytorchInit | NormalInit | HeInit | XavierInit, Field(discriminator="name")]


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


class Loss(Config):
    """Keys that every loss has."""

    penalty: Many[Penalty] = ()
    """Terms added to the loss for large parameters."""


class CrossEntropy(Loss):
    """Mean of -log softmax(scores)[y]."""

    name: Literal["cross_entropy"]
    label_smoothing: Rate = 0.0
    """Share of the target taken from the true class and spread evenly over all classes."""


class DoubleSoftmax(Loss):
    """Cross-entropy of softmax(softmax(scores)), the UvA 2018 error; its floor is ln(1 + (K-1)/e)."""

    name: Literal["double_softmax"]


class Logistic(Loss):
    """Two classes, one score: mean of log(1 + exp(-y s)), y in {-1, 1}."""

    name: Literal["logistic"]


class Hinge(Loss):
    """Two classes, one score: mean of max(0, 1 - y s), y in {-1, 1}; a linear SVM with an l2 penalty."""

    name: Literal["hinge"]


LossFunction = Annotated[CrossEntropy | DoubleSoftmax | Logistic | Hinge, Field(discriminator="name")]
