"""Classify images, or rows of numbers, with the model.onnx beside this file: python predict_onnx.py FILE..."""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

session = onnxruntime.InferenceSession(Path(__file__).with_name("model.onnx"), providers=["CPUExecutionProvider"])
about = session.get_modelmeta().custom_metadata_map
labels, how = json.loads(about["labels"]), json.loads(about["preprocessing"])


def read(path: str) -> np.ndarray:
    """Return an image as (1, C, H, W) uint8, decoded and resized as in training, or the rows of a CSV file, (N, D)."""
    if len(how["shape"]) == 1:
        return np.loadtxt(path, delimiter=",", ndmin=2)
    image = ImageOps.exif_transpose(Image.open(path))
    if image.mode[0] in "IF":  # more than 8 bits
        values, bits = np.asarray(image), how["bits"] or 0
        if not 0 <= values.min() <= values.max() < 2**bits:
            raise ValueError("its pixels have another range than those of the training; save it with 8 bits")
        image = Image.fromarray((values.astype(np.int64) >> (bits - 8)).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (*how["background"], 255)), image)
    channels, height, width = how["shape"]
    image, bilinear = image.convert("L" if channels == 1 else "RGB"), Image.Resampling.BILINEAR
    if how["fit"] == "crop":
        image = ImageOps.fit(image, (width, height), bilinear)
    elif how["fit"] == "pad":
        scale = min(width / image.width, height / image.height)
        inner = image.resize([max(1, round(side * scale)) for side in image.size], bilinear)
        image = Image.new("RGB", (width, height), tuple(how["background"])).convert(image.mode)
        image.paste(inner, ((width - inner.width) // 2, (height - inner.height) // 2))
    x = np.asarray(image.resize((width, height), bilinear)).reshape(1, height, width, channels).transpose(0, 3, 1, 2)
    return np.asarray(np.rint(x * (how["white"] / 255)), dtype=np.uint8)


code = 0
if not sys.argv[1:]:
    code = 2
    print("usage: python predict_onnx.py FILE...", file=sys.stderr)
for path in sys.argv[1:]:
    try:
        scores = session.run(None, {"samples": read(path)})[0].astype(np.float64)
    except Exception as error:  # noqa: BLE001 - each of Pillow's decoders raises errors of its own
        code = 1
        print(path, "", "", " ".join(str(error).split()), sep="\t")
        continue
    odds = np.exp(scores - scores.max(axis=1, keepdims=True))
    for row in odds / odds.sum(axis=1, keepdims=True):
        print(path, labels[row.argmax()], f"{row.max():.4f}", sep="\t")
if code:
    sys.exit(code)
