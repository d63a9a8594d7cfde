"""How the event files beside this were written, by TensorFlow and by tensorboardX: `python make.py FOLDER`."""

import sys

import numpy as np
import tensorflow as tf
from tensorboardX import SummaryWriter

with tf.summary.create_file_writer(f"{sys.argv[1]}/tensorflow").as_default():
    for step in range(3):
        tf.summary.scalar("loss", 1 / (step + 1), step=step)
        tf.summary.scalar("epoch_accuracy", step / 4, step=step)
    tf.summary.histogram("weights", tf.constant([0.0, 1.0, 1.0, 2.0]), step=1, buckets=3)
    tf.summary.text("note", "hello", step=0)
    tf.summary.image("picture", np.zeros((1, 2, 3, 3), "uint8"), step=2)

with SummaryWriter(f"{sys.argv[1]}/tensorboardx") as writer:
    for step in range(3):
        writer.add_scalar("loss", 2.0 / (step + 1), step, walltime=1000.5 + step)
    writer.add_scalar("negative", -1.5, -7)
    writer.add_histogram("weights", np.array([0.0, 1.0, 1.0, 2.0]), 1, bins=3)
    writer.add_text("note", "hi", 0)
    writer.add_image("picture", np.zeros((3, 2, 3), "uint8"), 2)
