"""launch/gke.yaml: the fields that the JobSet controller needs, for the devices of its config."""

import math
import re
import shlex

import yaml

from jukejax.runtime.sharding import check_batch
from tests.integration.test_configs import load
from tests.support.command import ROOT


def test_job_set_has_the_controllers_fields_and_fits_its_config():
    job_set = yaml.safe_load((ROOT / "launch" / "gke.yaml").read_text())
    assert job_set["apiVersion"] == "jobset.x-k8s.io/v1alpha2"
    assert job_set["kind"] == "JobSet"
    assert re.fullmatch(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?", job_set["metadata"]["name"])
    assert job_set["spec"]["failurePolicy"]["maxRestarts"] > 0
    (replicated,) = job_set["spec"]["replicatedJobs"]
    job = replicated["template"]["spec"]
    pod = job["template"]["spec"]
    (container,) = pod["containers"]
    assert replicated["name"]
    assert job["backoffLimit"] == 0
    assert pod["restartPolicy"] == "Never"
    assert pod["terminationGracePeriodSeconds"] >= 300, "time to save"
    assert "volumes" not in pod, "data and workdir are in a bucket"
    assert sum(word.count("=gs://") for word in container["command"]) == 2

    topology = pod["nodeSelector"]["cloud.google.com/gke-tpu-topology"]
    chips = math.prod(map(int, topology.split("x")))
    assert job["parallelism"] == job["completions"]
    assert job["parallelism"] * container["resources"]["limits"]["google.com/tpu"] == chips

    command = shlex.join(container["command"])
    assert command.startswith("python -m jukejax.train --config=configs/pod_prior_5b.py --workdir=")
    config = load("pod_prior_5b", "")
    copies, rest = divmod(chips, config.mesh.fsdp * config.mesh.tensor)
    assert rest == 0
    shape = {"data": copies, "fsdp": config.mesh.fsdp, "tensor": config.mesh.tensor}
    check_batch(type("Mesh", (), {"shape": shape}), config.data.batch_size, config.accumulate)
