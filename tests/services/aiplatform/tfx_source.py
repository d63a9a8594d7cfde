"""A pipeline of TFX's own components and the module of its Transform and Trainer: what `tfx` compiles in an environment
of its own."""

MODULE = '''
import tensorflow as tf
import tensorflow_transform as tft
from tfx_bsl.public import tfxio

NUMBERS, WORD, LABEL = ("bill", "flipper"), "island", "heavy"


def preprocessing_fn(inputs):
    made = {name: tft.scale_to_z_score(inputs[name]) for name in NUMBERS}
    made[WORD] = tft.compute_and_apply_vocabulary(
        inputs[WORD], num_oov_buckets=1, vocab_filename=WORD
    )
    made[LABEL] = inputs[LABEL]
    return made


class Model(tf.Module):
    """Logistic regression."""

    def __init__(self, graph, words):
        super().__init__()
        self.transform = graph.transform_features_layer()
        spec = {name: one for name, one in graph.raw_feature_spec().items() if name != LABEL}
        self.parse = lambda examples: tf.io.parse_example(examples, spec)
        self.words = words
        self.weights = tf.Variable(tf.zeros([len(NUMBERS) + words, 1]))
        self.bias = tf.Variable(0.0)

    def logits(self, made):
        numbers = [tf.reshape(tf.cast(made[name], tf.float32), [-1, 1]) for name in NUMBERS]
        word = tf.one_hot(tf.reshape(made[WORD], [-1]), self.words)
        return tf.concat([*numbers, word], 1) @ self.weights + self.bias

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def serve(self, examples):
        return {"outputs": tf.sigmoid(self.logits(self.transform(self.parse(examples))))}


def run_fn(fn_args):
    graph = tft.TFTransformOutput(fn_args.transform_output)
    options = tfxio.TensorFlowDatasetOptions(batch_size=64, label_key=LABEL)
    rows = fn_args.data_accessor.tf_dataset_factory(fn_args.train_files, options, graph.transformed_metadata.schema)
    model = Model(graph, graph.vocabulary_size_by_name(WORD) + 1)
    for made, label in rows.take(fn_args.train_steps):
        with tf.GradientTape() as tape:
            wanted = tf.reshape(tf.cast(label, tf.float32), [-1, 1])
            loss = tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(wanted, model.logits(made)))
        for one, gradient in zip(model.trainable_variables, tape.gradient(loss, model.trainable_variables)):
            one.assign_sub(0.5 * gradient)
    tf.saved_model.save(model, fn_args.serving_model_dir, signatures={"serving_default": model.serve})
'''

PROGRAM = """
import json, sys
import tensorflow_model_analysis as tfma
from tfx import v1 as tfx
from tfx.orchestration.kubeflow.v2 import kubeflow_v2_dag_runner as runner

root, data, module, serving, endpoint, image, newer, where = sys.argv[1:]
examples = tfx.components.CsvExampleGen(input_base=data)
statistics = tfx.components.StatisticsGen(examples=examples.outputs["examples"])
schema = tfx.components.SchemaGen(statistics=statistics.outputs["statistics"], infer_feature_shape=True)
valid = tfx.components.ExampleValidator(statistics=statistics.outputs["statistics"], schema=schema.outputs["schema"])
transform = tfx.components.Transform(
    examples=examples.outputs["examples"], schema=schema.outputs["schema"], module_file=module
)
trainer = tfx.components.Trainer(
    module_file=module, examples=transform.outputs["transformed_examples"], schema=schema.outputs["schema"],
    transform_graph=transform.outputs["transform_graph"], train_args=tfx.proto.TrainArgs(num_steps=60),
    eval_args=tfx.proto.EvalArgs(num_steps=5),
)
resolver = tfx.dsl.Resolver(
    strategy_class=tfx.dsl.experimental.LatestBlessedModelStrategy,
    model=tfx.dsl.Channel(type=tfx.types.standard_artifacts.Model),
    model_blessing=tfx.dsl.Channel(type=tfx.types.standard_artifacts.ModelBlessing),
).with_id("latest_blessed_model_resolver")
threshold = tfma.MetricThreshold(
    value_threshold=tfma.GenericValueThreshold(lower_bound={"value": 0.6}),
    change_threshold=tfma.GenericChangeThreshold(
        direction=tfma.MetricDirection.HIGHER_IS_BETTER, absolute={"value": -0.5}
    ),
)
config = tfma.EvalConfig(
    model_specs=[tfma.ModelSpec(signature_name="serving_default", label_key="heavy")],
    slicing_specs=[tfma.SlicingSpec(), tfma.SlicingSpec(feature_keys=["island"])],
    metrics_specs=[tfma.MetricsSpec(
        metrics=[tfma.MetricConfig(class_name="BinaryAccuracy", threshold=threshold)]
    )],
)
evaluator = tfx.components.Evaluator(
    examples=examples.outputs["examples"], model=trainer.outputs["model"], baseline_model=resolver.outputs["model"],
    eval_config=config,
)
pusher = tfx.components.Pusher(
    model=trainer.outputs["model"], model_blessing=evaluator.outputs["blessing"],
    push_destination=tfx.proto.PushDestination(filesystem=tfx.proto.PushDestination.Filesystem(base_directory=serving)),
)
nodes = [examples, statistics, schema, valid, transform, trainer, resolver, evaluator, pusher]
if endpoint:
    vertex = tfx.extensions.google_cloud_ai_platform
    nodes.append(vertex.Pusher(
        model=trainer.outputs["model"], model_blessing=evaluator.outputs["blessing"],
        custom_config={
            vertex.ENABLE_VERTEX_KEY: True, vertex.VERTEX_REGION_KEY: "us-central1",
            vertex.VERTEX_CONTAINER_IMAGE_URI_KEY: image,
            vertex.SERVING_ARGS_KEY: {
                "project_id": "test-project", "endpoint_name": endpoint, "machine_type": "n1-standard-2"
            },
        },
    ).with_id("VertexPusher"))
runner.KubeflowV2DagRunner(
    config=runner.KubeflowV2DagRunnerConfig(use_pipeline_spec_2_1=bool(newer)), output_dir=where,
    output_filename="pipeline.json",
).run(tfx.dsl.Pipeline(pipeline_name="penguins", pipeline_root=root, components=nodes, enable_cache=True))
"""
