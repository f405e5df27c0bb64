"""scikit-learn's embedded digits: 1,797 real handwritten digits of 8x8 pixels, no download."""

import numpy as np
import torch
from sklearn.datasets import load_digits

from .image_datamodule import ImageDataModule, LabelledImages, hold_out


class Digits(ImageDataModule):
    """1,197 / 300 / 300 images. The set has no official test images: 300 are drawn once, by a fixed seed."""

    image_shape = (1, 8, 8)
    class_names = tuple("0123456789")
    num_val = 300
    num_test = 300
    source = "scikit-learn"

    def read(self) -> tuple[LabelledImages, LabelledImages]:
        digits = load_digits()
        pixels = np.rint(digits.images * (255 / 16)).astype(np.uint8)  # 17 grey levels, 0 to 16
        images, labels = torch.from_numpy(pixels).unsqueeze(1), torch.from_numpy(digits.target).long()
        test, trainval = hold_out(self.num_test, len(images), seed=0)
        return LabelledImages(images[trainval], labels[trainval]), LabelledImages(images[test], labels[test])
