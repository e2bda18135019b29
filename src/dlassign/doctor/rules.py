"""The one table of the doctor's rules: what each is called, what it says, and which others it explains."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Stage = Literal["static", "probe", "log"]
"""Where a rule looks: at config and data; at 200 steps of training; at the log of a run."""


@dataclass(frozen=True)
class Rule:
    """One rule.

    Attributes:
        stages: where it looks.
        text: one paragraph: what is looked at, against which null, what follows, what mends it.
        explains: rules whose findings are only signs of this one.
        is_sign: whether it tells that training goes wrong, and not why; then a hint of a cause explains it, too.
    """

    stages: tuple[Stage, ...]
    text: str
    explains: tuple[str, ...] = ()
    is_sign: bool = False


_NO_LEARNING = ("no_learning", "one_class", "slow_learning")
_UNSTABLE = ("diverged", "swings", "loss_at_start", "one_class", "no_learning")

RULES: dict[str, Rule] = {
    "double_softmax": Rule(
        ("static",),
        "The scores go through a softmax, and the loss takes another. Probabilities lie in 0..1, so the second "
        "softmax cannot give the true class more than e / (e + K - 1): the loss of K classes has the floor ln(1 + (K "
        "- 1) / e), and gradients are small where the net is right and where it is very wrong. Nothing but arithmetic "
        "is needed to know it. Give the scores themselves to loss.name: cross_entropy.",
        explains=("lr_too_small", *_NO_LEARNING, "loss_at_start"),
    ),
    "linear_net": Rule(
        ("static",),
        "With the activation identity, linear layers in a row are one linear layer: the net can separate classes by "
        "hyperplanes alone, however many layers it has. Dropout and normalisation between them do not change that in "
        "evaluation. A net without hidden layers is linear on purpose, and is not told. Use relu.",
    ),
    "frozen": Rule(
        ("static", "probe", "log"),
        "Parameters that are never trained, though nothing pretrained was loaded into them: train.freeze: body with "
        "random weights, or a group whose learning rate is below 1e-7 and a ten-thousandth of the optimizer's. What "
        "they compute stays random, and the layers around them learn what they can from that. In a log it is a layer "
        "with a gradient, whose weights keep their norm to 9 digits while those of another change by .1 %.",
        explains=_NO_LEARNING,
    ),
    "warmup_long": Rule(
        ("static",),
        "The learning rate rises from 0 for more than half of the training, or for all of it, so it is hardly ever "
        "what optimizer.lr says. A tenth of the training, or a few hundred steps, is usual.",
        explains=("lr_too_small", *_NO_LEARNING),
    ),
    "sorted_split": Rule(
        ("static",),
        "data.split.by: position takes the samples as they lie, and they lie sorted by class: chi-squared of class "
        "and split is larger than chance gives once in a million sets, and at least a tenth of the samples would need "
        "another class. Train and what is held out then hold other classes. Split at random, or stratified.",
        explains=("class_missing", "class_imbalance", "overfitting", "classes_swapped", *_NO_LEARNING),
    ),
    "class_missing": Rule(
        ("static",),
        "A class has no training sample at all, so the net never learns to say so, and all its samples elsewhere are "
        "counted as wrong. Usual causes are a split by position of sorted samples, and a folder with another name.",
    ),
    "leak": Rule(
        ("static",),
        "Samples of validation or test are equal, value by value, to samples of train. What is measured on them is "
        "memory. Rows of a table with few values may be equal by chance; where that cannot be told, this says nothing.",
    ),
    "two_labels": Rule(
        ("static",),
        "Equal samples have different labels, so at most one of the labels of each group can be right, and no net can "
        "get both. dlassign data check names the samples.",
    ),
    "leaking_column": Rule(
        ("static",),
        "One column of a table alone gives the label of nearly all rows that it was not fitted on, with ten times "
        "fewer errors than guessing and than the best other column. Mostly it was written after the label was known, "
        "and new samples will not have it. Drop it with data.drop.",
    ),
    "unlike_train": Rule(
        ("static",),
        "Validation or test look as train would if it were inverted, with its channels in the opposite order, turned, "
        "mirrored or scaled, with odds of more than a million to one; or brightness alone tells samples of the two "
        "apart. What was learnt on train then fails there, whatever the net is.",
        explains=("overfitting", "batch_norm_gap"),
    ),
    "scaled_twice": Rule(
        ("static",),
        "Two scale steps, or a divisor far beyond the largest value, leave inputs near 0. The first layer's outputs "
        "and gradients are as much smaller, so it hardly learns. With a norm, or normalize behind it, this hurts "
        "little, and it is a hint.",
        explains=("init_too_small", "lr_too_small", "signal_lost", *_NO_LEARNING),
    ),
    "normalize_constants": Rule(
        ("static",),
        "normalize has given constants, and after it the mean of the training samples is not near 0, or their spread "
        "is not near 1. Where the constants are those that are handed on for another data set (MNIST, CIFAR, "
        "ImageNet), that is likely a copy; else it is likely from 2.5 (of the mean, or of the logarithm of the "
        "spread), and a hint from .5 of the mean or 1.2 of the logarithm. Half the range, mean .5 and std .5, is "
        "usual and stays below that. Give neither mean nor std: both are then measured on train.",
        explains=("inputs_not_scaled", *_UNSTABLE),
    ),
    "inputs_not_scaled": Rule(
        ("static", "probe", "log"),
        "Initial weights and learning rates are made for inputs of about the size 1. The root mean square of the "
        "prepared samples is far above it: likely from 30, if their mean lies on one side and the net has no norm. "
        "Where the mean was subtracted or a norm takes the size away it is a hint, as such nets train, if slowly. "
        "Healthy standardised images are never told, as no single value counts. In a table one feature may be a "
        "hundred times as large as the others. In a log it is a first loss of more than 20 times that of guessing, of "
        "images that were neither scaled nor normalized. Scale, or normalize.",
        explains=("lr_too_large", "init_too_large", *_UNSTABLE, "dead_units", "saturated"),
    ),
    "signal_lost": Rule(
        ("static", "probe"),
        "What differs between samples shrinks from layer to layer. Computed by formula from the widths, the "
        "activation and the initial weights, less than 1e-4 of the size of the scores differs between samples, so the "
        "head sees nearly the same whatever the sample is, and gradients of the first layers are as small. Eight "
        "sigmoid layers leave 1e-7; eight layers of relu 1e-3. The probe measures the same in the last hidden layer. "
        "Use relu, a norm, or fewer layers.",
        explains=("init_too_small", "lr_too_small", "vanishing_gradients", "saturated", *_NO_LEARNING),
    ),
    "init_too_large": Rule(
        ("static", "probe"),
        "Every layer makes its input several times larger, by formula: std * sqrt(fan-in) is the gain, and 1 to 1.4 "
        "keeps sizes. The first scores are then so large that the net is sure of something wrong, and the loss is far "
        "above ln K. Likely from an expected size of 100. Use init: {name: he}.",
        explains=(*_UNSTABLE, "saturated", "lr_too_small", "dead_units"),
    ),
    "init_too_small": Rule(
        ("static", "probe"),
        "Every layer makes its input at least ten times smaller. That alone is a hint: two layers get over it. It is "
        "likely the cause where three or more layers are pulled to 0 by weight decay harder than the data pulls (the "
        "singular value of E[(target - prior) x^T] times the scale of the other layers), or where gradient descent "
        "needs more steps than there are to grow them. The probe measures the outputs of the last hidden layer of a "
        "net without norm, and tells a spread below a thousandth of that of the inputs. Use init: {name: he}.",
        explains=("lr_too_small", "vanishing_gradients", "frozen", "dead_units", *_NO_LEARNING),
    ),
    "penalty_too_strong": Rule(
        ("static", "probe"),
        "Near 0, weights grow where the data pulls them harder than the penalty pulls back. The pull is the largest "
        "singular value of E[(target - prior) x^T], measured, times the mean slopes of the activations and the scale "
        "of the other layers; the penalty's gradient is 2 * coefficient times the weight, and that of weight decay is "
        "weight_decay times it in SGD, Adam and RMSprop. Below it, "
        "all weights shrink to 0 and one class is predicted. Of a net with a norm, whose loss does not see the size "
        "of weights, the expected penalty before the first step is held against three times ln K. Use 1e-4.",
        explains=(*_NO_LEARNING, "loss_at_start", "vanishing_gradients"),
    ),
    "lr_too_large": Rule(
        ("static", "probe", "log"),
        "Adam moves each weight by about the learning rate in each step, so .1 is more than a weight's own size; from "
        ".1 it is likely too large, from .03 a hint. Of SGD, lr / (1 - momentum) is looked at, from 3 on; RMSprop's "
        "momentum counts in the same way. For a linear net the Hessian of cross-entropy is known, and with it where "
        "descent is no longer stable. The probe trains 40 steps again from the same weights, with a tenth and a "
        "hundredth of the rate: it is too large if one of them comes clearly lower. In the log of a run that has "
        "learnt nothing it is weights that grow tenfold, gradients that grow a thousandfold, or steps of SGD larger "
        "than the weights.",
        # What a large rate has killed hardly moves, so it may look as if the rate were small.
        explains=("lr_too_small", *_UNSTABLE, "dead_units", "saturated", "overfitting"),
    ),
    "lr_too_small": Rule(
        ("static", "probe", "log"),
        "Over the whole training the weights move by a small part of their own size. Adam moves a weight by at most "
        "about the learning rate in each step, so lr times steps below .003 (a hint below .01) leaves the net what it "
        "was at random. Of SGD the first gradient is computed from the data, as for penalty_too_strong; with a norm "
        "it is about 1 at most, so lr / (1 - momentum) times steps is looked at, below .1 (a hint below .3). In "
        "the log of a run that has learnt nothing, norms of weights that change by less than .0002 of their size, with "
        "a loss that falls by less than 5 %: weights that move by 2 % at right angles to themselves change as much.",
        explains=_NO_LEARNING,
    ),
    "lr_vanishes": Rule(
        ("static",),
        "The schedule leaves less than a thousandth of the learning rate for more than half of the steps, as gamma .1 "
        "after every epoch does. These steps train nothing, and the loss stands where the first epochs brought it. "
        "Likely if that is so before the tenth epoch. Use a larger gamma, or cosine.",
        explains=("lr_too_small", *_NO_LEARNING),
    ),
    "eps_large": Rule(
        ("static",),
        "Adam and RMSprop divide by the root of the mean squared gradient plus eps. An eps of .1 or more outweighs "
        "that root, as gradients of single weights are mostly below .01: the step becomes lr / eps times the "
        "gradient, plain momentum with a small rate. From .001 on it is a hint.",
        explains=("lr_too_small", *_NO_LEARNING),
    ),
    "momentum_high": Rule(
        ("static",),
        "Momentum m averages gradients over 1 / (1 - m) steps. With .999 that is 1,000 steps: the weights go on in a "
        "direction long after it has become wrong, and with SGD the effective learning rate is 1,000 times lr. Use .9.",
        explains=("lr_too_large", "lr_too_small", *_UNSTABLE, "slow_learning"),
    ),
    "batch_norm_small_batch": Rule(
        ("static",),
        "Batch normalisation takes mean and variance of the batch in training, and their averages in evaluation. Of n "
        "values the variance has a relative error of sqrt(2 / (n - 1)): 141 % of 2 values, 18 % of 64. Images count "
        "their pixels, too, so a convolutional net bears less. Use larger batches, or norm: layer.",
        explains=("batch_norm_gap", "swings", "no_learning", "lr_too_large"),
    ),
    "label_smoothing_high": Rule(
        ("static",),
        "Label smoothing s of K classes makes the target of the true class 1 - s + s / K, and of each other class s / "
        "K. That lifts the lowest loss: with .6 and ten classes the targets are .46 and .06, and four fifths of ln K "
        "are left however good the net is. Likely from .6 on, a hint from .3. Use .1.",
        explains=(*_NO_LEARNING, "loss_at_start"),
    ),
    "dropout_high": Rule(
        ("static",),
        "dropout is the probability to drop a unit. Above .5 it is a hint; from .75 on it is likely what elsewhere is "
        "called the probability to keep p, so 1 - p is meant. With .95 a step trains a twentieth of the net.",
        explains=(*_NO_LEARNING, "batch_norm_gap", "lr_too_large", "lr_too_small", "dead_units"),
    ),
    "bottleneck": Rule(
        ("static",),
        "A hidden layer has fewer units than log2 of the number of classes, so even if each said yes or no, the "
        "classes could not be told. Certain nets of one unit learn a few classes along a line.",
        explains=_NO_LEARNING,
    ),
    "flipped_digits": Rule(
        ("static",),
        "flip mirrors images left to right. A mirrored digit or letter is another sign or none, so half of the "
        "training images are of a kind that no test has. Leave flip out; translate is safe.",
    ),
    "class_imbalance": Rule(
        ("static",),
        "The largest class has 30 times as many training samples as the smallest, or more (a hint from 10), and "
        "neither loss.class_weight nor data.balance makes up for it. Saying the largest class is then mostly right, "
        "and accuracy hides that the rare one is never found.",
        explains=("one_class",),
    ),
    "validation_small": Rule(
        ("static", "log"),
        "Few validation samples choose the weights. The standard error of an accuracy a of n samples is sqrt(a (1 - "
        "a) / n): 4.2 points of 50 samples at 90 %, more than most choices gain, so the best of many evaluations is "
        "mostly the luckiest; of 225 samples it is 2 points. Likely up to 60 samples that choose the weights, else a "
        "hint. Of a run, the gain of the chosen evaluation is held against the largest of as many such errors.",
    ),
    "test_watched": Rule(
        ("static", "log"),
        "train.evaluate names test, so the test set is looked at during training. The largest of N test accuracies is "
        "above the truth, by sqrt(2 ln N) standard errors on average or less, as they share their samples: at most 2.2 "
        "for a dozen. Reports did so, and say it; always a hint.",
    ),
    "vanishing_gradients": Rule(
        ("probe", "log"),
        "The gradient of the first layers is far smaller than that of the last ones, so the first layers learn much "
        "later or never. Gradients are taken over the weights; a thousandth is told, of a run if every look at it that "
        "its log has shows that. Use relu, a norm, init: {name: he} or fewer layers.",
        explains=("no_learning", "one_class", "slow_learning"),
        is_sign=True,
    ),
    "dead_units": Rule(
        ("probe", "log"),
        "Most units of a layer of relu are 0 for every sample, so they have no gradient and never come back. Half of "
        "all values being 0 is what relu does, and is not told. In a log it is rows of weights whose gradient on the "
        "fixed batch is exactly 0 at every look: of 70 % a hint, from 95 % likely. If all are dead, the scores are the "
        "same for every sample.",
        explains=("vanishing_gradients", "no_learning", "one_class"),
        is_sign=True,
    ),
    "saturated": Rule(
        ("probe",),
        "Most outputs of a layer of sigmoid or tanh lie at their ends, where the slope is next to nothing, so little "
        "of the gradient gets through.",
        is_sign=True,
    ),
    "batch_norm_gap": Rule(
        ("probe",),
        "On one batch, the loss in evaluation mode is far from that in training mode without dropout: the running "
        "statistics of batch normalisation are not those of the batch.",
        is_sign=True,
    ),
    "diverged": Rule(
        ("probe", "log"),
        "The loss stopped being a finite number. Usual causes are too large a learning rate and inputs that are not "
        "scaled. Train with a tenth of the learning rate, or with train.clip.",
        explains=("no_learning", "swings", "one_class"),
        is_sign=True,
    ),
    "one_class": Rule(
        ("log",),
        "The net predicts one class for all samples of a split that has several, and at least 10 of these predictions "
        "are wrong. Training notes it in the log, too, once it is an epoch old. Usual causes are initial weights so "
        "small that a penalty outweighs the gradient, and too large a learning rate.",
        explains=("no_learning", "slow_learning"),
        is_sign=True,
    ),
    "loss_at_start": Rule(
        ("probe", "log"),
        "A net that knows nothing gives each of K classes the same probability, so its first loss is ln K (with label "
        "smoothing, too). Far above it the initial scores are large: the net is sure of something wrong before it has "
        "seen a sample. Usual causes are large initial weights and inputs that are not scaled.",
        is_sign=True,
    ),
    "no_learning": Rule(
        ("probe", "log"),
        "After at least 100 steps the net knows no more than at the start. Of a run, its accuracies on train and on "
        "samples held out do not lie above the share of the most frequent class by more than binomial noise (z < 3). "
        "Of the probe, the loss of the last quarter of its steps does not lie below that of the best answer that is "
        "the same for every sample, by more than three standard errors. Whether a copy of the net learns 32 samples by "
        "heart in 60 steps of Adam tells a fault of the net from one of the data. The cause is elsewhere; other "
        "findings name it where they can.",
        is_sign=True,
    ),
    "slow_learning": Rule(
        ("log",),
        "The loss is still falling at the end: the last eighth of its records lies below the eighth before by more "
        "than four standard errors of that difference, and above .6 ln K, so it has come at most two fifths of the way "
        "from knowing nothing to every sample right. At least 40 records. A larger learning rate or more steps would "
        "help.",
        is_sign=True,
    ),
    "swings": Rule(
        ("log",),
        "The accuracy goes up and down by much more than the error of its samples: in the second half of the training "
        "at least three of the steps between evaluations, and a fifth of them, are falls of more than four standard "
        "errors and 5 points. Usual causes are too large a learning "
        "rate or momentum.",
        is_sign=True,
    ),
    "labels_unrelated": Rule(
        ("probe",),
        "No relation of labels and samples was seen: the nearest of 600 samples has the same label no more often than "
        "any two samples have (z < 3), and after the steps of the probe validation is guessed no better than by its "
        "most frequent class (z < 3). Usual causes are labels that were shuffled or sorted apart from the samples, "
        "and a wrong label column. Photos that are hard to tell by distance, and a net that does not learn for another "
        "reason, look the same: where another rule of the probe is sure, or the net does not even learn 32 samples by "
        "heart, it is a hint.",
        explains=(*_NO_LEARNING, "overfitting"),
    ),
    "label_noise": Rule(
        ("probe",),
        "Of a share of the samples, 8 of the 10 nearest have one and the same other label. Classes that overlap do "
        "that, too, so it is likely from 6 % of the samples on only. Where classes are hard to tell by distance, as "
        "in photos, wrong labels do not show so. dlassign data check --labels looks for them with a trained net.",
    ),
    "classes_swapped": Rule(
        ("probe", "log"),
        "In the confusion matrix two classes are taken for each other more often than they are told. Of a run, the "
        "crossed answers lie beyond the straight ones by more than five standard errors, and most samples of the other "
        "classes are right; of the probe, more than .6 of both are crossed in the test, and not half as many in "
        "validation. The labels of these two are swapped in one of the splits.",
    ),
    "overfitting": Rule(
        ("log",),
        "The loss of validation has risen from its lowest value by a tenth, and by more than the luckiest of its "
        "evaluations and four standard errors of the last three explain, while that of train has fallen. It is no "
        "fault by itself, and always a hint: keep: best takes the weights from before. More data, augmentation, "
        "dropout or weight decay move it.",
        is_sign=True,
    ),
}
"""By name, in the order in which equally sure findings are shown."""
