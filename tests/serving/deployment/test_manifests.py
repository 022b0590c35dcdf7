"""The manifests for Kubernetes: their schema, and that they fit each other and the image."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from cannabis_ml.serving.settings import ServiceSettings

FOLDER = Path(__file__).parents[3] / "deploy" / "kubernetes"
RELEASES = ["1.27", "1.37"]
"""The oldest that clouds still run, and the newest that is known here."""


def objects(*names):
    """Every object of the files, or of those of the names."""
    paths = [FOLDER / name for name in names] or sorted(FOLDER.glob("*.yaml"))
    return [
        found
        for path in paths
        for found in yaml.safe_load_all(path.read_text("utf-8"))
        if found["kind"] != "Kustomization"
    ]


def named(kind):
    (found,) = [one for one in objects() if one["kind"] == kind]
    return found


def pods():
    """What runs: of the deployment and of the job."""
    return [named(kind)["spec"]["template"]["spec"] for kind in ("Deployment", "Job")]


@pytest.mark.parametrize("release", RELEASES)
def test_every_object_keeps_to_the_schema(release):
    found = objects()
    assert len(found) == 8
    for one in found:
        kubernetes_validate.validate(one, release, strict=True)


def test_the_schema_notices_a_wrong_field():
    broken = copy.deepcopy(named("Deployment"))
    broken["spec"]["template"]["spec"]["containers"][0]["readinesProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, RELEASES[-1], strict=True)


def test_kustomization_lists_what_is_applied():
    found = yaml.safe_load((FOLDER / "kustomization.yaml").read_text("utf-8"))
    applied = {path.name for path in FOLDER.glob("*.yaml")}
    assert set(found["resources"]) == applied - {"kustomization.yaml", "deploy-job.yaml"}


def test_pods_have_no_rights_and_a_read_only_root():
    for pod in pods():
        assert pod["securityContext"]["runAsNonRoot"]
        assert not pod["automountServiceAccountToken"]
        (container,) = pod["containers"]
        rights = container["securityContext"]
        assert rights["readOnlyRootFilesystem"]
        assert not rights["allowPrivilegeEscalation"]
        assert rights["capabilities"] == {"drop": ["ALL"]}
        assert {"/tmp", "/deployments"} <= {m["mountPath"] for m in container["volumeMounts"]}


def test_user_and_port_are_those_of_the_image():
    dockerfile = (FOLDER.parents[1] / "Dockerfile").read_text("utf-8")
    for pod in pods():
        user, group = (pod["securityContext"][name] for name in ("runAsUser", "runAsGroup"))
        assert f"\nUSER {user}:{group}\n" in dockerfile
    (port,) = pods()[0]["containers"][0]["ports"]
    assert f"\nEXPOSE {port['containerPort']}\n" in dockerfile


def test_objects_find_each_other():
    labels = named("Deployment")["spec"]["template"]["metadata"]["labels"]
    assert named("Service")["spec"]["selector"].items() <= labels.items()
    assert named("PodDisruptionBudget")["spec"]["selector"]["matchLabels"] == labels
    target = named("HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]
    assert target["name"] == named("Deployment")["metadata"]["name"]
    for pod in pods():
        volumes = {one["name"]: one for one in pod["volumes"]}
        mounted = {one["name"] for one in pod["containers"][0]["volumeMounts"]}
        assert mounted == set(volumes)
        claims = {
            one["persistentVolumeClaim"]["claimName"]
            for one in volumes.values()
            if "persistentVolumeClaim" in one
        }
        made = {
            one["metadata"]["name"]
            for one in objects("volumes.yaml")
            if one["kind"] == "PersistentVolumeClaim"
        }
        assert claims <= made
    configured = {one["name"]: one for one in pods()[0]["volumes"]}["configuration"]
    assert configured["configMap"]["name"] == named("ConfigMap")["metadata"]["name"]


def test_settings_are_valid_and_requests_end_before_the_pod_does():
    text = named("ConfigMap")["data"]["service.json"]
    settings = ServiceSettings.model_validate(json.loads(text))
    pod = pods()[0]
    (container,) = pod["containers"]
    seconds = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
    assert pod["terminationGracePeriodSeconds"] > seconds + settings.limits.deadline_seconds
    assert int(container["resources"]["requests"]["cpu"]) == settings.workers


def test_a_pod_is_sent_requests_only_while_its_golden_photos_agree():
    (container,) = pods()[0]["containers"]
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"
    assert named("Deployment")["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
