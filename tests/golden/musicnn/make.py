"""Writes tags.npz: what TensorFlow makes of musicnn's own graph on noise.

python make.py WHEEL_UNPACKED        in an environment with tensorflow-cpu 2.21
"""

import sys
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2

tf1 = tf.compat.v1
tf1.disable_eager_execution()
folder = Path(sys.argv[1]) / "musicnn/MSD_musicnn"
mel = np.random.RandomState(0).uniform(0, 3, (1, 187, 96)).astype(np.float32)
meta = meta_graph_pb2.MetaGraphDef()
meta.ParseFromString((folder / ".meta").read_bytes())
for node in meta.graph_def.node:  # shapes of gradients that today's TensorFlow does not accept
    node.attr.pop("_output_shapes", None)
saver, graph = tf1.train.import_meta_graph(meta, clear_devices=True), tf1.get_default_graph()
names = {"features": "model/dropout_1/cond/Merge:0", "tags": "model/Sigmoid:0"}
with tf1.Session() as session:
    saver.restore(session, f"{folder}/")
    feed = {"model/Placeholder:0": mel, "model/Placeholder_2:0": False}
    found = session.run(
        {name: graph.get_tensor_by_name(path) for name, path in names.items()}, feed
    )
np.savez(Path(__file__).with_name("tags.npz"), **{name: x[0] for name, x in found.items()})
